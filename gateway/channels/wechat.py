"""WeChat Pay API v3 for a direct merchant: what we ask is put in its words, what it says in ours.

Two rules run through every verb. Only what is signed is evidence of money: a refusal is not signed,
so it can end an attempt that was never made, but it never says that one was paid or closed; a query
does. And what is not listed here as a refusal is "nothing is known", never "no".
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from secrets import token_hex
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from gateway.channels.actions import AppAction, JsapiAction, NextAction, QrAction, RedirectAction
from gateway.channels.base import (
    Callback,
    CallbackRead,
    Clock,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
    Traits,
    utc_now,
)
from gateway.channels.bills import Bill
from gateway.channels.wechat_account import read_credentials
from gateway.channels.wechat_bills import fetch_bill
from gateway.channels.wechat_codes import (
    FOUND_PAID,
    NO_SUCH_ORDER,
    outcome_of,
    refund_state_of,
    refuse_create,
    refuse_refund,
    sentence_of,
)
from gateway.channels.wechat_connection import DEADLINE_S, Connection, Credentials
from gateway.channels.wechat_keys import unseal
from gateway.channels.wechat_oauth import WeChatOAuth
from gateway.channels.wechat_wire import (
    Answer,
    CloseBody,
    FailAnswer,
    Notification,
    PrepayAnswer,
    Product,
    RefundAnswer,
    RefundNotice,
    Trade,
    TradeState,
    read_body,
    write_prepay,
    write_refund,
)
from gateway.errors import BadCallback, ChannelRefused, ChannelUnavailable
from gateway.model import (
    ChannelReport,
    Outcome,
    RefundReport,
    Source,
    Terminal,
)
from gateway.money import MAX_AMOUNT, Money

TRAITS: Final = Traits(
    channel="wechat",
    products={
        Terminal.PC: Product.NATIVE,
        Terminal.WAP: Product.H5,
        Terminal.WEBVIEW: Product.JSAPI,
        Terminal.APP: Product.APP,
    },
    all_products=frozenset(Product),
    currencies=frozenset({"CNY"}),
    minimum=1,
    maximum=MAX_AMOUNT,  # WeChat Pay names none; the payer's bank decides
    closes=True,
    refunds=True,
    live_after_close=False,
    # WeChat Pay wants a whole minute by its own clock, when our request has arrived there.
    shortest_window=timedelta(seconds=90),
    late_margin=timedelta(minutes=10),
    repeat_window=None,
    ask_ladder_s=(3, 10, 30, 60, 180, 300, 600, 1800),
    slow_ask_s=3600,
    needs_payer=frozenset({Product.JSAPI}),
    needs_client_ip=frozenset({Product.H5}),
    bills=True,
)

_TRADES: Final = "/v3/pay/transactions"
_REFUNDS: Final = "/v3/refund/domestic/refunds"

# A code can be scanned and a prepay id used for two hours; the page behind an H5 link is opened
# within five minutes.
_USABLE_FOR: Final = {
    Product.NATIVE: timedelta(hours=2),
    Product.H5: timedelta(minutes=5),
    Product.JSAPI: timedelta(hours=2),
    Product.APP: timedelta(hours=2),
}

Body = TypeVar("Body")


class WeChatPay:
    """One merchant's account at WeChat Pay; see `gateway.channels.base.Channel`."""

    def __init__(
        self,
        account: str,
        credentials: Credentials,
        connection: Connection,
        oauth: WeChatOAuth | None = None,
    ) -> None:
        self._account = account
        self._mchid = credentials.mchid
        self._appid = credentials.appid
        self._apiv3_key = credentials.apiv3_key
        self._connection = connection
        self._oauth = oauth

    @property
    def traits(self) -> Traits:
        return TRAITS

    @property
    def recogniser(self) -> WeChatOAuth | None:
        return self._oauth

    async def create(self, request: CreateRequest) -> Created:
        """Make the payment, or, with the same request, get another token of the same payment.

        Raises ChannelRefused for a listed code, with `number_spent` where a payment may exist under
        the number. A refusal of a repeat says nothing of the call that it repeats.
        """
        product = _product(request.product)
        body = write_prepay(request, product, self._mchid, self._appid)
        asked_at = self._connection.clock()
        answer = await self._connection.call("POST", f"{_TRADES}/{product}", body)
        if answer.status != 200:
            refuse_create(answer)
        usable_until = min(asked_at + _USABLE_FOR[product], request.pay_by)
        token = _expected(answer, PrepayAnswer)
        return Created(self._next_action(product, token, request, usable_until), usable_until)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask what became of a payment. Raises ChannelUnavailable for every other answer."""
        target = f"{_TRADES}/out-trade-no/{quote(number, safe='')}?mchid={self._mchid}"
        answer = await self._connection.call("GET", target)
        if answer.status == 404 and answer.refusal.code in NO_SUCH_ORDER:
            return ChannelReport(self._account, number, Outcome.NOT_FOUND, Source.POLL)
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))
        trade = _expected(answer, Trade)
        if (trade.mchid, trade.appid, trade.out_trade_no) != (self._mchid, self._appid, number):
            raise ChannelUnavailable("the answer is about another merchant, app or number")
        report = self._report(trade, Source.POLL)
        if report is None:
            raise ChannelUnavailable("the answer says paid, but not how much or by which payment")
        return report

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """End a payment that is not paid. A 204 is signed and believed; all else asks for a query.

        So ORDER_CLOSED is UNKNOWN here: it is not signed, and must not end an attempt.
        """
        target = f"{_TRADES}/out-trade-no/{quote(number, safe='')}/close"
        body = msgspec.json.encode(CloseBody(self._mchid))
        answer = await self._connection.call("POST", target, body)
        if answer.status == 204:
            return CloseResult.CLOSED
        code = answer.refusal.code
        if answer.status == 429 or not 200 <= answer.status < 500:
            raise ChannelUnavailable(sentence_of(answer))
        if code in FOUND_PAID:
            return CloseResult.PAID
        if answer.status == 404 and code in NO_SUCH_ORDER:
            return CloseResult.NOT_FOUND
        return CloseResult.UNKNOWN

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once for a refund number, however often it is called.

        Raises ChannelRefused for a listed code. After ChannelUnavailable, 429 included, the refund
        may have been taken: query it before it is repeated.
        """
        answer = await self._connection.call("POST", _REFUNDS, write_refund(request))
        if answer.status != 200:
            refuse_refund(answer)
        refund = _expected(answer, RefundAnswer)
        return self._refund_report(refund, request.number, Source.CREATE)

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask what became of a refund; None when WeChat Pay has none with that number."""
        answer = await self._connection.call("GET", f"{_REFUNDS}/{quote(number, safe='')}")
        if answer.status == 404 and answer.refusal.code == "RESOURCE_NOT_EXISTS":
            return None
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))
        return self._refund_report(_expected(answer, RefundAnswer), number, Source.POLL)

    async def bill(self, day: date) -> Bill:
        """Fetch what was paid and asked back on a day of Beijing's; made from 09:00 the next day.

        A refund that is still under way is on it, too. Kept for three months.
        """
        return await fetch_bill(self._connection, self._mchid, day)

    def read(self, callback: Callback) -> CallbackRead:
        """Verify a callback as it was received, then translate it."""
        self._connection.keys.current.check(callback.headers, callback.body, callback.received_at)
        notification = read_body(callback.body, Notification)
        if notification is None:
            raise BadCallback("format", "the callback is not a WeChat Pay notification")
        kind = notification.event_type
        if kind == "TRANSACTION.SUCCESS":
            trade = self._unseal(notification, Trade)
            return CallbackRead(notification.id, self._paid_report(trade))
        if kind.startswith("REFUND."):
            notice = self._unseal(notification, RefundNotice)
            return CallbackRead(notification.id, self._noticed_refund(notice))
        return CallbackRead(notification.id, None)

    async def refresh_keys(self) -> None:
        """Learn new platform certificates; how often is limited, and a failure changes nothing."""
        await self._connection.keys.refresh()

    async def prove(self) -> None:
        """Ask for an answer that is signed, as a refusal is not."""
        await self._connection.prove()

    def acknowledgement(self) -> tuple[int, bytes]:
        return 204, b""

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 401, msgspec.json.encode(FailAnswer("FAIL", detail))

    def _next_action(
        self, product: Product, token: PrepayAnswer, request: CreateRequest, until: datetime
    ) -> NextAction:
        match product:
            case Product.NATIVE if token.code_url:
                return QrAction(token.code_url, until)
            case Product.H5 if token.h5_url:
                return RedirectAction(_returning_to(request.return_url, token.h5_url))
            case Product.JSAPI if token.prepay_id:
                return JsapiAction(self._jsapi_parameters(token.prepay_id))
            case Product.APP if token.prepay_id:
                return AppAction(self._app_parameters(token.prepay_id))
            case Product.NATIVE | Product.H5 | Product.JSAPI | Product.APP:
                raise ChannelUnavailable(f"the answer has no token for {product}")

    def _jsapi_parameters(self, prepay_id: str) -> dict[str, str]:
        timestamp, nonce, package = self._now_s(), token_hex(16), f"prepay_id={prepay_id}"
        return {
            "appId": self._appid,
            "timeStamp": timestamp,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": self._connection.sign(self._appid, timestamp, nonce, package),
        }

    def _app_parameters(self, prepay_id: str) -> dict[str, str]:
        timestamp, nonce = self._now_s(), token_hex(16)
        return {
            "appid": self._appid,
            "partnerid": self._mchid,
            "prepayid": prepay_id,
            "package": "Sign=WXPay",
            "noncestr": nonce,
            "timestamp": timestamp,
            "sign": self._connection.sign(self._appid, timestamp, nonce, prepay_id),
        }

    def _now_s(self) -> str:
        return str(int(self._connection.clock().timestamp()))

    def _report(self, trade: Trade, source: Source) -> ChannelReport | None:
        """Translate a payment; None when it claims to be paid without saying what was paid."""
        outcome = outcome_of(trade.trade_state)
        number = trade.out_trade_no
        if outcome is not Outcome.PAID:
            return ChannelReport(self._account, number, outcome, source)
        if trade.transaction_id is None or trade.amount is None:
            return None
        return ChannelReport(
            self._account,
            number,
            outcome,
            source,
            payment_ref=trade.transaction_id,
            money=Money(trade.amount.total, trade.amount.currency),
            # REFUND says that some of it went back, and not how much.
            refunded=0 if trade.trade_state is TradeState.SUCCESS else None,
        )

    def _paid_report(self, trade: Trade) -> ChannelReport:
        self._check_merchant(trade.mchid)
        if trade.appid != self._appid:
            raise BadCallback("app", "the callback is for another appid")
        report = self._report(trade, Source.CALLBACK)
        if report is None:
            raise BadCallback("format", "the callback says paid, but not how much or by what")
        return report

    def _noticed_refund(self, notice: RefundNotice) -> RefundReport:
        self._check_merchant(notice.mchid)
        return RefundReport(
            self._account,
            notice.out_refund_no,
            refund_state_of(notice.refund_status),
            Source.CALLBACK,
            notice.refund_id,
            Money(notice.amount.refund, notice.amount.currency),
        )

    def _refund_report(self, answer: RefundAnswer, number: str, source: Source) -> RefundReport:
        if answer.out_refund_no != number:
            raise ChannelUnavailable("the answer is about another refund")
        return RefundReport(
            self._account,
            number,
            refund_state_of(answer.status),
            source,
            answer.refund_id,
            Money(answer.amount.refund, answer.amount.currency),
        )

    def _unseal(self, notification: Notification, kind: type[Body]) -> Body:
        plain = unseal(self._apiv3_key, notification.resource)
        if plain is None:
            raise BadCallback("format", "the callback cannot be decrypted; check apiv3_key")
        body = read_body(plain, kind)
        if body is None:
            raise BadCallback("format", f"the callback does not carry a {kind.__name__}")
        return body

    def _check_merchant(self, mchid: str) -> None:
        if mchid != self._mchid:
            raise BadCallback("merchant", "the callback is for another mchid")


def wechat_pay(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> WeChatPay:
    """Make the adapter of one account; its keys are read here, once. Each verb has `deadline_s`.

    `settings` and `secrets` have the keys that `wechat_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    oauth = WeChatOAuth(credentials, http, deadline_s) if credentials.app_secret else None
    connection = Connection(credentials, http, clock, deadline_s)
    return WeChatPay(account_id, credentials, connection, oauth)


def _expected(answer: Answer, kind: type[Body]) -> Body:
    body = read_body(answer.body, kind)
    if body is None:
        raise ChannelUnavailable(f"the answer is not a {kind.__name__}")
    return body


def _product(name: str) -> Product:
    try:
        return Product(name)
    except ValueError:
        known = ", ".join(Product)
        raise ChannelRefused("product_unknown", f"WeChat Pay has the products {known}") from None


def _returning_to(return_url: str, h5_url: str) -> str:
    joint = "&" if "?" in h5_url else "?"
    return f"{h5_url}{joint}redirect_url={quote(return_url, safe='')}"
