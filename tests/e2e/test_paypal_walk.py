"""Paying with PayPal: from the checkout page to PayPal's, where the buyer agrees, and back; nothing
is debited before.

Pictures of every step are left in test-results/walk.
"""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.buyer import ENGLISH, Buyer, buyer_at_pc, buyer_on_phone
from tests.e2e.checkout import order_no_on, turns
from tests.e2e.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def agree(buyer: Buyer, page: Page, instrument: str) -> None:
    """Say on PayPal's page what to pay with, agree, and come back."""
    await page.wait_for_url("**/checkoutnow?*")
    await page.locator(f"input[value={instrument}]").check()
    await buyer.picture(page, f"paypal-{instrument}")
    await page.locator("button[value=approve]").click()
    await page.wait_for_url("**/return/*")


async def paid_and_back(buyer: Buyer, page: Page) -> None:
    await turns(page, "paid", within_s=30)
    await buyer.picture(page, "paid")
    await page.locator("[data-return]").click()
    await buyer.back_at_the_shop(page)


async def test_a_buyer_at_a_pc_agrees_at_paypal_and_is_debited_on_coming_back(
    browser: Browser, town: Town
) -> None:
    async with buyer_at_pc(browser, town.ready, "paypal-pc", ENGLISH) as buyer:
        page = await buyer.order_something("USD")
        await buyer.open_wallet(page, "paypal")
        await agree(buyer, page, "balance")
        await paid_and_back(buyer, page)


async def test_who_cancels_chooses_again_and_a_declined_card_is_not_the_end(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "paypal-phone") as buyer:
        page = await buyer.order_something("USD")
        await buyer.open_wallet(page, "paypal")
        await page.locator("button[value=cancel]").click()
        await page.wait_for_url("**/return/*")
        await turns(page, "open")
        await expect(page.locator("[data-apply] button[value=card]")).to_be_attached()
        await buyer.picture(page, "cancelled")
        await page.locator(".actions a").first.click()
        await agree(buyer, page, "declined")
        await turns(page, "open")
        await expect(page.locator(".notice-warn")).to_be_visible()
        await buyer.picture(page, "declined")
        await page.locator(".actions a").first.click()
        await expect(page.locator(".say")).to_be_visible()
        await agree(buyer, page, "balance")
        await paid_and_back(buyer, page)


async def test_while_paypal_looks_at_a_payment_the_page_says_not_to_pay_again(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "paypal-reviewed", ENGLISH) as buyer:
        page = await buyer.order_something("USD")
        await buyer.open_wallet(page, "paypal")
        await agree(buyer, page, "reviewed")
        await turns(page, "completing")
        await expect(page.locator("[data-apply]")).to_have_count(0)
        await buyer.picture(page, "completing")
        attempt = await town.attempt(await order_no_on(page))
        await town.pay(attempt.number, "paypal")
        await paid_and_back(buyer, page)
