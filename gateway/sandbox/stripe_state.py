"""What Stripe knows of a payment beside its money, and how a PaymentIntent stands by both.

It is kept in the ledger, in the place of the merchant's request, so that it outlives a restart. A
payment of the ledger is one PaymentIntent; money that came beside it (a slip paid twice) makes one
of its own, with the same metadata.
"""

import secrets
import string
from datetime import datetime, timedelta

import msgspec

from gateway.sandbox.ledger import Capture, Payment

CARD, BOLETO = "card", "boleto"
HOLD = timedelta(days=7)
"""How long a card holds what nobody captured."""
_LETTERS = string.ascii_letters + string.digits


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`held` is what a card holds since `held_at`; banks confirm a slip at `confirmed_at`."""

    metadata: dict[str, str]
    session_metadata: dict[str, str] = {}
    reference: str = ""
    success_url: str = ""
    cancel_url: str = ""
    tried: bool = False
    held: int = 0
    held_at: datetime | None = None
    canceled_at: datetime | None = None
    reason: str = ""
    barcode: str = ""
    payer: str = ""
    email: str = ""
    tax_id: str = ""
    confirmed_at: datetime | None = None


def state_of(payment: Payment) -> State:
    return msgspec.json.decode(payment.request, type=State)


def written(state: State) -> str:
    return msgspec.json.encode(state).decode()


def intent_status(payment: Payment, intent: str, now: datetime) -> str:
    """How the PaymentIntent with this id stands."""
    state = state_of(payment)
    capture = capture_of(payment, intent)
    if capture is not None and (state.confirmed_at is None or now >= state.confirmed_at):
        return "succeeded"
    if state.canceled_at is not None:
        return "canceled"
    if payment.channel == BOLETO:
        expired = now > payment.payable_until and capture is None
        return "requires_payment_method" if expired else "requires_action"
    if state.held_at is None:
        return "canceled" if payment.closed_at is not None else "requires_payment_method"
    return "requires_capture" if now <= state.held_at + HOLD else "canceled"


def session_status(payment: Payment, now: datetime) -> str:
    """How the Checkout Session stands: open, complete or expired."""
    if state_of(payment).held_at is not None:
        return "complete"
    return "expired" if payment.closed_at is not None or now > payment.payable_until else "open"


def capture_of(payment: Payment, intent: str) -> Capture | None:
    return next((one for one in payment.captures if one.ref == intent), None)


def new_id(kind: str) -> str:
    """An id of Stripe's, like pi_3Q and so on."""
    return f"{kind}_" + "".join(secrets.choice(_LETTERS) for _ in range(24))
