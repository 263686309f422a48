"""Stripe's objects, as its API shows them."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from gateway.sandbox.ledger import Payment, Refund, RefundState
from gateway.sandbox.stripe_state import (
    BOLETO,
    capture_of,
    intent_status,
    session_status,
    state_of,
)

Json = dict[str, object]
_REFUND_STATUS = {
    RefundState.PROCESSING: "pending",
    RefundState.DONE: "succeeded",
    RefundState.CLOSED: "failed",
    RefundState.ABNORMAL: "requires_action",
}


def intent_object(
    payment: Payment, intent: str, now: datetime, public_url: str, expand: Iterable[str] = ()
) -> Json:
    """A PaymentIntent; `latest_charge` is whole where `expand` has it."""
    state = state_of(payment)
    status = intent_status(payment, intent, now)
    capture = capture_of(payment, intent) if status == "succeeded" else None
    held = state.held if status == "requires_capture" else 0
    charged = capture is not None or held > 0
    charge = charge_object(payment, intent, now) if charged else None
    return {
        "id": intent,
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_capturable": held,
        "amount_received": capture.amount if capture else 0,
        "canceled_at": _seconds(state.canceled_at) if state.canceled_at else None,
        "cancellation_reason": state.reason or None,
        "capture_method": "automatic" if payment.channel == BOLETO else "manual",
        "client_secret": f"{intent}_secret_sandbox",
        "confirmation_method": "automatic",
        "created": _seconds(payment.created_at),
        "currency": payment.currency.lower(),
        "description": payment.subject or None,
        "last_payment_error": _last_error(payment, status),
        "latest_charge": charge if "latest_charge" in expand else charge and charge["id"],
        "livemode": False,
        "metadata": state.metadata,
        "next_action": _next_action(payment, public_url) if status == "requires_action" else None,
        "payment_method_types": [payment.channel],
        "status": status,
    }


def charge_object(payment: Payment, intent: str, now: datetime) -> Json:
    capture = capture_of(payment, intent)
    refunded = sum(
        one.amount
        for one in payment.refunds
        if one.capture_ref == intent
        and one.state in (RefundState.DONE, RefundState.PROCESSING, RefundState.ABNORMAL)
    )
    amount = capture.amount if capture else state_of(payment).held
    return {
        "id": "ch_" + intent.removeprefix("pi_"),
        "object": "charge",
        "amount": amount,
        "amount_captured": capture.amount if capture else 0,
        "amount_refunded": refunded,
        "captured": capture is not None,
        "created": _seconds(capture.paid_at if capture else now),
        "currency": payment.currency.lower(),
        "livemode": False,
        "metadata": state_of(payment).metadata,
        "paid": True,
        "payment_intent": intent,
        "refunded": capture is not None and refunded == capture.amount,
        "status": "succeeded",
    }


def session_object(
    payment: Payment, now: datetime, public_url: str, expand: Iterable[str] = ()
) -> Json:
    """A Checkout Session; its PaymentIntent is there once the buyer has tried to pay."""
    state = state_of(payment)
    status = session_status(payment, now)
    intent: object = payment.ref if state.tried else None
    deeper = [path.removeprefix("payment_intent.") for path in expand if "." in path]
    if state.tried and any(path.startswith("payment_intent") for path in expand):
        intent = intent_object(payment, payment.ref, now, public_url, deeper)
    session = payment.tokens[0]
    return {
        "id": session,
        "object": "checkout.session",
        "amount_subtotal": payment.amount,
        "amount_total": payment.amount,
        "cancel_url": state.cancel_url,
        "client_reference_id": state.reference or None,
        "created": _seconds(payment.created_at),
        "currency": payment.currency.lower(),
        "expires_at": _seconds(payment.payable_until),
        "livemode": False,
        "metadata": state.session_metadata,
        "mode": "payment",
        "payment_intent": intent,
        "payment_method_types": ["card"],
        "payment_status": "paid" if payment.captures else "unpaid",
        "status": status,
        "success_url": state.success_url,
        "url": f"{public_url}/stripe/c/pay/{session}" if status == "open" else None,
    }


def refund_object(payment: Payment, refund: Refund, metadata: Mapping[str, str]) -> Json:
    return {
        "id": refund.ref,
        "object": "refund",
        "amount": refund.amount,
        "charge": "ch_" + refund.capture_ref.removeprefix("pi_"),
        "created": _seconds(refund.created_at),
        "currency": payment.currency.lower(),
        "failure_reason": "unknown" if refund.state is RefundState.CLOSED else None,
        "metadata": dict(metadata),
        "payment_intent": refund.capture_ref,
        "reason": None,
        "status": _REFUND_STATUS[refund.state],
    }


def list_object(url: str, items: list[Json], *, more: bool, kind: str = "list") -> Json:
    return {"object": kind, "url": url, "has_more": more, "data": items}


def _next_action(payment: Payment, public_url: str) -> Json:
    voucher = f"{public_url}/stripe/v/{payment.ref}"
    return {
        "type": "boleto_display_details",
        "boleto_display_details": {
            "expires_at": _seconds(payment.payable_until),
            "hosted_voucher_url": voucher,
            "number": payment.tokens[0],
            "pdf": f"{voucher}/pdf",
        },
    }


def _last_error(payment: Payment, status: str) -> Json | None:
    if status != "requires_payment_method":
        return None
    if payment.channel == BOLETO:
        code = "payment_intent_payment_attempt_expired"
        return {"type": "invalid_request_error", "code": code, "message": "The slip has expired."}
    if not payment.declines:
        return None
    return {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": "Your card was declined.",
    }


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
