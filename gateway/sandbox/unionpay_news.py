"""UnionPay's notifications: what is said, when, and what counts as having been heard.

A payment is told when it succeeded, a refund or a void however it ended. What goes by the buyer's
browser says the same in the same words, and is for the eye alone.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from gateway.sandbox.callbacks import Callback
from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.unionpay_gate import KIND, UnionPayGate, in_beijing, respond
from gateway.sandbox.unionpay_numbers import kept_of, new_query_id

RESEND_WAITS_S = (60.0, 120.0, 240.0, 300.0)
"""The documented ladder: five sends within twelve minutes."""
ANSWER_WITHIN_S = 10.0
FORM = "application/x-www-form-urlencoded;charset=UTF-8"


class UnionPayNews:
    """Makes notifications and hands them to the sender; forged ones too, when asked."""

    def __init__(self, shared: Shared, gate: UnionPayGate) -> None:
        self._shared = shared
        self._gate = gate

    def tell_paid(self, payment: Payment, capture: Capture) -> None:
        """Send the success of a payment until it is acknowledged."""
        self.forge_paid(payment)
        fields = self._gate.signed(self.about_payment(payment, capture))
        self._post(payment, capture.ref, "PAID", payment.notify_url, fields)

    def tell_refunded(self, payment: Payment, refund: Refund) -> None:
        """Send how a refund or a void ended; of an abnormal one nobody hears."""
        if refund.state is RefundState.ABNORMAL:
            return
        code = "00" if refund.state is RefundState.DONE else "01"
        said = {**self.about_refund(refund), **respond(code)}
        kind = "REFUNDED" if code == "00" else "NOT_REFUNDED"
        self._post(payment, refund.ref, kind, refund.notify_url, self._gate.signed(said))

    def forge_paid(self, payment: Payment) -> None:
        """While forging is on, claim in the merchant's own hand that a payment was made.

        Its certificate is as good as UnionPay's, but for the name in it.
        """
        if not self._shared.faults.of(KIND).forge_callbacks:
            return
        now = self._shared.faults.now(KIND)
        claimed = Capture(ref=new_query_id(now), amount=payment.amount, paid_at=now)
        fields = self._gate.signed(self.about_payment(payment, claimed), forged=True)
        self._post(payment, claimed.ref, "FORGED", payment.notify_url, fields)

    def front_form(self, payment: Payment) -> dict[str, str]:
        """What a browser that comes back posts to the merchant's page."""
        return self._gate.signed(self.about_payment(payment, payment.captures[0]))

    def about_payment(self, payment: Payment, capture: Capture) -> dict[str, str]:
        sent = dict(parse_qsl(payment.request))
        kept = ("txnType", "txnSubType", "bizType", "orderId", "txnTime", "reqReserved")
        return {
            **{name: sent[name] for name in kept if name in sent},
            **respond("00"),
            **self._moved(capture.ref, capture.amount),
            "payCardType": "01",
            "settleDate": in_beijing(capture.paid_at)[4:8],
            "traceTime": in_beijing(capture.paid_at)[4:],
        }

    def about_refund(self, refund: Refund) -> dict[str, str]:
        """What a query and a notification say of a refund alike."""
        kept = kept_of(refund)
        return {
            "txnType": kept.txn_type,
            "txnSubType": "00",
            "bizType": "000000",
            "orderId": refund.number.partition("@")[0],
            "txnTime": kept.txn_time,
            "origQryId": refund.capture_ref,
            **self._moved(refund.ref, refund.amount),
        }

    def _moved(self, query_id: str, amount: int) -> dict[str, str]:
        return {
            "merId": self._gate.mer_id,
            "queryId": query_id,
            "txnAmt": str(amount),
            "currencyCode": "156",
            "settleAmt": str(amount),
            "settleCurrencyCode": "156",
            "traceNo": query_id[-6:],
        }

    def _post(
        self, payment: Payment, ref: str, kind: str, url: str, fields: Mapping[str, str]
    ) -> None:
        def acknowledged() -> None:
            if kind != "FORGED":  # who believes that changes nothing in the ledger
                self._shared.ledger.mark_told(KIND, payment.number, ref)

        callback = Callback(
            id=f"{ref}.{fields['respCode']}",
            channel=KIND,
            number=payment.number,
            kind=kind,
            url=url,
            body=urlencode(fields).encode(),
            sign=_headers,
            accepted=_accepted,
            acknowledged=acknowledged,
            waits_s=() if kind == "FORGED" else RESEND_WAITS_S,
            answer_within_s=ANSWER_WITHIN_S,
        )
        self._shared.callbacks.post(callback)


def _headers(_body: bytes) -> dict[str, str]:
    return {"Content-Type": FORM, "User-Agent": "UPOP"}


def _accepted(status: int, _body: bytes) -> bool:
    return status == 200
