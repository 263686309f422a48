"""What goes wrong on the way, and what the buyer sees of it: as a rule, nothing."""

import asyncio

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.buyer import buyer_at_pc, buyer_on_phone, picture_of_code
from tests.e2e.checkout import shown_after_s, turns
from tests.e2e.eye import read_code
from tests.e2e.town import Town
from tests.telling import Say

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),  # the first run installs what reads the codes
]
PRESS_TWICE = "button => { button.click(); button.click(); }"


async def test_when_every_callback_is_lost_the_page_still_learns_by_asking(
    browser: Browser, town: Town, say: Say
) -> None:
    async with (
        town.channel_that(drop_callbacks=1),
        buyer_at_pc(browser, town.ready, "lost-callback") as buyer,
    ):
        order = await town.place_order()
        page = await buyer.open(order.checkout_url)
        await buyer.show_code(page)
        attempt = await town.attempt(order.no)
        await town.pay(attempt.number)
        await turns(page, "paid", within_s=15)
        waited_s = await shown_after_s(page, town)
        say(f"without callbacks the page showed the payment after {waited_s:.1f} s")
        callback = await town.callback(attempt.number)
        assert callback.dropped > 0
        assert not callback.acknowledged


async def test_where_sockets_do_not_pass_the_page_waits_for_an_answer_instead(
    browser: Browser, town: Town, say: Say
) -> None:
    async with buyer_at_pc(browser, town.ready, "no-socket") as buyer:
        await buyer.refuse_sockets()
        order = await town.place_order()
        page = await buyer.open(order.checkout_url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await buyer.show_code(page)
        await town.pay((await town.attempt(order.no)).number)
        await turns(page, "paid")
        waited_s = await shown_after_s(page, town)
        assert any("wait=25" in url for url in asked)
        say(f"without sockets the page showed the payment after {waited_s:.3f} s")
        assert waited_s < 1


async def test_two_tabs_and_quick_fingers_make_one_payment(browser: Browser, town: Town) -> None:
    async with (
        town.channel_that(latency_s=0.3),  # long enough for every press to meet the others
        buyer_at_pc(browser, town.ready, "two-tabs") as buyer,
    ):
        order = await town.place_order()
        tabs = [await buyer.open(order.checkout_url) for _ in range(2)]
        buttons = [tab.locator("[data-apply] button").first for tab in tabs]
        await asyncio.gather(*(button.evaluate(PRESS_TWICE) for button in buttons))
        for tab in tabs:
            await turns(tab, "scan")
        codes = [read_code(await picture_of_code(tab)) for tab in tabs]
        assert codes[0] == codes[1]
        attempt = await town.attempt(order.no)
        assert (await town.calls(attempt.number))["create"] == 1
        await town.pay(attempt.number)
        for tab in tabs:
            await turns(tab, "paid")


async def test_going_back_to_the_checkout_shows_that_it_is_paid(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "back") as buyer:
        order = await town.place_order()
        page = await buyer.open(order.checkout_url)
        await buyer.open_wallet(page)
        await buyer.confirm(page)
        await turns(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)
        await page.go_back()  # to where the wallet sent them
        await turns(page, "paid")
        await page.go_back()
        await expect(page.locator(".result.paid")).to_be_visible()
        await buyer.picture(page, "wallet")
        await page.go_back()
        assert page.url == order.checkout_url
        await turns(page, "paid")
        await buyer.picture(page, "checkout")
        assert (await town.ledger())[(await town.attempt(order.no)).number].captured == 1


async def test_a_buyer_who_leaves_the_wallet_unpaid_can_go_there_again(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "left-wallet") as buyer:
        order = await town.place_order()
        page = await buyer.open(order.checkout_url)
        await buyer.open_wallet(page)
        await page.locator("form a.quiet").click()
        await turns(page, "open")
        await buyer.picture(page, "unpaid")
        await page.locator(".actions a").first.click()
        await buyer.confirm(page)
        await turns(page, "paid")
        assert (await town.attempt(order.no)).state == "captured"


async def test_a_channel_that_loses_its_answer_is_asked_for_the_same_payment_again(
    browser: Browser, town: Town
) -> None:
    lost = {"verb": "create", "after_executing": True, "times": 1}
    async with (
        town.channel_that(lose_answer=lost),
        buyer_at_pc(browser, town.ready, "lost-answer") as buyer,
    ):
        order = await town.place_order()
        await buyer.show_code(await buyer.open(order.checkout_url))
        assert (await town.calls((await town.attempt(order.no)).number))["create"] == 2
        buyer.forgive("503")


async def test_an_order_that_the_merchant_closes_turns_the_page(
    browser: Browser, town: Town
) -> None:
    async with buyer_at_pc(browser, town.ready, "closed") as buyer:
        order = await town.place_order()
        page = await buyer.open(order.checkout_url)
        await buyer.show_code(page)
        await town.close(order.payonce_order)
        await turns(page, "closed")
        await buyer.picture(page, "closed")


async def test_a_shop_that_is_deaf_to_webhooks_ships_all_the_same_and_once(town: Town) -> None:
    async with town.shop_that(answer_status=500):
        order = await town.place_order()
        await town.pay((await town.apply(order.payonce_order)).number)
        shipped = await town.awaiting_shipment(order.no)
    assert shipped.paid_times == 1
    (event,) = await town.events(order.payonce_order)
    assert {one.status for one in await town.deliveries(event.id)} == {500}
    await town.redeliver(event.id)
    heard = await town.heard(event.id)
    assert heard.effect in {"repeated", "stale"}  # known from the queue, or by asking
    assert (await town.shop_order(order.no)).paid_times == 1
