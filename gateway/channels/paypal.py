"""PayPal Orders v2, one merchant's app: what we ask in its words, what it says in ours.

**Nothing is debited before we say so**: the buyer approves an order at PayPal, and `capture`, which
follows a claim in our database, takes the money. So nothing has to be closed either: an order that
is never captured costs nobody anything, and `close` is a question. PayPal knows an order by its own
id, which the answer to `create` tells; one whose answer was lost was never shown to a buyer.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec

from gateway.channels.actions import RedirectAction
from gateway.channels.base import (
    Callback,
    CallbackRead,
    CaptureRequest,
    Clock,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
    Traits,
    utc_now,
)
from gateway.channels.paypal_account import Credentials, read_credentials
from gateway.channels.paypal_codes import (
    ALREADY_CAPTURED,
    refuse_capture,
    refuse_create,
    refuse_refund,
    sentence_of,
)
from gateway.channels.paypal_connection import DEADLINE_S, Connection
from gateway.channels.paypal_money import CURRENCIES, value_of
from gateway.channels.paypal_reports import Reports
from gateway.channels.paypal_webhooks import Webhooks
from gateway.channels.paypal_wire import (
    Capture,
    Event,
    Order,
    OrderStatus,
    Product,
    Refund,
    read_body,
    write_order,
    write_refund,
)
from gateway.errors import BadCallback, ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, Source, Terminal
from gateway.money import MAX_AMOUNT, Money

# How long a buyer has to approve, and how long an approval can be captured: the defaults.
APPROVE_WITHIN: Final = timedelta(hours=3)
CAPTURE_WITHIN: Final = timedelta(hours=3)

TRAITS: Final = Traits(
    channel="paypal",
    products=dict.fromkeys(Terminal, Product.REDIRECT),
    all_products=frozenset(Product),
    currencies=CURRENCIES,
    minimum=1,
    maximum=MAX_AMOUNT,  # PayPal names none; the buyer's account decides
    closes=True,
    refunds=True,
    live_after_close=False,
    shortest_window=timedelta(minutes=1),
    # We never debit after the order's time; a debit that was begun in time may be told of later.
    late_margin=APPROVE_WITHIN + CAPTURE_WITHIN,
    repeat_window=timedelta(hours=6),
    ask_ladder_s=(3, 10, 30, 60, 180, 300, 600, 1800),
    slow_ask_s=3600,
    refund_repeat_window=timedelta(days=45),
    captures=True,
)

_ORDERS: Final = "/v2/checkout/orders"
_CAPTURES: Final = "/v2/payments/captures"
_PAYABLE: Final = (
    OrderStatus.CREATED,
    OrderStatus.SAVED,
    OrderStatus.PAYER_ACTION_REQUIRED,
    OrderStatus.APPROVED,
)


class PayPal:
    """One merchant's app at PayPal; see `gateway.channels.base.Capturing`."""

    def __init__(
        self,
        account: str,
        credentials: Credentials,
        connection: Connection,
        webhooks: Webhooks,
    ) -> None:
        self._account = account
        self._reports = Reports(account, credentials.merchant_id)
        self._connection = connection
        self._webhooks = webhooks

    @property
    def traits(self) -> Traits:
        return TRAITS

    async def create(self, request: CreateRequest) -> Created:
        """Make an order for the buyer to approve, or, with the same request, find it again.

        Raises ChannelRefused for what PayPal refuses, with `number_spent` where the number's order
        is over or is another one, and before anything is called for an amount that PayPal cannot be
        told or a deadline that is over.
        """
        asked_at = self._connection.clock()
        if request.product not in TRAITS.all_products:
            raise ChannelRefused("product_unknown", "PayPal has the product redirect")
        if request.pay_by <= asked_at:
            raise ChannelRefused("pay_by_over", "the time in which it can be paid is over")
        body = write_order(request, _value_of(request.money))
        answer = await self._connection.call("POST", _ORDERS, body, request_id=request.number)
        if answer.status not in (200, 201):
            raise refuse_create(answer)
        made = answer.expect(Order)
        if answer.status == 200:
            # It may have been made before, and PayPal may tell of it as it was then.
            await self._must_stand(made, request)
        if not made.approve_url:
            raise ChannelUnavailable("the answer has no link for the buyer")
        made_at = min(made.create_time or asked_at, asked_at)
        usable_until = min(made_at + APPROVE_WITHIN, request.pay_by)
        return Created(RedirectAction(made.approve_url), usable_until, channel_ref=made.id)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask what became of an order. Raises ChannelUnavailable for every other answer.

        NOT_FOUND: it has expired; or, without `channel_ref`, no buyer was ever sent to it.
        """
        order = await self._order(channel_ref) if channel_ref else None
        if order is None:
            return ChannelReport(self._account, number, Outcome.NOT_FOUND, Source.POLL)
        return self._reports.stands(order, number)

    async def capture(self, request: CaptureRequest) -> ChannelReport:
        """Debit the buyer, once for a request id, however often it is called.

        Raises ChannelRefused when the buyer was not debited, ChannelUnavailable when nobody knows.
        """
        if not request.channel_ref:
            raise ChannelRefused("no_order", "PayPal's order is not known: no buyer approved it")
        path = f"{_ORDERS}/{quote(request.channel_ref, safe='')}/capture"
        answer = await self._connection.call("POST", path, b"{}", request_id=request.request_id)
        if answer.status in (200, 201):
            report = self._reports.stands(answer.expect(Order), request.number)
        elif answer.refusal.issue == ALREADY_CAPTURED:
            report = await self.query(request.number, request.channel_ref)
        else:
            raise refuse_capture(answer)
        if report.outcome is Outcome.DECLINED:
            raise ChannelRefused("capture_declined", "the buyer's bank refused the debit")
        if report.outcome not in (Outcome.PAID, Outcome.PROCESSING):
            raise ChannelUnavailable(f"after the capture the order is {report.outcome}")
        return report

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        """Say how it stands: what was not captured ends by our never capturing it.

        Raises ChannelUnavailable for every other answer.
        """
        report = await self.query(number, channel_ref)
        match report.outcome:
            case Outcome.PAID:
                return CloseResult.PAID
            case Outcome.PROCESSING:
                return CloseResult.UNKNOWN
            case Outcome.NOT_FOUND:
                return CloseResult.NOT_FOUND
            case Outcome.UNPAID | Outcome.APPROVED | Outcome.DECLINED | Outcome.CLOSED:
                return CloseResult.CLOSED

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once for a refund number, however often it is called.

        Raises ChannelRefused for what PayPal refuses, with `number_spent` where the reason may be
        this very refund.
        """
        path = f"{_CAPTURES}/{quote(request.payment_ref, safe='')}/refund"
        body = write_refund(request, _value_of(request.money))
        answer = await self._connection.call("POST", path, body, request_id=request.number)
        if answer.status not in (200, 201):
            raise refuse_refund(answer)
        return self._reports.refunded(answer.expect(Refund), request.number, Source.CREATE)

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask what became of a refund, by the order of the capture that it is from.

        None when that order has no refund with our number, or is kept by PayPal no longer: within
        `refund_repeat_window` a repeat is the same refund.
        """
        if not payment_ref:
            return None
        path = f"{_CAPTURES}/{quote(payment_ref, safe='')}"
        answer = await self._connection.call("GET", path)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))
        order_id = answer.expect(Capture).order_id
        if not order_id:
            raise ChannelUnavailable("PayPal does not say which order the capture is of")
        order = await self._order(order_id)
        refunds = order.refunds if order is not None else ()
        found = next((one for one in refunds if number in (one.invoice_id, one.custom_id)), None)
        return self._reports.refunded(found, number, Source.POLL) if found is not None else None

    def read(self, callback: Callback) -> CallbackRead:
        """Verify a webhook as it was received, then translate it."""
        self._webhooks.check(callback)
        event = read_body(callback.body, Event)
        if event is None:
            raise BadCallback("format", "the webhook is not a PayPal event")
        return CallbackRead(event.id, self._reports.told(event))

    async def refresh_keys(self) -> None:
        """Learn what the last webhooks lacked; how often is limited."""
        await self._webhooks.learn()

    async def prove(self) -> None:
        """Ask whether the webhook that callbacks are for is the app's."""
        await self._webhooks.prove()

    def acknowledgement(self) -> tuple[int, bytes]:
        return 200, b"ok"

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 401, msgspec.json.encode({"detail": detail})

    async def _order(self, order_id: str) -> Order | None:
        """Return an order as it stands; None when PayPal has none with that id, or no longer."""
        answer = await self._connection.call("GET", f"{_ORDERS}/{quote(order_id, safe='')}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))
        order = answer.expect(Order)
        if order.id != order_id:
            raise ChannelUnavailable("the answer is about another order")
        return order

    async def _must_stand(self, made: Order, request: CreateRequest) -> None:
        """Raise ChannelRefused unless an order that was made before is the same, and payable."""
        now = await self._order(made.id)
        if now is None or now.status not in _PAYABLE:
            state = "over" if now is None else now.status
            raise ChannelRefused("order_over", f"the order is {state}", number_spent=True)
        if (now.number, now.money) != (request.number, request.money):
            raise ChannelRefused("other_order", "the order is another one", number_spent=True)


def paypal(
    account_id: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
    *,
    clock: Clock = utc_now,
    deadline_s: float = DEADLINE_S,
) -> PayPal:
    """Make the adapter of one account. Each call has `deadline_s`.

    `settings` and `secrets` have the keys that `paypal_account` lists. Raises ConfigurationError
    that names every field that is missing or malformed. `http` stays the caller's, to close.
    """
    credentials = read_credentials(settings, secrets)
    connection = Connection(credentials, http, clock, deadline_s)
    webhooks = Webhooks(credentials, connection, http, deadline_s)
    return PayPal(account_id, credentials, connection, webhooks)


def _value_of(money: Money) -> str:
    value = value_of(money)
    if value is None:
        raise ChannelRefused("amount", f"PayPal takes {money.currency} in whole units only")
    return value
