"""The buyer's wallet, as pages: it pays what a QR code, a prepay id or a cashier's link stands for,
and shows by its colours whose it is.

It speaks Chinese, and English to whoever reads the shop in English. The pages are whole without
JavaScript: a form asks, a redirect answers, and coming back or loading again pays nothing twice.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp_jinja2
import jinja2
import msgspec
from aiohttp import web

from gateway.sandbox.control import CHANNELS, SHARED
from gateway.sandbox.ledger import NotPayable, Payment, entry_of
from gateway.sandbox.shop_words import choose

H5_LINK_LIFE = timedelta(minutes=5)
SHOWN = 50
PAYEE = web.AppKey("payee", str)
SIGNS = {"CNY": "¥", "USD": "$", "BRL": "R$"}
CHANNEL_NAMES = {
    "wechat": ("微信支付", "WeChat Pay"),
    "alipay": ("支付宝", "Alipay"),
    "unionpay": ("银联云闪付", "UnionPay"),
    "paypal": ("PayPal", "PayPal"),
    "card": ("银行卡", "Bank card"),
    "boleto": ("Boleto", "Boleto"),
}
BALANCES = {
    "wechat": ("零钱", "Balance"),
    "alipay": ("账户余额", "Account balance"),
    "unionpay": ("储蓄卡", "Debit card"),
    "boleto": ("银行账户", "Bank account"),
}
PAGES = {"paypal": "/paypal/checkoutnow?token=", "card": "/stripe/c/pay/"}
"""Where a channel has a page of its own, on which the buyer does more than to confirm."""
KINDS = {"card": "stripe", "boleto": "stripe"}
"""Channels that are served by an account of another name."""
CODES = ("https://qr.alipay.com/", "https://qr.95516.com/")
"""What payment codes that look like web addresses begin with."""
WALLETS = re.compile(r"MicroMessenger|AlipayClient|UnionPay/")
"""How the wallets' own browsers name themselves."""
APP_ORDER = "method=alipay.trade.app.pay"
BEIJING = timezone(timedelta(hours=8))
HERE = Path(__file__).parent
SECURITY = {
    # No form-action: a browser applies it to where a paid form is redirected, and that is the shop.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Slip(msgspec.Struct, frozen=True, kw_only=True):
    """What the wallet shows of a payment; `state` is payable, paid, closed or expired."""

    state: str
    token: str
    payee: str
    channel: str
    subject: str
    number: str
    price: str
    paid_at: str
    redirect_url: str
    just_paid: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the index page."""

    state: str
    token: str
    channel: str
    product: str
    number: str
    subject: str
    price: str
    refunded: str
    created_at: str


def add_wallet(app: web.Application, payee: str) -> None:
    """Add the pages; `payee` is who the wallet says it pays."""
    app[PAYEE] = payee
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
    )
    app.add_routes(
        (
            web.get("/", show_index),
            web.get("/wallet", show_wallet),
            web.get("/wechat/h5", show_h5),
            web.post("/wallet/pay", pay),
            web.get(r"/wallet/{name:wallet\.css|wallet\.svg}", send_file),
        )
    )


async def show_index(request: web.Request) -> web.Response:
    """GET / - what the sandbox is for, and the latest payments"""
    shared = request.app[SHARED]
    latest = sorted(shared.ledger, key=lambda one: one.created_at, reverse=True)
    context = {
        "rows": [_row(one, shared.faults.now(one.channel)) for one in latest[:SHOWN]],
        "more": max(0, len(latest) - SHOWN),
        "public_url": shared.public_url,
        "channels": [*request.app[CHANNELS]],
        "kinds": dict.fromkeys(KINDS.get(kind, kind) for kind in request.app[CHANNELS]),
    }
    return show_page(request, "wallet_index.html", context)


async def show_wallet(request: web.Request) -> web.Response:
    """GET /wallet[?code=|prepay_id=&redirect_url=] - scan, or confirm what was scanned"""
    query = request.query
    code = (query.get("code") or query.get("prepay_id") or "").strip()
    token = code.removeprefix("prepay_id=")
    if not token:
        return show_page(request, "wallet_home.html", {})
    if APP_ORDER in token.partition("?")[0]:  # the text an app is given, not yet a link
        raise web.HTTPSeeOther(f"/alipay/gateway.do?{token}")
    if token.startswith(("http://", "https://")) and not token.startswith(CODES):
        if WALLETS.search(request.headers.get("User-Agent", "")):
            raise web.HTTPSeeOther(token)  # a wallet opens in its own browser what it scanned
        return show_page(request, "wallet_notice.html", {"notice": "link", "link": token})
    return _confirm(request, token, query.get("redirect_url", ""), paid=query.get("paid") == "1")


async def show_h5(request: web.Request) -> web.Response:
    """GET /wechat/h5?prepay_id=&package=&redirect_url= - the link of an H5 order, for 5 minutes"""
    query = request.query
    made_at = query.get("package", "")
    now = request.app[SHARED].faults.now("wechat")
    fresh = made_at.isdecimal() and now.timestamp() - int(made_at) <= H5_LINK_LIFE.total_seconds()
    if not fresh:
        return show_page(request, "wallet_notice.html", {"notice": "stale", "link": ""}, status=410)
    return _confirm(request, query.get("prepay_id", ""), query.get("redirect_url", ""))


async def pay(request: web.Request) -> web.Response:
    """POST /wallet/pay token=&redirect_url= - pay, then back to the shop or on to the receipt"""
    form = await request.post()
    token, wanted = str(form.get("token", "")), str(form.get("redirect_url", ""))
    payment = request.app[SHARED].ledger.find_by_token(token)
    if payment is None:
        return show_page(
            request, "wallet_notice.html", {"notice": "unknown", "link": ""}, status=404
        )
    channel = request.app[CHANNELS][payment.channel]
    receipt = {"code": token}
    try:
        payment = channel.pay(payment.number, amount=None, at=None, again=False)
    except NotPayable:
        pass  # the page that follows says what it is: paid already, closed or expired
    else:
        receipt["paid"] = "1"
    way_back = _web_address(channel.way_back(payment, wanted))
    if way_back and "paid" in receipt:
        raise web.HTTPSeeOther(way_back)
    receipt["redirect_url"] = _web_address(wanted)
    raise web.HTTPSeeOther(f"/wallet?{urlencode(receipt)}")


def refuse(request: web.Request, code: str, said: str) -> web.Response:
    """The page on which a channel tells the buyer, and nobody else, what the merchant did wrong.

    It is in GBK, as Alipay's is.
    """
    context = {"code": code, "said": said}
    text = aiohttp_jinja2.render_string("wallet_refused.html", request, context | _words(request))
    body = text.encode("gbk", "xmlcharrefreplace")
    headers = {**SECURITY, "Content-Type": "text/html; charset=gbk"}
    return web.Response(body=body, headers=headers)


async def send_file(request: web.Request) -> web.FileResponse:
    """GET /wallet/wallet.css, /wallet/wallet.svg"""
    return web.FileResponse(HERE / "static" / request.match_info["name"], headers=SECURITY)


def _confirm(
    request: web.Request, token: str, redirect_url: str, *, paid: bool = False
) -> web.Response:
    """Show what a token stands for; looking at something payable is what scanning is."""
    shared = request.app[SHARED]
    payment = shared.ledger.find_by_token(token)
    if payment is None:
        return show_page(
            request, "wallet_notice.html", {"notice": "unknown", "link": ""}, status=404
        )
    if payment.channel in PAGES:
        raise web.HTTPSeeOther(PAGES[payment.channel] + payment.ref)
    channel = request.app[CHANNELS][payment.channel]
    state = _state(payment, shared.faults.now(payment.channel))
    if state == "payable":
        payment = channel.scan(payment.number)
    slip = Slip(
        state=state,
        token=token,
        payee=request.app[PAYEE],
        channel=payment.channel,
        subject=payment.subject,
        number=payment.number,
        price=price_of(payment.amount, payment.currency),
        paid_at=_clock(payment.captures[0].paid_at) if payment.captures else "",
        redirect_url=_web_address(channel.way_back(payment, redirect_url)),
        just_paid=paid and state == "paid",
    )
    return show_page(request, "wallet_slip.html", {"slip": slip})


def _state(payment: Payment, now: datetime) -> str:
    if payment.captures:
        return "paid"
    if payment.closed_at is not None:
        return "closed"
    return "payable" if now <= payment.payable_until else "expired"


def _row(payment: Payment, now: datetime) -> Row:
    refunded = entry_of(payment).refunded
    return Row(
        state=_state(payment, now),
        token=payment.tokens[0],
        channel=payment.channel,
        product=payment.product,
        number=payment.number,
        subject=payment.subject,
        price=price_of(payment.amount, payment.currency),
        refunded=price_of(refunded, payment.currency) if refunded else "",
        created_at=_clock(payment.created_at),
    )


def price_of(amount: int, currency: str) -> str:
    """Minor units as people read them, like ¥1,234.50; of our currencies the yen has no places."""
    if currency == "JPY":
        return f"JPY {amount:,}"
    return f"{SIGNS.get(currency, currency + ' ')}{amount // 100:,}.{amount % 100:02}"


def _clock(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime("%m-%d %H:%M:%S")


def _web_address(url: str) -> str:
    """The URL when a browser may be sent there, else nothing: no javascript: and the like."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.netloc else ""


def show_page(
    request: web.Request, template: str, context: Mapping[str, object], *, status: int = 200
) -> web.Response:
    """Draw a page in the reader's language, under the policy that all pages here have."""
    context = {**context, **_words(request)}
    answer = aiohttp_jinja2.render_template(template, request, context, status=status)
    answer.headers.update(SECURITY)
    return answer


def _words(request: web.Request) -> dict[str, object]:
    """What the templates speak with: `t` picks one of two texts, the others name what is ours."""
    accepted = request.headers.get("Accept-Language", "")
    lang = choose(request.query.get("lang"), request.cookies.get("lang"), accepted).lang

    def t(chinese: str, english: str) -> str:
        return english if lang == "en" else chinese

    return {
        "lang": lang,
        "t": t,
        "name_of": lambda channel: t(*CHANNEL_NAMES.get(channel, (channel, channel))),
        "balance_of": lambda channel: t(*BALANCES.get(channel, ("余额", "Balance"))),
    }
