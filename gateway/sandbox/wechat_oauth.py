"""WeChat as the browser inside it meets it: who is there (OAuth), and the payment that a page asks
for through WeixinJSBridge.

After the documents "网页授权" (snsapi_base) and "JSAPI调起支付". Each browser is one person: the
first visit gives it an openid, in a cookie of the sandbox's own. The bridge is part of the app, so
whoever plays the app in a test puts it into the page, and it passes on here what the page said.
"""

import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.wallet import show_page
from gateway.sandbox.wechat_bodies import Prepay
from gateway.sandbox.wechat_crypto import MerchantKey, random_text
from gateway.sandbox.wechat_gate import KIND, PREFIX

AUTHORIZE = PREFIX + "/connect/oauth2/authorize"
ACCESS_TOKEN = PREFIX + "/sns/oauth2/access_token"
BRIDGE = PREFIX + "/bridge/getBrandWCPayRequest"

PERSON = "sandbox_wechat_person"
OPENID = re.compile(r"o[0-9A-Za-z_-]{27}")
FAIL, READY = "get_brand_wcpay_request:fail", "get_brand_wcpay_request:ready"
CODE_LIFE = timedelta(minutes=5)
CODES_KEPT = 1000


class Code(msgspec.Struct, frozen=True):
    """What a browser came back with: whose it is, since when, and whether it was exchanged."""

    openid: str
    made_at: datetime
    used: bool = False


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    access_token: str
    expires_in: int = 7200
    refresh_token: str
    openid: str
    scope: str = "snsapi_base"


class OAuthError(msgspec.Struct, frozen=True):
    errcode: int
    errmsg: str


class BridgeRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What a page gives to getBrandWCPayRequest, every value a string."""

    app_id: str
    time_stamp: str
    nonce_str: str
    package: str
    sign_type: str
    pay_sign: str


class BridgeAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the app makes of it: `ready` opens the wallet at `prepay_id`, `fail` says why not."""

    err_msg: str
    err_desc: str = ""
    prepay_id: str = ""


class WechatOAuth:
    """The app's two doors for pages."""

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._keys = keys
        self._shared = shared
        self._merchant_key = MerchantKey(keys.merchant.certificate)
        self._codes: dict[str, Code] = {}

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return (
            web.get(AUTHORIZE, self._authorize),
            web.get(ACCESS_TOKEN, self._exchange),
            web.post(BRIDGE, self._bridge),
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        """Send the browser back at once: snsapi_base shows the buyer nothing."""
        query = request.query
        way_back = query.get("redirect_uri", "")
        if "MicroMessenger" not in request.headers.get("User-Agent", ""):
            return _say(request, "not_wechat")
        wanted = (query.get("appid"), query.get("response_type"), query.get("scope"))
        known = wanted == (self._keys.appid, "code", "snsapi_base")
        if not known or not way_back.startswith(("http://", "https://")):
            return _say(request, "bad_oauth")
        kept = request.cookies.get(PERSON, "")
        openid = kept if OPENID.fullmatch(kept) else "o" + random_text(27)
        code = random_text(32)
        while len(self._codes) >= CODES_KEPT:
            del self._codes[next(iter(self._codes))]
        self._codes[code] = Code(openid, self._now())
        joint = "&" if "?" in way_back else "?"
        said = urlencode({"code": code, "state": query.get("state", "")})
        answer = web.Response(status=302, headers={"Location": f"{way_back}{joint}{said}"})
        answer.set_cookie(PERSON, openid, path=PREFIX, httponly=True, samesite="Lax")
        return answer

    async def _exchange(self, request: web.Request) -> web.Response:
        """A code's openid, once; errors are 200 too, and all of it calls itself text/plain."""
        query = request.query
        code = query.get("code", "")
        known = self._codes.get(code)
        answer: AccessToken | OAuthError
        if query.get("appid") != self._keys.appid:
            answer = OAuthError(40013, "invalid appid")
        elif query.get("secret") != self._keys.app_secret:
            answer = OAuthError(40125, "invalid appsecret")
        elif query.get("grant_type") != "authorization_code":
            answer = OAuthError(40002, "invalid grant_type")
        elif not code:
            answer = OAuthError(41008, "missing code")
        elif known is None or self._now() - known.made_at > CODE_LIFE:
            answer = OAuthError(40029, "invalid code")
        elif known.used:
            answer = OAuthError(40163, "code been used")
        else:
            self._codes[code] = replace(known, used=True)
            tokens = secrets.token_urlsafe(64), secrets.token_urlsafe(64)
            answer = AccessToken(
                access_token=tokens[0], refresh_token=tokens[1], openid=known.openid
            )
        return web.Response(body=msgspec.json.encode(answer), content_type="text/plain")

    async def _bridge(self, request: web.Request) -> web.Response:
        """Say whether the app opens its wallet for what a page gave to the bridge."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=BridgeRequest)
        except msgspec.DecodeError:
            return _told(BridgeAnswer(FAIL, "缺少参数"))
        return _told(self._judge(wanted, request.cookies.get(PERSON, "")))

    def _judge(self, wanted: BridgeRequest, person: str) -> BridgeAnswer:
        prepay_id = wanted.package.removeprefix("prepay_id=")
        lines = (wanted.app_id, wanted.time_stamp, wanted.nonce_str, wanted.package)
        if wanted.sign_type != "RSA" or not self._merchant_key.signed_lines(lines, wanted.pay_sign):
            return BridgeAnswer(FAIL, "支付验证签名失败")
        payment = self._shared.ledger.find_by_token(prepay_id)
        if payment is None or payment.product != "jsapi" or wanted.app_id != self._keys.appid:
            return BridgeAnswer(FAIL, "prepay_id无效")
        if msgspec.json.decode(payment.request, type=Prepay).payer.openid != person:
            return BridgeAnswer(FAIL, "下单账号与支付账号不一致")
        return BridgeAnswer(READY, prepay_id=prepay_id)

    def _now(self) -> datetime:
        return self._shared.faults.now(KIND)


def _say(request: web.Request, notice: str) -> web.Response:
    return show_page(request, "wallet_notice.html", {"notice": notice, "link": ""})


def _told(answer: BridgeAnswer) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
