"""Stripe: what its two channels share, cards and Boleto.

Everything is found by our number in the metadata, or by Stripe's own id, which `create` answered.
Stripe knows a repeat by its Idempotency-Key for a day and no longer; so whatever is repeated is
asked about first, and there may be two PaymentIntents under one number: each is a payment of its
own, with its id as `payment_ref`.
"""

from datetime import datetime, timedelta
from typing import Final

from gateway.channels.base import (
    Callback,
    CallbackRead,
    Clock,
    CloseResult,
    CreateRequest,
    RefundRequest,
)
from gateway.channels.stripe_account import Credentials
from gateway.channels.stripe_codes import UNEXPECTED_STATE, refuse_create, refuse_refund
from gateway.channels.stripe_connection import Connection, Heard
from gateway.channels.stripe_events import payment_report, refund_report, report_of, verified
from gateway.channels.stripe_wire import (
    Fields,
    IntentsFound,
    IntentStatus,
    PaymentIntent,
    Refund,
    RefundsListed,
    number_in,
    refund_fields,
    search_fields,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, Source

# How long Stripe knows a repeat by its key.
KEY_LIFE: Final = timedelta(hours=24)
WITH_CHARGE: Final = {"expand[0]": "latest_charge"}
_INTENTS: Final = "/v1/payment_intents"
_MOST_PAGES: Final = 5
# Where there are two PaymentIntents under one number, the one that says most of the money.
_RANK: Final = (IntentStatus.SUCCEEDED, IntentStatus.REQUIRES_CAPTURE, IntentStatus.PROCESSING)


class Stripe:
    """One merchant at Stripe: reading, refunding, and what is done with a PaymentIntent."""

    def __init__(
        self, account: str, credentials: Credentials, connection: Connection, clock: Clock
    ) -> None:
        self.account = account
        self.connection = connection
        self._credentials = credentials
        self._clock = clock

    def must_be_in_time(self, request: CreateRequest) -> None:
        """Refuse before Stripe hears of it what could not be paid any more."""
        if request.pay_by <= self._clock():
            raise ChannelRefused("pay_by_over", "the time in which it can be paid is over")

    async def make(self, path: str, fields: Fields, number: str) -> Heard:
        """Make something under our number, once. Raises ChannelRefused and ChannelUnavailable."""
        heard = await self.connection.post(path, fields, key=number)
        if heard.error is not None:
            raise refuse_create(heard.error)
        return heard

    async def intent(self, intent_id: str, number: str) -> PaymentIntent | None:
        """Return a PaymentIntent of ours; None: there is none with this id."""
        heard = await self.connection.get(f"{_INTENTS}/{intent_id}", dict(WITH_CHARGE))
        if heard.missing:
            return None
        found = heard.expect(PaymentIntent)
        must_be(number, number_in(found.metadata))
        return found

    async def search(self, number: str) -> PaymentIntent | None:
        """Find a PaymentIntent by our number alone, as after an answer to `create` was lost.

        Stripe's index is up to a minute behind: None means that there is none, or none yet.
        """
        heard = await self.connection.get(f"{_INTENTS}/search", search_fields(number))
        found = [
            each for each in heard.expect(IntentsFound).data if number_in(each.metadata) == number
        ]
        return min(found, key=_rank, default=None)

    async def cancel(self, intent_id: str, number: str) -> PaymentIntent | None:
        """Cancel a PaymentIntent; returns how it stands then, cancelled or not. None: there is
        none.
        """
        heard = await self.connection.post(f"{_INTENTS}/{intent_id}/cancel", {})
        if heard.missing:
            return None
        if heard.error is not None and heard.error.code == UNEXPECTED_STATE:
            return heard.error.payment_intent or await self.intent(intent_id, number)
        return heard.expect(PaymentIntent)

    async def debit(self, intent_id: str, request_id: str) -> Heard:
        """Debit what a PaymentIntent holds, once for a `request_id`."""
        path = f"{_INTENTS}/{intent_id}/capture"
        return await self.connection.post(path, dict(WITH_CHARGE), key=request_id)

    def report(
        self, number: str, intent: PaymentIntent | None, outcome: Outcome | None = None
    ) -> ChannelReport:
        """Return what a poll found."""
        if intent is None:
            return ChannelReport(self.account, number, outcome or Outcome.NOT_FOUND, Source.POLL)
        return payment_report(self.account, number, intent, Source.POLL, outcome)

    async def refund(self, request: RefundRequest) -> RefundReport:
        """Give money back, once for a refund number, while Stripe keeps its keys.

        Raises ChannelRefused for a no, with `number_spent` where money may have gone back already.
        """
        heard = await self.connection.post(
            "/v1/refunds", refund_fields(request), key=request.number
        )
        if heard.error is not None:
            raise refuse_refund(heard.error)
        refund = heard.expect(Refund)
        must_be(request.number, number_in(refund.metadata))
        return refund_report(self.account, request.number, refund, Source.CREATE)

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask what became of a refund; None when Stripe has none of that number.

        It is found among all of its payment's: Stripe finds none by metadata.
        """
        if not payment_ref:
            paid = await self.search(attempt_number)
            if paid is None:
                return None
            payment_ref = paid.id
        fields = {"payment_intent": payment_ref, "limit": "100"}
        for _ in range(_MOST_PAGES):
            heard = await self.connection.get("/v1/refunds", fields)
            if heard.missing:
                return None
            listed = heard.expect(RefundsListed)
            for refund in listed.data:
                if number_in(refund.metadata) == number:
                    return refund_report(self.account, number, refund, Source.POLL)
            if not listed.has_more or not listed.data:
                return None
            fields["starting_after"] = listed.data[-1].id
        raise ChannelUnavailable("the payment has too many refunds to find one of ours")

    def read(self, callback: Callback) -> CallbackRead:
        """Verify an event as it was received, then translate it; of either channel."""
        event = verified(callback, self._credentials)
        return CallbackRead(event.id, report_of(self.account, event))

    async def refresh_keys(self) -> None:
        """There is nothing to learn: the webhook's secret was given."""

    def acknowledgement(self) -> tuple[int, bytes]:
        return 200, b"ok"

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 400, b"fail"


def close_result(intent: PaymentIntent | None) -> CloseResult:
    """Say what a PaymentIntent that was to be cancelled tells of the payment."""
    if intent is None:
        return CloseResult.NOT_FOUND
    match intent.status:
        case IntentStatus.CANCELED:
            return CloseResult.CLOSED
        case IntentStatus.SUCCEEDED:
            return CloseResult.PAID
        case _:
            return CloseResult.UNKNOWN


def must_be(number: str, found: str | None) -> None:
    """Raise ChannelUnavailable where an answer is about something else than was asked for."""
    if found != number:
        raise ChannelUnavailable("the answer is about another number")


def _rank(intent: PaymentIntent) -> int:
    return next((place for place, each in enumerate(_RANK) if intent.status == each), len(_RANK))
