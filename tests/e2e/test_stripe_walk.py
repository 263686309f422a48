"""Paying with a card: from the checkout page to Stripe's, where the card is, and back.

Pictures of every step are left in test-results/walk.
"""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.buyer import ENGLISH, Buyer, buyer_at_pc, buyer_on_phone
from tests.e2e.checkout import turns
from tests.e2e.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def use_card(buyer: Buyer, page: Page, card: str) -> None:
    """Choose a card on Stripe's page."""
    await buyer.picture(page, f"stripe-{card}")
    await page.locator(f"button[value={card}]").click()


async def back_and_paid(buyer: Buyer, page: Page) -> None:
    await page.wait_for_url("**/return/*")
    await turns(page, "paid", within_s=30)
    await buyer.picture(page, "paid")
    await page.locator("[data-return]").click()
    await buyer.back_at_the_shop(page)


async def test_a_buyer_at_a_pc_pays_with_a_card(browser: Browser, town: Town) -> None:
    async with buyer_at_pc(browser, town.ready, "card-pc", ENGLISH) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page, "card")
        await use_card(buyer, page, "good")
        await back_and_paid(buyer, page)


async def test_a_card_is_declined_and_the_next_one_asks_its_bank(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "card-phone") as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page, "card")
        await use_card(buyer, page, "declined")
        await expect(page.get_by_role("alert")).to_be_visible()
        await use_card(buyer, page, "secure")
        await page.wait_for_url("**/secure/*")
        await use_card(buyer, page, "good")
        await back_and_paid(buyer, page)


async def test_who_comes_back_without_paying_finds_the_same_page_again(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "card-again", ENGLISH) as buyer:
        page = await buyer.order_something()
        await buyer.open_wallet(page, "card")
        session = page.url
        await page.locator("a.quiet").click()
        await page.wait_for_url("**/return/*")
        await turns(page, "open")
        await buyer.picture(page, "open")
        await page.locator(".actions a").first.click()
        await page.wait_for_url(session)
        await use_card(buyer, page, "good")
        await back_and_paid(buyer, page)
        # Whoever opens it once more is told so, and can pay nothing.
        await page.goto(session)
        await expect(page.locator(".result.paid")).to_be_visible()
        await buyer.picture(page, "stripe-done")
