"""UnionPay (ACP 5.1.0, signed with certificates): what we ask in its words, what it says in ours.

Two things make UnionPay different. **A transaction is known by its number and its time together**,
and the number with another time is another payment: see `unionpay_wire`. And **nothing can be
closed**: whoever has the page or the code can pay until payTimeout, and a bank's page may come back
later still. So `close` says STILL_LIVE without asking, and a payment that came too late for its
order is given back.

Two of its four products are sign-only: `create` signs a form, and UnionPay hears of it when a
browser posts it. The form is the same one however often it is asked for.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from msgspec import structs

from gateway.channels.actions import AppAction, FormAction, QrAction
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
from gateway.channels.forms import read_fields, read_form
from gateway.channels.unionpay_account import BASE_URL, Credentials, read_credentials
from gateway.channels.unionpay_bills import fetch_bill
from gateway.channels.unionpay_codes import (
    ACCEPTED,
    DUPLICATE,
    NOT_FOUND,
    SUCCEEDED,
    nothing_known,
    outcome_of,
    refund_state_of,
    refuse_create,
    refuse_refund,
)
from gateway.channels.unionpay_connection import DEADLINE_S, Connection
from gateway.channels.unionpay_wire import (
    Answer,
    AppMade,
    Found,
    Moved,
    Path,
    Product,
    QrMade,
    TxnType,
    payment_fields,
    payment_identity,
    query_fields,
    refund_fields,
    refund_identity,
)
from gateway.errors import BadCallback, ChannelRefused
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source, Terminal

TRAITS: Final = Traits(
    channel="unionpay",
    products={
        Terminal.PC: Product.QR,
        Terminal.WAP: Product.WAP,
        Terminal.WEBVIEW: Product.WAP,
        Terminal.APP: Product.APP,
    },
    all_products=frozenset(Product),
    currencies=frozenset({"CNY"}),
    minimum=1,
    maximum=999_999_999_999,  # the documents of `txnAmt`: twelve digits
    closes=False,
    refunds=True,
    live_after_close=True,
    shortest_window=timedelta(minutes=1),
    late_margin=timedelta(days=1),  # a bank's page may finish after payTimeout
    repeat_window=None,
    ask_ladder_s=(5, 10, 30, 60, 180, 300, 600, 1800),
    slow_ask_s=3600,
    bills=True,
)
# UnionPay's page leads on to others of its own, and a policy for forms looks at those too.
_REAL_FORM_TARGETS: Final = ("https://*.95516.com",)

Made = TypeVar("Made", QrMade, AppMade)


class UnionPay:
    """One merchant at UnionPay; see `gateway.channels.base.Channel`."""

    def __init__(self, account: str, credentials: Credentials, connection: Connection) -> None:
        self._account = account
        self._mer_id = credentials.mer_id
        self._connection = connection
        self._traits = structs.replace(TRAITS, form_targets=_targets(credentials.gateway))

    @property
    def traits(self) -> Traits:
        return self._traits

    async def create(self, request: CreateRequest) -> Created:
        """Make a code or an app's tn, or sign a form; the same request again is harmless.

        Raises ChannelRefused for a listed code, with `number_spent` where UnionPay has the
        transaction with other fields or paid, and before anything is signed for an unknown product
        or a deadline that is over.
        """
        product = _product(request.product)
        if request.pay_by <= self._connection.clock():
            raise ChannelRefused("pay_by_over", "the time in which it can be paid is over")
        fields = payment_fields(request, product)
        match product:
            case Product.WAP | Product.PC:
                form = FormAction(self._connection.form_url(), self._connection.sign(fields))
                return Created(form, request.pay_by)
            case Product.QR:
                made = await self._made(Path.BACK, fields, QrMade)
                return Created(QrAction(made.qr_code, request.pay_by), request.pay_by)
            case Product.APP:
                tn = (await self._made(Path.APP, fields, AppMade)).tn
                return Created(AppAction({"tn": tn}), request.pay_by)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask what became of a payment. Raises ChannelUnavailable for every other answer.

        NOT_FOUND means that nobody has opened it yet, or that the news is under way: it can still
        be paid.
        """
        heard = await self._connection.call(Path.QUERY, query_fields(payment_identity(number)))
        if heard.resp_code == NOT_FOUND:
            return ChannelReport(self._account, number, Outcome.NOT_FOUND, Source.POLL)
        if heard.resp_code != ACCEPTED:
            raise nothing_known(heard)
        outcome = outcome_of(heard.expect(Found).orig_resp_code)
        if outcome is not Outcome.PAID:
            return ChannelReport(self._account, number, outcome, Source.POLL)
        return self._paid(number, heard.expect(Moved), Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """Say that it can still be paid: UnionPay closes nothing but by payTimeout."""
        return CloseResult.STILL_LIVE

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once for a refund number, however often it is called.

        On the day of the payment all of it is voided, and everything else refunded: both take days
        to reach the buyer, and are SENT. Raises ChannelRefused for a listed code, with
        `number_spent` where money may have gone back already.
        """
        fields = refund_fields(request, self._connection.clock())
        heard = await self._connection.call(Path.BACK, fields)
        ref = None
        if heard.resp_code in SUCCEEDED:
            ref = heard.expect(Moved).query_id
        elif heard.resp_code != DUPLICATE:
            raise refuse_refund(heard)
        # A duplicate is this very refund, taken before; how it went, a query tells.
        return RefundReport(
            self._account,
            request.number,
            RefundState.SENT,
            Source.CREATE,
            refund_ref=ref,
            money=request.money,
        )

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask what became of a refund or a void; None when UnionPay has none, or none yet."""
        if sent_at is None:
            return None
        identity = refund_identity(number, sent_at)
        heard = await self._connection.call(Path.QUERY, query_fields(identity))
        if heard.resp_code == NOT_FOUND:
            return None
        if heard.resp_code != ACCEPTED:
            raise nothing_known(heard)
        code = heard.expect(Found).orig_resp_code
        if code == NOT_FOUND:
            return None
        return self._refunded(number, code, heard.expect(Moved), Source.POLL)

    async def bill(self, day: date) -> Bill:
        """Fetch what was settled on a day; made from 09:00 the next day.

        UnionPay's day is a settlement day: it begins at 23:00 of the day before, and ends at 23:00.
        """
        return await fetch_bill(self._connection, self._mer_id, day)

    def read(self, callback: Callback) -> CallbackRead:
        """Verify a callback as it was received, then translate it.

        The same form comes from UnionPay and, by the buyer's browser, to the page of return; only
        the first is read. Its age is not judged: UnionPay signs once and sends it five times.
        """
        fields = read_form(callback.body)
        if fields is None:
            raise BadCallback("signature", "the callback names a field twice, or too many")
        self._connection.believed.check(fields)
        notice = read_fields(fields, Answer)
        if notice is None:
            raise BadCallback("format", "the callback is not a UnionPay notification")
        if notice.mer_id != self._mer_id:
            raise BadCallback("merchant", "the callback is for another mer_id")
        body = read_fields(fields, Moved)
        if body is None:
            raise BadCallback("format", "the callback does not say what was moved")
        notification = f"{body.query_id}.{notice.resp_code}"
        return CallbackRead(notification, self._told(notice, body))

    async def refresh_keys(self) -> None:
        """There is nothing to learn: the certificate comes along with what it signed."""

    def acknowledgement(self) -> tuple[int, bytes]:
        return 200, b"ok"

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 401, b"fail"

    async def _made(self, path: Path, fields: dict[str, str], kind: type[Made]) -> Made:
        heard = await self._connection.call(path, fields)
        if heard.resp_code not in SUCCEEDED:
            raise refuse_create(heard)
        return heard.expect(kind)

    def _told(self, notice: Answer, body: Moved) -> ChannelReport | RefundReport | None:
        match notice.txn_type:
            case TxnType.PAY if notice.resp_code in SUCCEEDED:
                return self._paid(notice.order_id, body, Source.CALLBACK)
            case TxnType.REFUND | TxnType.VOID:
                return self._refunded(notice.order_id, notice.resp_code, body, Source.CALLBACK)
            case _:
                return None

    def _paid(self, number: str, body: Moved, source: Source) -> ChannelReport:
        # Of what was given back since, UnionPay says nothing here.
        return ChannelReport(
            self._account,
            number,
            Outcome.PAID,
            source,
            payment_ref=body.query_id,
            money=body.money,
        )

    def _refunded(self, number: str, code: str, body: Moved, source: Source) -> RefundReport:
        return RefundReport(
            self._account,
            number,
            refund_state_of(code),
            source,
            refund_ref=body.query_id,
            money=body.money,
        )


def unionpay(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> UnionPay:
    """Make the adapter of one account; its keys are read here, once. Each call has `deadline_s`.

    `settings` and `secrets` have the keys that `unionpay_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    return UnionPay(account_id, credentials, Connection(credentials, http, clock, deadline_s))


def _targets(gateway: str) -> tuple[str, ...]:
    if gateway == BASE_URL:
        return _REAL_FORM_TARGETS
    parts = urlsplit(gateway)
    return (f"{parts.scheme}://{parts.netloc}",)


def _product(name: str) -> Product:
    try:
        return Product(name)
    except ValueError:
        known = ", ".join(Product)
        raise ChannelRefused("product_unknown", f"UnionPay has the products {known}") from None
