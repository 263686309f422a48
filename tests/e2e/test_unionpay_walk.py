"""Paying with UnionPay: a code at a PC, and on a phone a form that leads to UnionPay's own page.

Pictures of every step are left in test-results/walk.
"""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.buyer import ENGLISH, Buyer, buyer_at_pc, buyer_on_phone
from tests.e2e.checkout import order_no_on, turns
from tests.e2e.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def pay_and_come_back(buyer: Buyer, page: Page) -> None:
    """Confirm on UnionPay's page, and go back from it by the form that it offers."""
    await buyer.confirm(page)
    await page.wait_for_url("**/unionpay/front/*")
    await buyer.picture(page, "front")
    await page.locator("button.go").click()
    await page.wait_for_url("**/return/*")
    await turns(page, "paid")
    await buyer.picture(page, "paid")
    await page.locator("[data-return]").click()
    await buyer.back_at_the_shop(page)


async def test_a_buyer_at_a_pc_scans_unionpays_code(browser: Browser, town: Town) -> None:
    async with (
        buyer_at_pc(browser, town.ready, "unionpay-pc") as buyer,
        buyer_on_phone(browser, town.ready, "unionpay-pc-phone") as phone,
    ):
        page = await buyer.order_something()
        await phone.scan_and_pay(await buyer.show_code(page, "unionpay"))
        await turns(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def test_at_a_pc_a_button_posts_the_form_that_the_merchant_asked_for(
    browser: Browser, town: Town
) -> None:
    order = await town.place_order()
    await town.apply(order.payonce_order, "unionpay", product="pc")
    async with buyer_at_pc(browser, town.ready, "unionpay-pc-page", ENGLISH) as buyer:
        page = await buyer.open(order.checkout_url)
        await turns(page, "open")
        await buyer.picture(page, "open")
        await page.locator(".actions form button").click()
        await page.wait_for_url(f"{town.ready.sandbox_url}/**")
        await pay_and_come_back(buyer, page)


async def test_a_buyer_on_a_phone_is_led_to_unionpays_page_by_a_form(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "unionpay-phone", ENGLISH) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page, "unionpay")
        await pay_and_come_back(buyer, page)


async def test_a_phone_without_scripts_posts_the_same_form_with_one_tap_more(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "unionpay-bare", scripts=False) as buyer:
        page = await buyer.order_something()
        await page.locator("[data-apply] button[value=unionpay]").first.click()
        await turns(page, "open")
        await buyer.picture(page, "open")
        await page.locator(".actions form button").click()
        await page.wait_for_url(f"{town.ready.sandbox_url}/**")
        await pay_and_come_back(buyer, page)


async def test_who_comes_back_unpaid_finds_the_same_form_and_makes_no_second_payment(
    browser: Browser, town: Town
) -> None:
    """Another txnTime would be another payment that can be paid besides."""
    async with buyer_on_phone(browser, town.ready, "unionpay-again") as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page, "unionpay")
        await page.go_back()
        await turns(page, "open")
        number = (await town.attempt(await order_no_on(page))).number
        await page.locator(".actions form button").click()
        await expect(page.locator(".slip")).to_contain_text(number)
        ledger = await town.ledger()
        assert [one for one in ledger if one.startswith(number)] == [number]
        await pay_and_come_back(buyer, page)
