"""WeChat Pay's callbacks: what is said, when, to whom, and what counts as having been heard."""

from datetime import datetime
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec
from msgspec.structs import replace

from gateway.sandbox.callbacks import Callback
from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Capture, Payment, Refund
from gateway.sandbox.wechat_answers import (
    REFUND_STATUS,
    Envelope,
    in_beijing,
    new_transaction_id,
    refund_news,
    transaction,
)
from gateway.sandbox.wechat_crypto import encrypt
from gateway.sandbox.wechat_gate import KIND, WechatGate

RESEND_WAITS_S = (
    *(15.0, 15.0, 30.0, 180.0, 600.0, 1200.0, 1800.0, 1800.0, 1800.0),
    *(3600.0, 10800.0, 10800.0, 10800.0, 21600.0, 21600.0),
)
"""The documented ladder: fifteen more sends over a day."""

SUMMARIES = {
    "TRANSACTION.SUCCESS": "支付成功",
    "REFUND.SUCCESS": "退款成功",
    "REFUND.CLOSED": "退款关闭",
    "REFUND.ABNORMAL": "退款异常",
}


class WechatNews:
    """Makes callbacks and hands them to the sender; forged ones and probes too, when asked."""

    def __init__(self, keys: SandboxKeys, shared: Shared, gate: WechatGate) -> None:
        self._keys = keys
        self._shared = shared
        self._gate = gate

    def tell_paid(self, payment: Payment, capture: Capture) -> None:
        """Send TRANSACTION.SUCCESS until it is acknowledged."""
        now = self._shared.faults.now(KIND)
        plain = msgspec.json.encode(transaction(payment, now, capture))
        callback = self._callback(
            payment, "TRANSACTION.SUCCESS", payment.notify_url, plain, capture.ref
        )
        if self._shared.faults.of(KIND).probe_callbacks:
            self._shared.callbacks.post(self._probe(callback))
        self.forge_paid(payment)
        self._shared.callbacks.post(callback)

    def tell_refunded(self, payment: Payment, refund: Refund) -> None:
        """Send REFUND.SUCCESS, .CLOSED or .ABNORMAL, if the merchant said where to."""
        if not refund.notify_url:
            return
        kind = f"REFUND.{REFUND_STATUS[refund.state]}"
        plain = msgspec.json.encode(refund_news(self._keys.mchid, payment, refund))
        self._shared.callbacks.post(
            self._callback(payment, kind, refund.notify_url, plain, refund.ref)
        )

    def forge_paid(self, payment: Payment) -> None:
        """While forging is on, claim in a stranger's hand that an order was paid."""
        if not self._shared.faults.of(KIND).forge_callbacks:
            return
        now = self._shared.faults.now(KIND)
        claimed = Capture(ref=new_transaction_id(now), amount=payment.amount, paid_at=now)
        told = replace(payment, captures=(claimed,))
        plain = msgspec.json.encode(transaction(told, now, claimed))
        callback = self._callback(
            payment, "TRANSACTION.SUCCESS", payment.notify_url, plain, claimed.ref
        )
        forged = replace(
            callback,
            kind="FORGED",
            sign=self._gate.forged_headers,
            acknowledged=_ignore,
            waits_s=(),
        )
        self._shared.callbacks.post(forged)

    def _callback(self, payment: Payment, kind: str, url: str, plain: bytes, ref: str) -> Callback:
        now = self._shared.faults.now(KIND)
        # The id follows from what is told, so that a sandbox that was killed and started again
        # repeats itself under the same id.
        callback_id = str(uuid5(NAMESPACE_URL, f"{KIND}/{kind}/{ref}"))
        return Callback(
            id=callback_id,
            channel=KIND,
            number=payment.number,
            kind=kind,
            url=url,
            body=self._envelope(callback_id, kind, plain, now),
            sign=self._gate.callback_headers,
            accepted=_accepted,
            acknowledged=lambda: self._shared.ledger.mark_told(KIND, payment.number, ref),
            waits_s=RESEND_WAITS_S,
        )

    def _envelope(self, callback_id: str, kind: str, plain: bytes, now: datetime) -> bytes:
        original = "transaction" if kind.startswith("TRANSACTION") else "refund"
        envelope = Envelope(
            id=callback_id,
            create_time=in_beijing(now),
            event_type=kind,
            summary=SUMMARIES[kind],
            resource=encrypt(self._keys.apiv3_key, plain, aad=original, kind=original),
        )
        return msgspec.json.encode(envelope)

    def _probe(self, callback: Callback) -> Callback:
        return replace(
            callback,
            id=str(uuid4()),
            kind="PROBE",
            sign=self._gate.probe_headers,
            acknowledged=_ignore,
            waits_s=(),
        )


def _accepted(status: int, _body: bytes) -> bool:
    return status in (200, 204)


def _ignore() -> None:
    """A merchant that believes a forged callback changes nothing in the ledger."""
