"""Alipay's OpenAPI for a direct merchant: what we ask is put in its words, what it says in ours.

Two things make Alipay different. **A payment does not exist there until the buyer scans the code or
logs in**: before that a query and a close find nothing, and yet the buyer can still pay, so "not
found" never ends an attempt; only `time_expire` does. And three of its four products are sign-only:
`create` signs a link, and Alipay hears of it when a browser opens it.

`alipay.trade.cancel` is never called: on a payment that was made a moment ago it gives the money
back, the winner's too. What has to end is closed.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, TypeVar

import aiohttp

from gateway.channels.actions import AppAction, QrAction, RedirectAction
from gateway.channels.alipay_account import read_credentials
from gateway.channels.alipay_bills import fetch_bill
from gateway.channels.alipay_codes import (
    BUSINESS_FAILURE,
    NOT_TO_CLOSE,
    nothing_known,
    outcome_of,
    refuse_create,
    refuse_refund,
    says_no_such_trade,
)
from gateway.channels.alipay_connection import DEADLINE_S, SIGN_TYPE, Connection, Credentials
from gateway.channels.alipay_wire import (
    METHODS,
    Answer,
    CloseAnswer,
    Method,
    Notice,
    PrecreateAnswer,
    Product,
    RefundAnswer,
    RefundFound,
    Trade,
    TradeStatus,
    money_of,
    read_body,
    write_number,
    write_refund,
    write_refund_query,
    write_trade,
)
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
from gateway.channels.forms import read_fields, read_form, text_to_sign
from gateway.errors import BadCallback, ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source, Terminal

TRAITS: Final = Traits(
    channel="alipay",
    products={
        Terminal.PC: Product.PRECREATE,
        Terminal.WAP: Product.WAP,
        Terminal.WEBVIEW: Product.WAP,
        Terminal.APP: Product.APP,
    },
    all_products=frozenset(Product),
    currencies=frozenset({"CNY"}),
    minimum=1,
    maximum=10_000_000_000,  # the documents of `total_amount`: 100,000,000 yuan
    closes=True,
    refunds=True,
    live_after_close=True,
    shortest_window=timedelta(minutes=1),
    late_margin=timedelta(minutes=10),
    repeat_window=None,
    ask_ladder_s=(3, 10, 30, 60, 180, 300, 600, 1800),
    slow_ask_s=3600,
    bills=True,
)

_CODE_USABLE_FOR: Final = timedelta(hours=2)
_REFUNDED: Final = "REFUND_SUCCESS"
_NOT_SIGNED: Final = (b"sign", b"sign_type")

Body = TypeVar("Body")


class Alipay:
    """One merchant's app at Alipay; see `gateway.channels.base.Channel`."""

    def __init__(self, account: str, credentials: Credentials, connection: Connection) -> None:
        self._account = account
        self._app_id = credentials.app_id
        self._seller_id = credentials.seller_id
        self._connection = connection

    @property
    def traits(self) -> Traits:
        return TRAITS

    async def create(self, request: CreateRequest) -> Created:
        """Make a code, or sign a link or the app's order; the same request again is harmless.

        Raises ChannelRefused for a listed code, with `number_spent` where a payment exists under
        the number, and before anything is signed for an unknown product or a deadline that is over.
        """
        product = _product(request.product)
        now = self._connection.clock()
        if request.pay_by <= now:
            raise ChannelRefused("pay_by_over", "the time in which it can be paid is over")
        if product is Product.PRECREATE:
            return await self._precreate(request, min(now + _CODE_USABLE_FOR, request.pay_by))
        method, content = METHODS[product], write_trade(request, product)
        if product is Product.APP:
            text = self._connection.order_text(method, content, notify_url=request.notify_url)
            return Created(AppAction({"orderStr": text}), request.pay_by)
        url = self._connection.link(
            method, content, notify_url=request.notify_url, return_url=request.return_url
        )
        return Created(RedirectAction(url), request.pay_by)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask what became of a payment. Raises ChannelUnavailable for every other answer.

        NOT_FOUND means that nobody has scanned or logged in yet, not that nobody can.
        """
        answer = await self._connection.call(Method.QUERY, write_number(number))
        if says_no_such_trade(answer):
            return ChannelReport(self._account, number, Outcome.NOT_FOUND, Source.POLL)
        if not answer.good:
            raise nothing_known(answer)
        trade = _expected(answer, Trade)
        if trade.out_trade_no != number:
            raise ChannelUnavailable("the answer is about another payment")
        return self._report(trade, Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """End a payment that is not paid.

        A refusal says that it is paid or closed, but not which of the two; so it is asked.
        NOT_FOUND ends nothing: whoever has the code can still pay.
        """
        answer = await self._connection.call(Method.CLOSE, write_number(number))
        if answer.good:
            if _expected(answer, CloseAnswer).out_trade_no != number:
                raise ChannelUnavailable("the answer is about another payment")
            return CloseResult.CLOSED
        if says_no_such_trade(answer):
            return CloseResult.NOT_FOUND
        if answer.code != BUSINESS_FAILURE or answer.sub_code not in NOT_TO_CLOSE:
            raise nothing_known(answer)
        match (await self.query(number)).outcome:
            case Outcome.PAID:
                return CloseResult.PAID
            case Outcome.CLOSED:
                return CloseResult.CLOSED
            case _:
                return CloseResult.UNKNOWN

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once for a refund number, however often it is called.

        DONE only when this call moved the money. A repeat is answered without saying so, and is
        SENT: `query_refund` tells. Raises ChannelRefused for a listed code, with `number_spent`
        where money may have gone back already.
        """
        answer = await self._connection.call(Method.REFUND, write_refund(request))
        if not answer.good:
            refuse_refund(answer)
        refund = _expected(answer, RefundAnswer)
        if refund.out_trade_no != request.attempt_number or (
            request.payment_ref and refund.trade_no != request.payment_ref
        ):
            raise ChannelUnavailable("the answer is about another payment")
        state = RefundState.DONE if refund.fund_change == "Y" else RefundState.SENT
        return RefundReport(
            self._account, request.number, state, Source.CREATE, money=request.money
        )

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask what became of a refund; None when Alipay has none with that number, or none yet.

        A number of ours that was paid twice is two trades, each with refunds of its own.
        """
        answer = await self._connection.call(
            Method.QUERY_REFUND, write_refund_query(number, attempt_number, payment_ref)
        )
        if says_no_such_trade(answer):
            return None
        if not answer.good:
            raise nothing_known(answer)
        found = _expected(answer, RefundFound)
        if not found.refund_status:
            return None
        if found.out_request_no != number or found.refund_amount is None:
            raise ChannelUnavailable("the answer is about another refund, or does not say how much")
        state = RefundState.DONE if found.refund_status == _REFUNDED else RefundState.SENT
        money = money_of(found.refund_amount)
        return RefundReport(self._account, number, state, Source.POLL, money=money)

    async def bill(self, day: date) -> Bill:
        """Fetch what was paid and given back on a day of Beijing's; made at 09:00 the next day."""
        return await fetch_bill(self._connection, self._seller_id, day)

    def read(self, callback: Callback) -> CallbackRead:
        """Verify a callback as it was received, then translate it.

        Its age is not judged: Alipay signs once and sends the same for a day.
        """
        fields = read_form(callback.body)
        if fields is None:
            raise BadCallback("signature", "the callback names a field twice, or too many")
        self._verify(fields)
        notice = read_fields(fields, Notice)
        if notice is None:
            raise BadCallback("format", "the callback is not an Alipay notification")
        if notice.app_id != self._app_id:
            raise BadCallback("app", "the callback is for another app_id")
        if self._seller_id and notice.seller_id != self._seller_id:
            raise BadCallback("merchant", "the callback is for another seller_id")
        if notice.notify_type != "trade_status_sync":
            return CallbackRead(notice.notify_id, None)
        trade = read_fields(fields, Trade)
        if trade is None:
            raise BadCallback("format", "the callback does not carry a payment")
        # News of a refund tells of the same payment once more, under the same trade_no.
        report = self._report(trade, Source.CALLBACK)
        return CallbackRead(notice.notify_id, None if report.outcome is Outcome.UNPAID else report)

    async def refresh_keys(self) -> None:
        """Learn the certificate that a callback named; how often is limited."""
        await self._connection.keys.refresh()

    def acknowledgement(self) -> tuple[int, bytes]:
        return 200, b"success"

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 401, b"fail"

    async def _precreate(self, request: CreateRequest, until: datetime) -> Created:
        answer = await self._connection.call(
            Method.PRECREATE,
            write_trade(request, Product.PRECREATE),
            notify_url=request.notify_url,
        )
        if not answer.good:
            refuse_create(answer)
        made = _expected(answer, PrecreateAnswer)
        if made.out_trade_no != request.number or not made.qr_code:
            raise ChannelUnavailable("the answer is about another payment, or has no code")
        return Created(QrAction(made.qr_code, until), until)

    def _verify(self, fields: Mapping[bytes, bytes]) -> None:
        """Check the signature over the fields; Alipay's documents leave two things open.

        Whether empty fields are part of it, and whether the SN of the certificate is. Each reading
        takes the same fields, so that it does not matter which one fits.
        """
        if fields.get(b"sign_type") != SIGN_TYPE.encode():
            raise BadCallback("signature", "the callback is not signed with RSA2")
        signature = fields.get(b"sign", b"").decode("ascii", "replace")
        serial = fields.get(b"alipay_cert_sn", b"").decode("ascii", "replace")
        kept = [(name, value) for name, value in fields.items() if name not in _NOT_SIGNED]
        filled = [(name, value) for name, value in kept if value]
        readings = dict.fromkeys(map(text_to_sign, (kept, filled)))
        if serial:
            readings |= dict.fromkeys(
                text_to_sign(field for field in reading if field[0] != b"alipay_cert_sn")
                for reading in (kept, filled)
            )
        self._connection.keys.check_callback(serial, signature, *readings)

    def _report(self, trade: Trade, source: Source) -> ChannelReport:
        outcome, number = outcome_of(trade), trade.out_trade_no
        if outcome is not Outcome.PAID:
            return ChannelReport(self._account, number, outcome, source)
        money = money_of(trade.total_amount)
        # A payment that was made is closed only by giving all of it back. Of a part that was given
        # back a query says nothing.
        all_back = trade.trade_status is TradeStatus.TRADE_CLOSED
        return ChannelReport(
            self._account,
            number,
            outcome,
            source,
            payment_ref=trade.trade_no,
            money=money,
            refunded=money.amount if all_back else money_of(trade.refund_fee).amount,
        )


def alipay(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> Alipay:
    """Make the adapter of one account; its keys are read here, once. Each call has `deadline_s`.

    `settings` and `secrets` have the keys that `alipay_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    return Alipay(account_id, credentials, Connection(credentials, http, clock, deadline_s))


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
        raise ChannelRefused("product_unknown", f"Alipay has the products {known}") from None
