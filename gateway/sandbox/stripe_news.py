"""Stripe's webhooks: an event for each thing that happens, sent to the one URL that was set.

They are signed anew at each sending, with the second in which it happens, and sent for three days.
"""

import hmac
import json
import secrets
from collections.abc import Mapping

from gateway.sandbox.callbacks import Callback
from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.stripe_gate import VERSION
from gateway.sandbox.stripe_objects import (
    Json,
    charge_object,
    intent_object,
    refund_object,
    session_object,
)
from gateway.sandbox.stripe_state import new_id

RESEND_WAITS_S = (60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, *(43_200.0,) * 4)
ANSWER_WITHIN_S = 20.0
KIND = "stripe"


class StripeNews:
    """Makes events and hands them to the sender; forged ones too, when asked."""

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._secret = keys.stripe.webhook_secret
        self._shared = shared

    def tell_intent(self, payment: Payment, intent: str, kind: str) -> None:
        """Send what happened to a PaymentIntent, such as `succeeded`."""
        self._forge(payment)
        told = intent if kind == "succeeded" else ""
        self._post(payment, f"payment_intent.{kind}", self._intent(payment, intent), told)

    def tell_paid(self, payment: Payment, capture: Capture) -> None:
        self.tell_intent(payment, capture.ref, "succeeded")

    def tell_session(self, payment: Payment, kind: str) -> None:
        now = self._shared.faults.now(payment.channel)
        session = session_object(payment, now, self._shared.public_url)
        self._post(payment, f"checkout.session.{kind}", session)

    def tell_refund(self, payment: Payment, refund: Refund, metadata: Mapping[str, str]) -> None:
        """Send how a refund stands: that it was begun, how it ended."""
        about = refund_object(payment, refund, metadata)
        if refund.ended_at is None:
            self._post(payment, "refund.created", about)
            return
        failed = refund.state is RefundState.CLOSED
        self._post(payment, "refund.failed" if failed else "refund.updated", about, refund.ref)
        if not failed:
            now = self._shared.faults.now(payment.channel)
            charge = charge_object(payment, refund.capture_ref, now)
            self._post(payment, "charge.refunded", charge)

    def _intent(self, payment: Payment, intent: str) -> Json:
        now = self._shared.faults.now(payment.channel)
        return intent_object(payment, intent, now, self._shared.public_url)

    def _forge(self, payment: Payment) -> None:
        """While forging is on, claim with another secret that a payment was made."""
        if not self._shared.faults.of(payment.channel).forge_callbacks:
            return
        claimed = self._intent(payment, payment.ref) | {
            "id": new_id("pi"),
            "status": "succeeded",
            "amount_received": payment.amount,
        }
        self._post(payment, "payment_intent.succeeded", claimed, forged=True)

    def _post(
        self,
        payment: Payment,
        kind: str,
        about: Json,
        told: str = "",
        *,
        forged: bool = False,
    ) -> None:
        """Send an event; `told` is the money that the merchant knows of once it has it."""
        url = self._shared.webhooks.get(KIND)
        if url is None:
            return
        channel = payment.channel
        event = self._event(channel, kind, about)
        secret = f"whsec_{secrets.token_hex(16)}" if forged else self._secret

        def sign(body: bytes) -> dict[str, str]:
            return self._headers(channel, secret, body)

        def acknowledged() -> None:
            if told and not forged:
                self._shared.ledger.mark_told(channel, payment.number, told)

        callback = Callback(
            id=str(event["id"]),
            channel=channel,
            number=payment.number,
            kind="FORGED" if forged else kind,
            url=url,
            body=json.dumps(event, indent=2).encode(),
            sign=sign,
            accepted=_accepted,
            acknowledged=acknowledged,
            waits_s=() if forged else RESEND_WAITS_S,
            answer_within_s=ANSWER_WITHIN_S,
        )
        self._shared.callbacks.post(callback)

    def _event(self, channel: str, kind: str, about: Json) -> Json:
        return {
            "id": new_id("evt"),
            "object": "event",
            "api_version": VERSION,
            "created": int(self._shared.faults.now(channel).timestamp()),
            "data": {"object": about},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }

    def _headers(self, channel: str, secret: str, body: bytes) -> dict[str, str]:
        sent_at = int(self._shared.faults.now(channel).timestamp())
        signature = hmac.digest(secret.encode(), f"{sent_at}.".encode() + body, "sha256").hex()
        return {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": f"t={sent_at},v1={signature},v0={'0' * 64}",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }


def _accepted(status: int, _body: bytes) -> bool:
    return 200 <= status < 300
