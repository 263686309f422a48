"""Who is at a browser inside WeChat: where it is sent, and what the answers mean."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import Struct

from gateway.channels.base import Recognising
from gateway.channels.wechat import WeChatPay, wechat_pay
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.ports import free_port
from tests.fakes.wechat_crypto import stub_keys

SECRET: Final = "0123456789abcdef0123456789abcdef"
OPENID: Final = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
WAY_BACK: Final = "https://pay.example/checkout/tok/identified"


class Bench(Struct):
    """An app at a WeChat that answers what the test says, and keeps what it was asked."""

    channel: WeChatPay
    asked: list[dict[str, str]]
    answer: web.Response | None = None


@asynccontextmanager
async def bench(deadline_s: float = 5) -> AsyncIterator[Bench]:
    async def exchange(request: web.Request) -> web.Response:
        made.asked.append(dict(request.query))
        if made.answer is None:
            await asyncio.Event().wait()  # no answer ever
        assert made.answer is not None
        return made.answer

    app = web.Application()
    app.router.add_get("/sns/oauth2/access_token", exchange)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("")).rstrip("/")
        settings = stub_keys().settings("https://api.mch.weixin.qq.com")
        settings |= {"app_secret": SECRET, "oauth_api_base_url": url}
        made = Bench(wechat_pay("acct_1", settings, {}, http, deadline_s=deadline_s), [])
        yield made


def said(text: str | bytes, status: int = 200) -> web.Response:
    body = text.encode() if isinstance(text, str) else text
    return web.Response(body=body, status=status, content_type="text/plain")


async def payer(bench: Bench, code: str = "061abc") -> str:
    assert bench.channel.recogniser is not None
    return await bench.channel.recogniser.payer(code)


async def test_the_browser_is_sent_to_wechat_in_the_order_of_its_documents() -> None:
    async with bench() as shipped:
        recogniser = shipped.channel.recogniser
        assert recogniser is not None
        address = recogniser.address(WAY_BACK, "5f2b")
    parts = urlsplit(address)
    assert parts._replace(query="").geturl() == (
        "https://open.weixin.qq.com/connect/oauth2/authorize#wechat_redirect"
    )
    assert parse_qsl(parts.query) == [
        ("appid", stub_keys().appid),
        ("redirect_uri", WAY_BACK),
        ("response_type", "code"),
        ("scope", "snsapi_base"),
        ("state", "5f2b"),
    ]
    assert "redirect_uri=https%3A%2F%2Fpay.example%2Fcheckout%2Ftok%2Fidentified&" in address


async def test_a_code_is_exchanged_for_the_openid() -> None:
    async with bench() as shipped:
        shipped.answer = said(
            f'{{"access_token":"A","expires_in":7200,"refresh_token":"R","openid":"{OPENID}",'
            '"scope":"snsapi_base","unknown":[]}'
        )
        assert await payer(shipped) == OPENID
        assert shipped.asked == [
            {
                "appid": stub_keys().appid,
                "secret": SECRET,
                "code": "061abc",
                "grant_type": "authorization_code",
            }
        ]


@pytest.mark.parametrize("errcode", [40029, 40163, 42003, 41008])
async def test_a_code_of_no_use_is_refused(errcode: int) -> None:
    async with bench() as shipped:
        shipped.answer = said(f'{{"errcode":{errcode},"errmsg":"code {SECRET}"}}')
        with pytest.raises(ChannelRefused) as refused:
            await payer(shipped)
        assert refused.value.code == str(errcode)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("code", ["", "x" * 513])
async def test_what_cannot_be_a_code_is_not_exchanged(code: str) -> None:
    async with bench() as shipped:
        with pytest.raises(ChannelRefused):
            await payer(shipped, code)
        assert shipped.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        '{"errcode":-1,"errmsg":"system error"}',
        '{"errcode":40125,"errmsg":"invalid appsecret"}',
        '{"openid":""}',
        '{"openid":"o with spaces"}',
        '{"openid":7}',
        "{}",
        "[]",
        "<html>",
        b"\xff",
    ],
)
async def test_any_other_answer_says_nothing(answer: str | bytes) -> None:
    async with bench() as shipped:
        shipped.answer = said(answer)
        with pytest.raises(ChannelUnavailable):
            await payer(shipped)


async def test_a_wrong_secret_is_told_by_its_name() -> None:
    async with bench() as shipped:
        shipped.answer = said('{"errcode":40125,"errmsg":"invalid appsecret"}')
        with pytest.raises(ChannelUnavailable, match="check app_secret"):
            await payer(shipped)


async def test_no_answer_is_told_without_the_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench(deadline_s=0.1) as shipped:
        with pytest.raises(ChannelUnavailable) as silent:
            await payer(shipped)
    settings = stub_keys().settings("https://api.mch.weixin.qq.com")
    settings |= {"app_secret": SECRET, "oauth_api_base_url": f"http://127.0.0.1:{free_port()}"}
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ChannelUnavailable) as refused:
            await payer(Bench(wechat_pay("acct_1", settings, {}, http), []))
    for error in (silent.value, refused.value):
        assert SECRET not in f"{error!r}{error.__cause__!r}"
    assert SECRET not in caplog.text


async def test_without_its_secret_nobody_is_sent_to_wechat() -> None:
    async with aiohttp.ClientSession() as http:
        settings = stub_keys().settings("https://api.mch.weixin.qq.com")
        channel = wechat_pay("acct_1", settings, {}, http)
    assert isinstance(channel, Recognising)
    assert channel.recogniser is None


async def test_nothing_shows_the_secret() -> None:
    async with bench() as shipped:
        assert SECRET not in f"{shipped.channel!r}{shipped.channel.recogniser!r}"
