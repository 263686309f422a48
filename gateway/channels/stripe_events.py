"""Stripe's webhooks: an event, signed over its bytes and the second in which it was sent.

Events are repeated, late and in no order, and each shows its object as it was then. So only what
stays true is read from them: money arrived, the buyer approved, how a refund of ours went. That a
payment was cancelled, refused or has expired is left to a query, which knows what came after.
"""

import hmac
from datetime import datetime
from typing import Final

from gateway.channels.base import Callback
from gateway.channels.stripe_account import Credentials
from gateway.channels.stripe_codes import outcome_of, refund_state_of
from gateway.channels.stripe_wire import (
    Body,
    Event,
    IntentStatus,
    PaymentIntent,
    Refund,
    number_in,
    read_body,
)
from gateway.errors import BadCallback
from gateway.model import ChannelReport, Outcome, RefundReport, Source

TOLERANCE_S: Final = 300
_MOST_SIGNATURES: Final = 20

# What an event says of its object, where that lasts.
_LASTING: Final = {
    "payment_intent.succeeded": IntentStatus.SUCCEEDED,
    "payment_intent.amount_capturable_updated": IntentStatus.REQUIRES_CAPTURE,
}
_OF_REFUNDS: Final = ("refund.created", "refund.updated", "refund.failed")


def verified(callback: Callback, credentials: Credentials) -> Event:
    """Return the event once its signature, its age and whose it is are right.

    Raises BadCallback.
    """
    sent_at, signatures = _signed(callback.headers.get("stripe-signature", ""))
    message = sent_at.encode() + b"." + callback.body
    expected = hmac.digest(credentials.webhook_secret, message, "sha256").hex().encode()
    # While the secret is changed there is a signature with each.
    if not any(hmac.compare_digest(expected, each) for each in signatures):
        raise BadCallback("signature", "no signature of the webhook fits webhook_secret")
    if _age_s(sent_at, callback.received_at) > TOLERANCE_S:
        raise BadCallback("stale", f"the webhook was signed more than {TOLERANCE_S} s ago or ahead")
    event = read_body(callback.body, Event)
    if event is None:
        raise BadCallback("format", "the webhook is not a Stripe event")
    if event.account is not None:
        raise BadCallback("merchant", "the event is about an account connected to another one")
    if event.livemode is not credentials.live:
        raise BadCallback(
            "merchant", "the event is of test mode and secret_key is not, or reversed"
        )
    return event


def report_of(account: str, event: Event) -> ChannelReport | RefundReport | None:
    """Return what an event reports; None: nothing that lasts, or nothing of ours.

    Raises BadCallback where it is not what its type says.
    """
    if event.type in _OF_REFUNDS:
        refund = _object(event, Refund)
        number = number_in(refund.metadata)
        return None if number is None else refund_report(account, number, refund, Source.CALLBACK)
    if event.type in _LASTING:
        intent = _object(event, PaymentIntent)
        number = number_in(intent.metadata)
        if number is None or intent.status != _LASTING[event.type]:
            return None
        return payment_report(account, number, intent, Source.CALLBACK)
    return None


def payment_report(
    account: str,
    number: str,
    intent: PaymentIntent,
    source: Source,
    outcome: Outcome | None = None,
) -> ChannelReport:
    """Return what a PaymentIntent says; `outcome`, where something beside it decides that."""
    outcome = outcome or outcome_of(intent.status)
    if outcome is not Outcome.PAID:
        return ChannelReport(account, number, outcome, source)
    return ChannelReport(
        account,
        number,
        outcome,
        source,
        payment_ref=intent.id,
        money=intent.money,
        refunded=intent.refunded,
        # Of two payments under one number, each is asked about by its own id.
        channel_ref=intent.id,
    )


def refund_report(account: str, number: str, refund: Refund, source: Source) -> RefundReport:
    return RefundReport(
        account,
        number,
        refund_state_of(refund.status),
        source,
        refund_ref=refund.id,
        money=refund.money,
    )


def _signed(header: str) -> tuple[str, list[bytes]]:
    """Return the time and the signatures of version 1 in a header."""
    pairs = [part.strip().partition("=") for part in header.split(",")[:_MOST_SIGNATURES]]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value.encode("ascii", "replace") for name, _, value in pairs if name == "v1"]
    sound = len(times) == 1 and times[0].isascii() and times[0].isdigit() and len(times[0]) <= 11
    if not sound or not signatures:
        raise BadCallback("signature", "the webhook has no Stripe-Signature of version 1")
    return times[0], signatures


def _age_s(sent_at: str, received_at: datetime) -> float:
    return abs(received_at.timestamp() - int(sent_at))


def _object(event: Event, kind: type[Body]) -> Body:
    found = read_body(event.data.object, kind)
    if found is None:
        raise BadCallback("format", f"the event's object is not a {kind.__name__}")
    return found
