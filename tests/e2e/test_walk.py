"""From the shelf to the shipment, as buyers walk it: at a PC, on a phone, and without scripts.

Pictures of every step are left in test-results/walk.
"""

import pytest
from playwright.async_api import Browser

from tests.e2e.buyer import CHINESE, ENGLISH, Words, buyer_at_pc, buyer_on_phone
from tests.e2e.checkout import order_no_on, shown_after_s, turns
from tests.e2e.town import Town
from tests.telling import Say

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),  # the first run installs what reads the codes
]
LANGUAGES = [pytest.param(CHINESE, id="zh"), pytest.param(ENGLISH, id="en")]


@pytest.mark.parametrize("words", LANGUAGES)
async def test_a_buyer_at_a_pc_scans_the_code_and_the_page_turns_by_itself(
    browser: Browser, town: Town, say: Say, words: Words
) -> None:
    album = f"pc-{words.locale}"
    async with (
        buyer_at_pc(browser, town.ready, album, words) as buyer,
        buyer_on_phone(browser, town.ready, f"{album}-phone", words) as phone,
    ):
        page = await buyer.order_something()
        url = page.url
        code = await buyer.show_code(page)
        attempt = await town.attempt(await order_no_on(page))
        assert attempt.next_action is not None
        assert attempt.next_action.content == code
        await phone.scan_and_pay(code)
        await turns(page, "paid")
        assert page.url == url
        await buyer.picture(page, "paid")
        waited_s = await shown_after_s(page, town)
        say(f"the page showed the payment after {waited_s:.3f} s")
        assert waited_s < 1
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def test_a_buyer_who_saw_the_page_turn_is_taken_back_to_the_shop(
    browser: Browser, town: Town
) -> None:
    async with buyer_at_pc(browser, town.ready, "taken-back", ENGLISH) as buyer:
        page = await buyer.order_something()
        await buyer.show_code(page)
        await town.pay((await town.attempt(await order_no_on(page))).number)
        await buyer.back_at_the_shop(page)


@pytest.mark.parametrize("words", LANGUAGES)
async def test_a_buyer_on_a_phone_goes_to_the_wallet_and_comes_back(
    browser: Browser, town: Town, words: Words
) -> None:
    async with buyer_on_phone(browser, town.ready, f"phone-{words.locale}", words) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page)
        await buyer.confirm(page)
        await page.wait_for_url("**/return/*")
        await turns(page, "paid")
        await buyer.picture(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def test_a_pc_without_scripts_does_the_same_by_loading_again(
    browser: Browser, town: Town
) -> None:
    async with (
        buyer_at_pc(browser, town.ready, "pc-bare", scripts=False) as buyer,
        buyer_on_phone(browser, town.ready, "pc-bare-phone", scripts=False) as phone,
    ):
        page = await buyer.order_something()
        await phone.scan_and_pay(await buyer.show_code(page))
        await turns(page, "paid", within_s=10)
        await buyer.picture(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def test_a_phone_without_scripts_needs_one_tap_more(browser: Browser, town: Town) -> None:
    async with buyer_on_phone(browser, town.ready, "phone-bare", ENGLISH, scripts=False) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet_by_link(page)
        await buyer.confirm(page)
        await turns(page, "paid")
        await buyer.picture(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)
