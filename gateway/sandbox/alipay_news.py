"""Alipay's notifications: what is said, when, and what counts as having been heard.

A paid trade is told wherever it came from. A refund is told again as TRADE_SUCCESS, or as
TRADE_CLOSED once nothing is left, and only where a browser or an app paid: it is no second payment.
"""

import hashlib
import random
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from msgspec.structs import replace

from gateway.sandbox.alipay_answers import (
    BUYER,
    BUYER_ID,
    NotifiedFund,
    Trade,
    in_beijing,
    new_trade_no,
    yuan,
)
from gateway.sandbox.alipay_bodies import kept_of
from gateway.sandbox.alipay_crypto import Signer
from gateway.sandbox.alipay_gate import KIND, AlipayGate
from gateway.sandbox.callbacks import Callback
from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Capture, Payment, Refund

RESEND_WAITS_S = (240.0, 600.0, 600.0, 3600.0, 7200.0, 21600.0, 54000.0)
"""The documented ladder: seven more sends over a day."""
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class AlipayNews:
    """Makes notifications and hands them to the sender; forged ones too, when asked."""

    def __init__(self, keys: SandboxKeys, shared: Shared, gate: AlipayGate) -> None:
        self._keys = keys.alipay
        self._shared = shared
        self._gate = gate

    def tell_paid(self, payment: Payment, capture: Capture) -> None:
        """Send TRADE_SUCCESS until it is acknowledged, if the merchant said where to."""
        self.forge_paid(payment)
        self._post(payment, capture, capture.ref)

    def tell_refunded(self, payment: Payment, refund: Refund) -> None:
        """Say what went back so far, where Alipay does: not for a scanned code."""
        if payment.product != "qr":
            capture = next(one for one in payment.captures if one.ref == refund.capture_ref)
            self._post(payment, capture, refund.ref, refund)

    def forge_paid(self, payment: Payment) -> None:
        """While forging is on, claim in a stranger's hand that a trade was paid."""
        if not self._shared.faults.of(KIND).forge_callbacks or not payment.notify_url:
            return
        now = self._shared.faults.now(KIND)
        claimed = Capture(ref=new_trade_no(now), amount=payment.amount, paid_at=now)
        told = replace(payment, captures=(claimed,))
        callback = self._callback(told, claimed, claimed.ref, self._gate.stranger)
        forged = replace(callback, kind="FORGED", acknowledged=_ignore, waits_s=())
        self._shared.callbacks.post(forged)

    def return_address(self, payment: Payment) -> str:
        """Where a browser goes after it paid, with signed words that only look like proof."""
        kept = kept_of(payment)
        if not kept.return_url or not payment.captures:
            return ""
        said = {
            **self._about_us(),
            "method": kept.method + ".return",
            "timestamp": in_beijing(self._shared.faults.now(KIND)),
            "out_trade_no": payment.number,
            "trade_no": payment.captures[0].ref,
            "total_amount": yuan(payment.captures[0].amount),
            "seller_id": self._keys.seller_id,
        }
        url = urlsplit(kept.return_url)
        words = urlencode(self._gate.signed(said, self._gate.public_key_signer))
        return urlunsplit(url._replace(query=f"{url.query}&{words}" if url.query else words))

    def _post(
        self, payment: Payment, capture: Capture, ref: str, refund: Refund | None = None
    ) -> None:
        if payment.notify_url:
            callback = self._callback(payment, capture, ref, self._signer(), refund)
            self._shared.callbacks.post(callback)

    def _callback(
        self,
        payment: Payment,
        capture: Capture,
        ref: str,
        signer: Signer,
        refund: Refund | None = None,
    ) -> Callback:
        now = self._shared.faults.now(KIND)
        status = Trade(payment, capture).status(now)
        # The id follows from what is told, so that a sandbox that was killed and started again
        # repeats itself under the same id.
        digest = hashlib.sha256(f"{KIND}/{ref}".encode()).hexdigest()
        callback_id = f"{in_beijing(capture.paid_at)[:10].replace('-', '')}00222{digest[:21]}"
        said = {
            **self._about_us(),
            "notify_time": in_beijing(now),
            "notify_type": "trade_status_sync",
            "notify_id": callback_id,
            "trade_status": status,
            **self._about(payment, capture),
            **_about_refund(payment, refund),
        }
        told = {name: value for name, value in said.items() if value}
        return Callback(
            id=callback_id,
            channel=KIND,
            number=payment.number,
            kind=status,
            url=payment.notify_url,
            body=urlencode(self._gate.signed(told, signer)).encode(),
            sign=_headers,
            accepted=_accepted,
            acknowledged=lambda: self._shared.ledger.mark_told(KIND, payment.number, ref),
            waits_s=RESEND_WAITS_S,
        )

    def _about_us(self) -> dict[str, str]:
        app_id = self._keys.app_id
        return {
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "app_id": app_id,
            "auth_app_id": app_id,
        }

    def _about(self, payment: Payment, capture: Capture) -> dict[str, str]:
        order = kept_of(payment).order
        paid = yuan(capture.amount)
        funds = (NotifiedFund(paid),)
        return {
            "trade_no": capture.ref,
            "out_trade_no": payment.number,
            "total_amount": paid,
            "receipt_amount": paid,
            "buyer_pay_amount": paid,
            "invoice_amount": paid,
            "point_amount": "0.00",
            "fund_bill_list": msgspec.json.encode(funds).decode(),
            "seller_id": self._keys.seller_id,
            "seller_email": "seller@example.com",
            "buyer_id": BUYER_ID,
            "buyer_logon_id": BUYER,
            "subject": payment.subject,
            "body": order.body,
            "passback_params": order.passback_params,
            "gmt_create": in_beijing(payment.scanned_at or payment.created_at),
            "gmt_payment": in_beijing(capture.paid_at),
        }

    def _signer(self) -> Signer:
        """The key that notifications are signed with now."""
        chosen = self._shared.faults.of(KIND).callback_signer
        if chosen == "mixed":
            chosen = random.choice(("public_key", "certificate"))
        by_key = chosen == "public_key"
        return self._gate.public_key_signer if by_key else self._gate.certificate_signer


def _about_refund(payment: Payment, refund: Refund | None) -> dict[str, str]:
    if refund is None:
        return {}
    gone = sum(one.amount for one in payment.refunds if one.capture_ref == refund.capture_ref)
    return {
        "out_biz_no": refund.number,
        "refund_fee": yuan(gone),
        # Only here does Alipay write thousandths of a second.
        "gmt_refund": in_beijing(refund.created_at) + ".000",
    }


def _headers(_body: bytes) -> dict[str, str]:
    return {"Content-Type": FORM, "User-Agent": "Mozilla/4.0"}


def _accepted(status: int, body: bytes) -> bool:
    """Only this word counts: a page that says 200 and something else is asked again."""
    return status == 200 and body == b"success"


def _ignore() -> None:
    """A merchant that believes a forged notification changes nothing in the ledger."""
