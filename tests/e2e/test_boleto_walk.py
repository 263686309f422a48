"""Paying with a Boleto: who pays it is asked, the slip is shown, and a bank takes it days later.

Pictures of every step are left in test-results/walk.
"""

from typing import Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.buyer import ENGLISH, Buyer, Words, buyer_at_pc, buyer_on_phone
from tests.e2e.checkout import order_no_on, turns
from tests.e2e.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

# The shop speaks no Portuguese; the checkout page does.
BRAZILIAN: Final = Words("pt-BR", "加入购物车", "去结算", "待发货")
TYPED: Final = {
    "name": "Ana Souza",
    "email": "ana@example.com",
    "tax_id": "529.982.247-25",
    "address.postal_code": "01310-100",
    "address.line1": "Rua das Acácias, 45",
    "address.city": "São Paulo",
}


async def make_slip(buyer: Buyer, page: Page) -> None:
    await page.locator("a[href$='/details/boleto']").click()
    await turns(page, "details")
    for field, text in TYPED.items():
        await page.locator(f"[name='buyer.{field}']").fill(text)
    await page.locator("[name='buyer.address.state']").select_option("SP")
    await buyer.picture(page, "details")
    await page.locator(".details button").click()
    await turns(page, "voucher", within_s=15)
    await expect(page.locator(".bars svg")).to_be_visible()
    await buyer.picture(page, "voucher")


async def pay_at_a_bank(buyer: Buyer, page: Page) -> None:
    """Open the slip, and take it to a bank."""
    async with buyer.context.expect_page() as opened:
        await page.locator(".actions a.button-quiet").click()
    slip = await opened.value
    await buyer.picture(slip, "slip")
    await slip.locator("a.go").click()
    await buyer.confirm(slip)
    await expect(slip.locator(".result.paid")).to_be_visible()
    await buyer.picture(slip, "bank")


async def test_a_buyer_at_a_pc_pays_a_slip_at_a_bank(browser: Browser, town: Town) -> None:
    async with buyer_at_pc(browser, town.ready, "boleto-pc", BRAZILIAN) as buyer:
        page = await buyer.order_something("BRL")
        await make_slip(buyer, page)
        await pay_at_a_bank(buyer, page)
        await turns(page, "paid", within_s=30)
        await buyer.picture(page, "paid")
        await page.locator("[data-return]").click()
        await buyer.back_at_the_shop(page)


async def test_a_phone_without_scripts_makes_a_slip_and_finds_it_paid(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(
        browser, town.ready, "boleto-phone", BRAZILIAN, scripts=False
    ) as buyer:
        page = await buyer.order_something("BRL")
        await make_slip(buyer, page)
        await pay_at_a_bank(buyer, page)
        await page.reload()
        await turns(page, "paid", within_s=30)
        await buyer.picture(page, "paid")


async def test_who_pays_by_card_after_all_is_told_to_leave_the_slip_alone(
    browser: Browser, town: Town
) -> None:
    async with buyer_on_phone(browser, town.ready, "boleto-card", ENGLISH) as buyer:
        page = await buyer.order_something("BRL")
        await make_slip(buyer, page)
        await page.locator(".others summary").click()
        await buyer.open_wallet(page, "card")
        await page.locator("button[value=good]").click()
        await page.wait_for_url("**/return/*")
        await turns(page, "paid", within_s=30)
        await expect(page.locator(".notice-warn")).to_contain_text("Do not pay it any more")
        await buyer.picture(page, "paid")
        order = await town.order(await order_no_on(page))
        assert [attempt.state for attempt in order.attempts] == ["paying", "captured"]
