"""Alipay in the wallet: scanned codes, the cashier's page, and the way back to the shop."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser

from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.server import sandbox_app
from tests.sandbox.alipay_merchant import AlipayMerchant, beijing
from tests.sandbox.merchant import Receiver

NUMBER = "ORDER000001"
SHOP = "https://shop.test/back?order=1"


async def page(alipay: AlipayMerchant, url: str, **query: str) -> str:
    async with alipay.session.get(url, params=query or None) as answer:
        assert "script" not in answer.headers["Content-Security-Policy"]
        return await answer.text()


async def cashier(alipay: AlipayMerchant, link: str) -> str:
    """Open a link and answer the token that its page pays."""
    async with alipay.session.get(link, allow_redirects=False) as answer:
        assert answer.status == 302
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))["code"]


async def press_pay(alipay: AlipayMerchant, token: str, redirect_url: str = "") -> str:
    """Send the confirm form and answer where it leads."""
    async with alipay.session.post(
        alipay.url + "/wallet/pay",
        data={"token": token, "redirect_url": redirect_url},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def test_a_code_is_shown_in_alipays_colours_and_looking_at_it_is_scanning(
    alipay: AlipayMerchant,
) -> None:
    code = (await alipay.precreate(NUMBER)).body["qr_code"]
    assert (await alipay.query(NUMBER)).code == "ACQ.TRADE_NOT_EXIST"
    shown = await page(alipay, alipay.url + "/wallet", code=code)
    for said in ('class="phone alipay"', "支付宝", "账户余额", "¥12.34", "确认付款"):
        assert said in shown
    assert (await alipay.query(NUMBER)).body["trade_status"] == "WAIT_BUYER_PAY"
    receipt = await press_pay(alipay, code)
    assert "支付成功" in await page(alipay, alipay.url + receipt)
    assert (await alipay.query(NUMBER)).body["trade_status"] == "TRADE_SUCCESS"


async def test_a_code_of_alipays_that_nobody_made_is_unknown(alipay: AlipayMerchant) -> None:
    shown = await page(alipay, alipay.url + "/wallet", code="https://qr.alipay.com/bax0")
    assert "认不出这个码" in shown


@pytest.mark.parametrize("method", ["page", "wap"])
async def test_the_cashier_sends_the_browser_back_with_signed_words(
    alipay: AlipayMerchant, method: str
) -> None:
    token = await cashier(alipay, alipay.link(method, NUMBER, SHOP))
    assert (await alipay.query(NUMBER)).code == "ACQ.TRADE_NOT_EXIST"
    back = await press_pay(alipay, token, "https://evil.test")
    assert back.startswith(SHOP + "&")
    words = dict(parse_qsl(urlsplit(back).query))
    del words["order"]
    assert words["method"] == f"alipay.trade.{method}.pay.return"
    assert (words["out_trade_no"], words["total_amount"]) == (NUMBER, "12.34")
    assert alipay.notified(words)


async def test_a_buyer_who_does_not_pay_goes_where_the_order_says(alipay: AlipayMerchant) -> None:
    link = alipay.link("wap", NUMBER, SHOP, quit_url="https://shop.test/quit")
    shown = await page(alipay, link)
    assert 'href="https://shop.test/quit"' in shown
    assert "shop.test/back" not in shown


async def test_a_link_pays_once_however_often_it_is_opened(alipay: AlipayMerchant) -> None:
    link = alipay.link("page", NUMBER, SHOP)
    token = await cashier(alipay, link)
    assert await cashier(alipay, alipay.link("page", NUMBER, SHOP)) == token
    await press_pay(alipay, token)
    assert "已经付过了" in await page(alipay, link)
    assert "已经付过了" in await page(alipay, alipay.url + await press_pay(alipay, token))
    assert await alipay.captured() == [(1234, 0, "paid")]


async def test_a_browser_is_told_in_gbk_what_the_merchant_did_wrong(
    alipay: AlipayMerchant,
) -> None:
    await cashier(alipay, alipay.link("wap", "TAKEN"))
    wrong = {
        "ACQ.INVALID_PARAMETER": alipay.link("wap", NUMBER, total_amount="0"),
        "ACQ.CONTEXT_INCONSISTENT": alipay.link("page", "TAKEN"),
        "isv.invalid-signature": alipay.link("wap", NUMBER).replace("sign=", "sign=A"),
        "isv.missing-signature": alipay.link("wap", NUMBER).partition("&sign=")[0],
    }
    for code, link in wrong.items():
        async with alipay.session.get(link) as answer:
            assert (answer.status, answer.charset) == (200, "gbk")
            shown = (await answer.read()).decode("gbk")
            assert "这笔订单无法付款" in shown
            assert code in shown
    assert await alipay.captured() == [(0, 0, "open")]


async def test_a_link_that_expired_is_not_paid(alipay: AlipayMerchant) -> None:
    link = alipay.link("page", NUMBER, time_expire=beijing(timedelta(minutes=5)))
    token = await cashier(alipay, link)
    await alipay.faults(clock_shift_s=301)
    assert "订单已过期" in await page(alipay, alipay.url + "/wallet", code=token)
    assert "订单已过期" in await page(alipay, alipay.url + await press_pay(alipay, token))
    assert await alipay.captured() == [(0, 0, "open")]


async def test_what_an_app_is_given_can_be_pasted(alipay: AlipayMerchant) -> None:
    order = alipay.order(NUMBER, product_code="QUICK_MSECURITY_PAY")
    words = alipay.words("alipay.trade.app.pay", order)
    assert "确认付款" in await page(alipay, alipay.url + "/wallet", code=words)


async def test_the_index_says_how_to_connect_both(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    shown = await page(alipay, alipay.url + "/")
    for said in ("微信支付、支付宝", alipay.url + "/wechat", alipay.url + "/alipay", NUMBER):
        assert said in shown


@pytest.mark.asyncio(loop_scope="session")
async def test_a_phone_without_javascript_pays_at_the_cashier_and_comes_back(
    browser: Browser, keys: SandboxKeys
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    receiver = Receiver()
    receiver.status, receiver.answer = 200, b"success"
    async with (
        TestServer(sandbox_app(keys, public_url=url), port=port),
        TestServer(receiver.app) as receiving,
        aiohttp.ClientSession() as session,
        await browser.new_context(
            viewport={"width": 390, "height": 844}, locale="zh-CN", java_script_enabled=False
        ) as phone,
    ):
        receiver.url = str(receiving.make_url("/notify"))
        alipay = AlipayMerchant(session, keys, url, receiver)
        screen = await phone.new_page()
        await screen.goto(alipay.link("wap", NUMBER, f"{url}/wallet?came=back"))
        button = await screen.locator("text=确认付款").bounding_box()
        assert button is not None
        assert button["y"] + button["height"] <= 844
        await screen.click("text=确认付款")
        assert "came=back" in screen.url
        assert f"out_trade_no={NUMBER}" in screen.url
        (send,) = await receiver.until(1)
        assert alipay.told(send.body)["out_trade_no"] == NUMBER
