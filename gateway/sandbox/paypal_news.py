"""PayPal's webhooks: what is said, when, and how it is signed.

An event is signed once; who resends it, for three days, sends the same.
"""

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import cast
from zlib import crc32

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.callbacks import Callback
from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.paypal_bodies import Bodies, Json, kept_of, moment
from gateway.sandbox.paypal_gate import KIND, PREFIX
from gateway.sandbox.paypal_keys import new_id
from gateway.sandbox.pem import load_private

RESEND_WAITS_S = (60.0, 300.0, 900.0, 3600.0) + (12_109.0,) * 21
"""Twenty-five resends within three days."""
ALGORITHM = "SHA256withRSA"
CERTIFICATE, STRANGERS = "CERT-5a5a5a5a-sandbox", "CERT-0b0b0b0b-stranger"
REFUND_EVENTS = {
    RefundState.DONE: "PAYMENT.CAPTURE.REFUNDED",
    RefundState.CLOSED: "PAYMENT.REFUND.FAILED",
}


class Question(msgspec.Struct, frozen=True):
    """What a merchant asks about a webhook that it received; the event as it came."""

    auth_algo: str
    cert_url: str
    transmission_id: str
    transmission_sig: str
    transmission_time: str
    webhook_id: str
    webhook_event: msgspec.Raw


class PayPalNews:
    """Makes events and hands them to the sender; forged ones too, when asked."""

    def __init__(self, keys: SandboxKeys, shared: Shared, bodies: Bodies) -> None:
        self._keys = keys.paypal
        self._shared = shared
        self._bodies = bodies
        leaf = load_pem_x509_certificate(keys.paypal.signer.chain.encode())
        self._public_key = cast(rsa.RSAPublicKey, leaf.public_key())

    def tell_approved(self, payment: Payment) -> None:
        """Send that the buyer approved it; nothing is debited yet."""
        self.forge_paid(payment)
        order = self._bodies.order(payment)
        self._post(payment, payment.ref, "CHECKOUT.ORDER.APPROVED", "checkout-order", order)

    def tell_paid(self, payment: Payment, capture: Capture) -> None:
        """Send the success of a capture until it is acknowledged."""
        body = self._bodies.capture(payment, capture) | {"status": "COMPLETED"}
        self._post(payment, capture.ref, "PAYMENT.CAPTURE.COMPLETED", "capture", body)

    def tell_pending(self, payment: Payment) -> None:
        """Send that the money of a capture is on its way, or that it will not come."""
        kept = kept_of(payment)
        kind = "PAYMENT.CAPTURE.DENIED" if kept.denied else "PAYMENT.CAPTURE.PENDING"
        (body,) = self._bodies.captures(payment)
        self._post(payment, kept.pending, kind, "capture", body)

    def tell_refunded(self, payment: Payment, refund: Refund) -> None:
        """Send how a refund ended; of an abnormal one nobody hears."""
        kind = REFUND_EVENTS.get(refund.state)
        if kind is not None:
            self._post(payment, refund.ref, kind, "refund", self._bodies.refund(payment, refund))

    def forge_paid(self, payment: Payment) -> None:
        """While forging is on, claim in a stranger's hand that a capture was made."""
        if not self._shared.faults.of(KIND).forge_callbacks:
            return
        now = self._shared.faults.now(KIND)
        claimed = Capture(ref=new_id(17), amount=payment.amount, paid_at=now)
        body = self._bodies.capture(payment, claimed)
        event = "PAYMENT.CAPTURE.COMPLETED"
        self._post(payment, claimed.ref, event, "capture", body, forged=True)

    async def show_certificate(self, request: web.Request) -> web.Response:
        """GET /v1/notifications/certs/{id} - what an event names, for everybody to fetch"""
        chains = {CERTIFICATE: self._keys.signer.chain, STRANGERS: self._keys.stranger.chain}
        chain = chains.get(request.match_info["id"])
        if chain is None:
            raise web.HTTPNotFound
        return web.Response(text=chain, content_type="application/x-pem-file")

    def verify(self, body: bytes) -> str:
        """Say SUCCESS when we signed what a merchant asks about. Raises msgspec.DecodeError."""
        asked = msgspec.json.decode(body, type=Question)
        text = self._text(
            asked.transmission_id, asked.transmission_time, bytes(asked.webhook_event)
        )
        ours = (ALGORITHM, self._cert_url(CERTIFICATE), self._keys.webhook_id)
        if (asked.auth_algo, asked.cert_url, asked.webhook_id) != ours:
            return "FAILURE"
        try:
            signature = b64decode(asked.transmission_sig, validate=True)
            self._public_key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, Base64Error):
            return "FAILURE"
        return "SUCCESS"

    def _post(
        self,
        payment: Payment,
        ref: str,
        event: str,
        kind: str,
        resource: Json,
        *,
        forged: bool = False,
    ) -> None:
        """Hand an event over, if the merchant said where it wants to hear."""
        url = self._shared.webhooks.get(KIND)
        if url is None:
            return
        body = msgspec.json.encode(self._event(event, kind, resource))
        headers = self._headers(body, forged=forged)

        def acknowledged() -> None:
            if not forged:  # who believes that changes nothing in the ledger
                self._shared.ledger.mark_told(KIND, payment.number, ref)

        callback = Callback(
            id=headers["PAYPAL-TRANSMISSION-ID"],
            channel=KIND,
            number=payment.number,
            kind="FORGED" if forged else event,
            url=url,
            body=body,
            sign=lambda _body: headers,
            accepted=_accepted,
            acknowledged=acknowledged,
            waits_s=() if forged else RESEND_WAITS_S,
            answer_within_s=30.0,
        )
        self._shared.callbacks.post(callback)

    def _event(self, event: str, kind: str, resource: Json) -> Json:
        return {
            "id": f"WH-{new_id(17)}-{new_id(17)}",
            "event_version": "1.0",
            "create_time": moment(self._shared.faults.now(KIND)),
            "resource_type": kind,
            "resource_version": "2.0",
            "event_type": event,
            "summary": event.replace(".", " ").capitalize(),
            "resource": resource,
            "links": [],
        }

    def _headers(self, body: bytes, *, forged: bool) -> dict[str, str]:
        signer = self._keys.stranger if forged else self._keys.signer
        sent, at = secrets.token_hex(16), moment(self._shared.faults.now(KIND))
        text = self._text(sent, at, body)
        signature = load_private(signer.key).sign(text, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Content-Type": "application/json",
            "User-Agent": "PayPal/AUHR-214.0-56080055",
            "PAYPAL-TRANSMISSION-ID": sent,
            "PAYPAL-TRANSMISSION-TIME": at,
            "PAYPAL-TRANSMISSION-SIG": b64encode(signature).decode(),
            "PAYPAL-CERT-URL": self._cert_url(STRANGERS if forged else CERTIFICATE),
            "PAYPAL-AUTH-ALGO": ALGORITHM,
        }

    def _cert_url(self, name: str) -> str:
        return f"{self._shared.public_url}{PREFIX}/v1/notifications/certs/{name}"

    def _text(self, sent: str, at: str, body: bytes) -> bytes:
        return f"{sent}|{at}|{self._keys.webhook_id}|{crc32(body)}".encode()


def _accepted(status: int, _body: bytes) -> bool:
    return 200 <= status < 300
