"""The sandbox's WeChat as a browser inside it meets it: OAuth, and the bridge of the app."""

import time
from base64 import b64encode
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import Struct

from tests.sandbox.merchant import Merchant

PHONE = "Mozilla/5.0 (Linux; Android 14) Mobile MicroMessenger/8.0.49"
WAY_BACK = "https://pay.test/identified?a=1"
STATE = "5f2b"
NUMBER = "ORDER000001"


class Exchanged(Struct):
    """What access_token answers: the one or the other."""

    errcode: int = 0
    openid: str = ""
    scope: str = ""
    expires_in: int = 0


@pytest_asyncio.fixture
async def phone() -> AsyncIterator[aiohttp.ClientSession]:
    """A browser that keeps cookies, also of hosts that are only an address."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"User-Agent": PHONE}) as session:
        yield session


def asking(merchant: Merchant, **changes: str) -> dict[str, str]:
    asked = {
        "appid": merchant.keys.appid,
        "redirect_uri": WAY_BACK,
        "response_type": "code",
        "scope": "snsapi_base",
        "state": STATE,
    }
    return asked | changes


async def come_back(merchant: Merchant, phone: aiohttp.ClientSession) -> str:
    """Send a browser to WeChat; returns the code that it comes back with."""
    async with phone.get(
        f"{merchant.url}/wechat/connect/oauth2/authorize",
        params=asking(merchant),
        allow_redirects=False,
    ) as answer:
        assert answer.status == 302
        location = urlsplit(answer.headers["Location"])
    assert location._replace(query="").geturl() == "https://pay.test/identified"
    query = parse_qs(location.query)
    assert (query["a"], query["state"]) == (["1"], [STATE])
    return query["code"][0]


async def exchange(merchant: Merchant, code: str, /, **changes: str) -> Exchanged:
    said = {
        "appid": merchant.keys.appid,
        "secret": merchant.keys.app_secret,
        "code": code,
        "grant_type": "authorization_code",
    }
    async with merchant.session.get(
        f"{merchant.url}/wechat/sns/oauth2/access_token", params=said | changes
    ) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain", "as the real one calls its JSON"
        return msgspec.json.decode(await answer.read(), type=Exchanged)


async def test_a_code_is_good_for_one_exchange(
    merchant: Merchant, phone: aiohttp.ClientSession
) -> None:
    code = await come_back(merchant, phone)
    first = await exchange(merchant, code)
    assert (first.errcode, first.scope, first.expires_in) == (0, "snsapi_base", 7200)
    assert len(first.openid) == 28
    assert (await exchange(merchant, code)).errcode == 40163


async def test_a_browser_is_one_person(merchant: Merchant, phone: aiohttp.ClientSession) -> None:
    first = await exchange(merchant, await come_back(merchant, phone))
    again = await exchange(merchant, await come_back(merchant, phone))
    phone.cookie_jar.clear()
    another = await exchange(merchant, await come_back(merchant, phone))
    assert first.openid == again.openid != another.openid


async def test_a_code_lives_for_five_minutes(
    merchant: Merchant, phone: aiohttp.ClientSession
) -> None:
    code = await come_back(merchant, phone)
    await merchant.faults(clock_shift_s=301)
    assert (await exchange(merchant, code)).errcode == 40029


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"appid": "wx0"}, 40013),
        ({"secret": "0" * 32}, 40125),
        ({"grant_type": "password"}, 40002),
        ({"code": ""}, 41008),
        ({"code": "0" * 32}, 40029),
    ],
)
async def test_what_is_wrong_has_its_number(
    merchant: Merchant, phone: aiohttp.ClientSession, changes: dict[str, str], errcode: int
) -> None:
    code = await come_back(merchant, phone)
    wrong = {"code": code} | changes
    assert (await exchange(merchant, wrong.pop("code"), **wrong)).errcode == errcode
    assert (await exchange(merchant, code)).errcode == 0, "a refusal uses up nothing"


@pytest.mark.parametrize(
    ("changes", "user_agent", "said"),
    [
        ({}, "Mozilla/5.0 Chrome/130.0", "请在微信客户端打开链接"),
        ({"appid": "wx0"}, PHONE, "参数错误"),
        ({"scope": "snsapi_userinfo"}, PHONE, "参数错误"),
        ({"redirect_uri": "javascript:alert(1)"}, PHONE, "参数错误"),
    ],
)
async def test_wrong_visitors_are_told_on_a_page(
    merchant: Merchant, changes: dict[str, str], user_agent: str, said: str
) -> None:
    async with merchant.session.get(
        f"{merchant.url}/wechat/connect/oauth2/authorize",
        params=asking(merchant, **changes),
        headers={"User-Agent": user_agent},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 200
        assert said in await answer.text()


def for_the_bridge(merchant: Merchant, prepay_id: str, **changes: str) -> dict[str, str]:
    """Sign what a page gives to the app, in code that shares nothing with the gateway's."""
    key = serialization.load_pem_private_key(merchant.keys.merchant.key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    given = {
        "appId": merchant.keys.appid,
        "timeStamp": str(int(time.time())),
        "nonceStr": "n" * 32,
        "package": f"prepay_id={prepay_id}",
    }
    message = "".join(f"{value}\n" for value in given.values()).encode()
    signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    given |= {"signType": "RSA", "paySign": b64encode(signature).decode()}
    return given | changes


async def bridged(
    merchant: Merchant, phone: aiohttp.ClientSession, given: object
) -> dict[str, str]:
    url = f"{merchant.url}/wechat/bridge/getBrandWCPayRequest"
    async with phone.post(url, json=given) as answer:
        return dict(await answer.json())


async def test_the_bridge_opens_the_wallet_of_the_payer_alone(
    merchant: Merchant, phone: aiohttp.ClientSession
) -> None:
    openid = (await exchange(merchant, await come_back(merchant, phone))).openid
    answer = await merchant.create(NUMBER, "jsapi", payer={"openid": openid})
    prepay_id = str(answer.json["prepay_id"])
    given = for_the_bridge(merchant, prepay_id)
    assert await bridged(merchant, phone, given) == {
        "err_msg": "get_brand_wcpay_request:ready",
        "prepay_id": prepay_id,
    }
    for wrong in (
        {},
        given | {"paySign": "AAAA"},
        given | {"nonceStr": "another"},
        given | {"signType": "MD5"},
        for_the_bridge(merchant, "wx0"),
    ):
        assert (await bridged(merchant, phone, wrong))["err_msg"] == "get_brand_wcpay_request:fail"
    phone.cookie_jar.clear()
    await exchange(merchant, await come_back(merchant, phone))
    assert (await bridged(merchant, phone, given))["err_desc"] == "下单账号与支付账号不一致"


async def test_a_wallets_own_browser_opens_what_it_scanned(merchant: Merchant) -> None:
    link = "https://pay.test/q/abc"
    async with merchant.session.get(
        f"{merchant.url}/wallet",
        params={"code": link},
        headers={"User-Agent": PHONE},
        allow_redirects=False,
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, link)
