"""The wallet's pages: pay what was scanned, once, and come back to the shop; without JavaScript."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, ConsoleMessage

from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.server import sandbox_app
from tests.sandbox.merchant import Merchant, Receiver

NUMBER = "ORDER000001"
SHOP = "https://shop.test/back?order=1"
H5_SCENE = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}


async def page(merchant: Merchant, path: str, **query: str) -> str:
    async with merchant.session.get(merchant.url + path, params=query) as answer:
        assert "script" not in answer.headers["Content-Security-Policy"]
        return await answer.text()


async def press_pay(merchant: Merchant, token: str, redirect_url: str = "") -> str:
    """Send the confirm form and answer where it leads."""
    async with merchant.session.post(
        merchant.url + "/wallet/pay",
        data={"token": token, "redirect_url": redirect_url},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def code_of(merchant: Merchant, **changes: object) -> str:
    answer = await merchant.create(NUMBER, "native", **changes)
    return str(answer.json["code_url"])


async def test_a_scanned_code_shows_whom_what_and_how_much(merchant: Merchant) -> None:
    code = await code_of(merchant, amount={"total": 123450, "currency": "CNY"})
    shown = await page(merchant, "/wallet", code=code)
    for said in ("山间茶铺", "一杯咖啡", "¥1,234.50", NUMBER, "确认付款"):
        assert said in shown


async def test_the_wallet_speaks_english_too(merchant: Merchant) -> None:
    for path in ("/", "/wallet", f"/wallet?{urlencode({'code': await code_of(merchant)})}"):
        async with merchant.session.get(
            merchant.url + path, headers={"Accept-Language": "en-GB,en;q=0.9"}
        ) as answer:
            shown = await answer.text()
        names = "山间茶铺一杯咖啡"  # which stay as they are
        assert set(re.findall("[\u4e00-\u9fff]", shown)) <= set(names)


async def test_confirming_pays_once_and_shows_the_receipt(merchant: Merchant) -> None:
    code = await code_of(merchant)
    receipt = await press_pay(merchant, code)
    assert "支付成功" in await page(merchant, receipt)
    assert (await merchant.query(NUMBER)).json["trade_state"] == "SUCCESS"
    again = await page(merchant, await press_pay(merchant, code))
    assert "已经付过了" in again
    assert "确认付款" not in again
    assert b'"captured":1234,' in (await merchant.control("ledger")).body


async def test_each_state_that_cannot_be_paid_is_explained(merchant: Merchant) -> None:
    ends = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    code = await code_of(merchant, time_expire=ends)
    await merchant.faults(clock_shift_s=180)
    assert "订单已过期" in await page(merchant, "/wallet", code=code)
    assert "订单已过期" in await page(merchant, await press_pay(merchant, code))
    await merchant.faults(clock_shift_s=0)
    await merchant.close(NUMBER)
    assert "订单已关闭" in await page(merchant, "/wallet", code=code)
    assert "认不出这个码" in await page(merchant, "/wallet", code="weixin://wxpay/nothing")


@pytest.mark.parametrize("product", ["jsapi", "app"])
async def test_a_prepay_id_pays_too(merchant: Merchant, product: str) -> None:
    answer = await merchant.create(NUMBER, product, payer={"openid": "oBuyer"})
    prepay_id = str(answer.json["prepay_id"])
    assert "确认付款" in await page(merchant, "/wallet", prepay_id=prepay_id)
    assert "确认付款" in await page(merchant, "/wallet", code=f"prepay_id={prepay_id}")
    assert await press_pay(merchant, prepay_id, SHOP) == SHOP


async def test_the_h5_page_pays_and_returns_to_the_shop(merchant: Merchant) -> None:
    answer = await merchant.create(NUMBER, "h5", scene_info=H5_SCENE)
    h5 = urlsplit(str(answer.json["h5_url"]))
    async with merchant.session.get(f"{h5.geturl()}&redirect_url=https%3A%2F%2Fshop.test") as shown:
        text = await shown.text()
    assert 'name="redirect_url" value="https://shop.test"' in text
    prepay_id = h5.query.partition("=")[2].partition("&")[0]
    assert await press_pay(merchant, prepay_id, SHOP) == SHOP
    assert (await merchant.query(NUMBER)).json["trade_type"] == "MWEB"


async def test_an_h5_link_lives_for_five_minutes(merchant: Merchant) -> None:
    answer = await merchant.create(NUMBER, "h5", scene_info=H5_SCENE)
    await merchant.faults(clock_shift_s=301)
    async with merchant.session.get(str(answer.json["h5_url"])) as shown:
        assert shown.status == 410
        assert "链接已失效" in await shown.text()


@pytest.mark.parametrize("wanted", ["javascript:alert(1)", "//evil.test", "/wallet", "http://["])
async def test_only_web_addresses_are_returned_to(merchant: Merchant, wanted: str) -> None:
    code = await code_of(merchant)
    shown = await page(merchant, "/wallet", code=code, redirect_url=wanted)
    assert 'name="redirect_url" value=""' in shown
    assert (await press_pay(merchant, code, wanted)).startswith("/wallet?")


async def test_a_code_that_is_a_web_page_is_offered_as_a_link(merchant: Merchant) -> None:
    shown = await page(merchant, "/wallet", code="https://pay.test/q/abc")
    assert 'href="https://pay.test/q/abc"' in shown


async def test_what_a_merchant_wrote_is_shown_as_text(merchant: Merchant) -> None:
    code = await code_of(merchant, description="<b>一杯</b>咖啡")
    assert "&lt;b&gt;一杯&lt;/b&gt;咖啡" in await page(merchant, "/wallet", code=code)


async def test_the_index_lists_payments_and_how_to_connect(merchant: Merchant) -> None:
    assert "还没有订单" in await page(merchant, "/")
    await merchant.create(NUMBER)
    await merchant.create("ORDER000002")
    await merchant.pay("ORDER000002")
    shown = await page(merchant, "/")
    assert shown.index("ORDER000002") < shown.index(NUMBER)
    for said in ("去付款", "已支付", "¥12.34", merchant.url + "/wechat"):
        assert said in shown


@pytest.mark.asyncio(loop_scope="session")
async def test_a_phone_without_javascript_pays_from_paste_to_receipt(
    browser: Browser, keys: SandboxKeys
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    receiver = Receiver()
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    async with (
        TestServer(sandbox_app(keys, public_url=url), port=port),
        TestServer(receiver.app) as receiving,
        aiohttp.ClientSession() as session,
        await browser.new_context(
            viewport={"width": 390, "height": 844}, locale="zh-CN", java_script_enabled=False
        ) as phone,
    ):
        receiver.url = str(receiving.make_url("/notify"))
        merchant = Merchant(session, keys, url, receiver)
        code = await code_of(merchant, description="很长的商品名称" * 8)
        screen = await phone.new_page()
        screen.on("console", note)
        await screen.goto(url + "/wallet")
        await screen.fill("textarea", code)
        await screen.click("text=下一步")
        button = await screen.locator("text=确认付款").bounding_box()
        assert button is not None
        assert 0 <= button["x"] <= button["x"] + button["width"] <= 390
        assert button["y"] + button["height"] <= 844
        await screen.click("text=确认付款")
        assert await screen.locator("h1").inner_text() == "支付成功"
        assert complaints == []
        await receiver.until(1)
