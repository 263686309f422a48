"""The pages in a real browser, without JavaScript: what only a browser can say of them."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.sandbox_shop.conftest import running_payonce, shop_street

SIZES = [pytest.param(1280, 800, id="PC"), pytest.param(390, 844, id="phone")]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_a_buyer_without_scripts_gets_from_shelf_to_shipment(
    browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    async with (
        running_payonce() as payonce,
        shop_street(payonce, tmp_path) as open_shop,
        await browser.new_context(
            viewport={"width": width, "height": height},
            locale="zh-CN",
            java_script_enabled=False,
        ) as context,
    ):
        shop = await open_shop()
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(shop.url)
        for _ in range(2):
            await page.get_by_role("button", name="加入购物车").first.click()
        await expect(page.locator("#cart .total")).to_contain_text("¥256.00")
        await expect_no_sideways_scroll(page)
        # The form ends on another origin, which the content policy must allow.
        await page.get_by_role("button", name="去结算").click()
        await expect(page).to_have_url(re.compile("/checkout/token1"))
        (no,) = payonce.orders
        await page.goto(f"{shop.url}/orders/{no}")
        await expect(page.get_by_role("status")).to_contain_text("待付款")
        await expect_no_sideways_scroll(page)
        # The page that is open turns by itself when the payment becomes known.
        await shop.tell(payonce.move(no, "paid"))
        await expect(page.get_by_role("status")).to_contain_text("待发货", timeout=8000)
        await page.get_by_role("link", name="我的订单").click()
        await expect(page.locator(".badge")).to_have_text("待发货")
        await expect_no_sideways_scroll(page)
        assert [line for line in complaints if "Content Security Policy" in line] == []


async def expect_no_sideways_scroll(page: Page) -> None:
    """The page is no wider than the screen."""
    viewport = page.viewport_size
    assert viewport is not None
    for part in ("header", "main", "footer"):
        box = await page.locator(part).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= viewport["width"]
