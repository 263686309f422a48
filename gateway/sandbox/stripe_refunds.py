"""Stripe's refunds: of a PaymentIntent, in parts or whole; never of a Boleto.

Each is known by the id that Stripe made; the merchant's number is in its metadata, and in the
ledger. The same number under another key, or when a day is over, is another refund.
"""

import msgspec

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.stripe_errors import StripeRefusal, no_such
from gateway.sandbox.stripe_forms import Form, form_in, need_int, refuse_unknown, text_in
from gateway.sandbox.stripe_making import read_metadata
from gateway.sandbox.stripe_news import StripeNews
from gateway.sandbox.stripe_objects import Json, list_object, refund_object
from gateway.sandbox.stripe_payments import StripePayments
from gateway.sandbox.stripe_state import BOLETO, CARD, capture_of, intent_status, new_id
from gateway.sandbox.under_way import RefundsUnderWay

PARAMETERS = ("payment_intent", "charge", "amount", "reason", "metadata", "expand")
REASONS = ("", "duplicate", "fraudulent", "requested_by_customer")
LISTED = 10


class StripeRefunds:
    """Takes refunds, and ends each after the time that the faults say it takes."""

    def __init__(self, shared: Shared, news: StripeNews, payments: StripePayments) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._news = news
        self._payments = payments
        self.under_way = RefundsUnderWay(shared, CARD, self._tell)

    def ask(self, form: Form) -> Json:
        """Give money back. Raises StripeRefusal."""
        refuse_unknown(form, PARAMETERS)
        metadata = read_metadata(form_in(form, "metadata"))
        payment, capture = self._paid(form)
        if text_in(form, "reason") not in REASONS:
            raise StripeRefusal("Invalid reason", param="reason")
        left = payment.refundable(capture)
        if left == 0:
            raise StripeRefusal(
                f"Charge {_charge(capture)} has already been refunded.",
                code="charge_already_refunded",
            )
        amount = need_int(form, "amount") if "amount" in form else left
        if not 0 < amount <= left:
            raise StripeRefusal(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
                param="amount",
            )
        now = self._shared.faults.now(payment.channel)
        ref = new_id("re")
        number = metadata.get("number", ref)
        refund = Refund(
            number=f"{number}@{ref}" if self._taken(payment, number) else number,
            ref=ref,
            capture_ref=capture.ref,
            amount=amount,
            reason=msgspec.json.encode(metadata).decode(),
            notify_url="",
            state=RefundState.PROCESSING,
            created_at=now,
        )
        payment = self._ledger.add_refund(payment, refund)
        self._tell(payment, refund)
        payment, refund = self.under_way.end_in_time(payment, refund)
        return refund_object(payment, refund, metadata)

    def show(self, ref: str) -> Json:
        for payment in self._ledger:
            for refund in payment.refunds:
                if refund.ref == ref and payment.channel == CARD:
                    return refund_object(payment, refund, metadata_of(refund))
        raise no_such("refund", ref, "id")

    def list_of(self, form: Form) -> Json:
        """The refunds of a PaymentIntent, the newest first. Raises StripeRefusal."""
        refuse_unknown(form, ("payment_intent", "limit", "starting_after", "expand"))
        intent = text_in(form, "payment_intent")
        payment = self._payments.intent(intent)
        objects = [
            refund_object(payment, refund, metadata_of(refund))
            for refund in reversed(payment.refunds)
            if refund.capture_ref == intent
        ]
        after = text_in(form, "starting_after")
        ids = [one["id"] for one in objects]
        begin = ids.index(after) + 1 if after in ids else 0
        limit = need_int(form, "limit") if "limit" in form else LISTED
        page = objects[begin : begin + limit]
        return list_object("/v1/refunds", page, more=begin + limit < len(objects))

    def _paid(self, form: Form) -> tuple[Payment, Capture]:
        charge = text_in(form, "charge")
        intent = text_in(form, "payment_intent") or "pi_" + charge.removeprefix("ch_")
        payment = self._payments.intent(intent)
        capture = capture_of(payment, intent)
        now = self._shared.faults.now(payment.channel)
        if capture is None or intent_status(payment, intent, now) != "succeeded":
            raise StripeRefusal(
                "This PaymentIntent does not have a successful charge to refund.",
                param="payment_intent",
            )
        if payment.channel == BOLETO:
            raise StripeRefusal("Charges of type boleto cannot be refunded.")
        return payment, capture

    def _taken(self, payment: Payment, number: str) -> bool:
        return self._ledger.find_refund(payment.channel, number) is not None

    def _tell(self, payment: Payment, refund: Refund) -> None:
        self._news.tell_refund(payment, refund, metadata_of(refund))


def metadata_of(refund: Refund) -> dict[str, str]:
    return msgspec.json.decode(refund.reason, type=dict[str, str])


def _charge(capture: Capture) -> str:
    return "ch_" + capture.ref.removeprefix("pi_")
