"""What Stripe's errors and states mean to us; what is not listed tells us nothing.

The sentences are for operators. Stripe's own go on with them, but for those that may quote the
buyer or the key.
"""

import re
from typing import Final

from gateway.channels.stripe_wire import ErrorBody, IntentStatus, Session
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundState

UNEXPECTED_STATE: Final = "payment_intent_unexpected_state"
_ALREADY_REFUNDED: Final = "charge_already_refunded"
_KEY_USED: Final = "idempotency_error"  # with other parameters
_INSIDE: Final = "api_error"
_KEY: Final = re.compile(r"\b[sr]k_(live|test)_\S*")  # Stripe quotes parts of it
_ABOUT_THE_BUYER: Final = "payment_method_data"
_LONGEST_SENTENCE: Final = 300

_HINTS: Final = {
    "amount_too_small": "Stripe takes no payment that small in this currency",
    "api_key_expired": "give the account its new secret_key",
    _KEY_USED: "the number was used with other parameters",
    _INSIDE: "Stripe repeats its error for a day under this number",
}


def refuse_create(error: ErrorBody) -> ChannelRefused:
    """Return what to raise for a no to `create`.

    `expires_at` is wrong where a repeat comes so late that half an hour is not left: another number
    has more time.
    """
    spent = error.type in (_KEY_USED, _INSIDE) or error.param == "expires_at"
    return ChannelRefused(_name(error), sentence_of(error), number_spent=spent)


def refuse_refund(error: ErrorBody) -> ChannelRefused | ChannelUnavailable:
    """Return what to raise for a no to `refund`."""
    if error.type == _INSIDE:
        return nothing_known(error)
    spent = error.type == _KEY_USED or error.code == _ALREADY_REFUNDED
    return ChannelRefused(_name(error), sentence_of(error), number_spent=spent)


def refuse_capture(error: ErrorBody) -> ChannelRefused:
    """Return what to raise for a no to `capture` of what Stripe says was not debited."""
    return ChannelRefused(_name(error), sentence_of(error))


def nothing_known(error: ErrorBody) -> ChannelUnavailable:
    return ChannelUnavailable(sentence_of(error))


def sentence_of(error: ErrorBody) -> str:
    """Say for the operator what Stripe answered, and what to do where we know."""
    said = f"{_name(error)} {error.param or ''}".strip()
    hint = _HINTS.get(error.code or error.type)
    if hint is not None:
        return f"{said} ({hint})"
    private = (error.param or "").startswith(_ABOUT_THE_BUYER)
    message = "" if private else _KEY.sub("secret_key", error.message or "")
    return f"{said} {message}".strip()[:_LONGEST_SENTENCE]


def outcome_of(status: str) -> Outcome:
    """Say how a payment stands by its PaymentIntent.

    A refused card ends nothing: the buyer may take another. CANCELED is the end where the buyer
    pays at Stripe; see `stripe_boleto` for where they do not.
    """
    match status:
        case IntentStatus.SUCCEEDED:
            return Outcome.PAID
        case IntentStatus.REQUIRES_CAPTURE:
            return Outcome.APPROVED
        case IntentStatus.PROCESSING:
            return Outcome.PROCESSING
        case IntentStatus.CANCELED:
            return Outcome.CLOSED
        case _:
            return Outcome.UNPAID


def outcome_of_session(session: Session) -> Outcome:
    """Say how a payment stands by its Checkout Session: what it says of the money counts first."""
    outcome = outcome_of(session.intent.status) if session.intent else Outcome.UNPAID
    if outcome is Outcome.CLOSED and session.status == "open":
        return Outcome.UNPAID  # whatever became of one try, the page can still be paid
    if outcome is Outcome.UNPAID and session.status == "expired":
        return Outcome.CLOSED
    return outcome


def refund_state_of(status: str | None) -> RefundState:
    """Say how a refund stands; what is not listed is under way."""
    if status == "succeeded":
        return RefundState.DONE
    return RefundState.FAILED if status in ("failed", "canceled") else RefundState.SENT


def _name(error: ErrorBody) -> str:
    return error.code or error.type
