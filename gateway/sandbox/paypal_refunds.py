"""PayPal's refunds: one for a request id, done at once or, as the faults say, after a while."""

import msgspec

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.paypal_bodies import KeptRefund, SentRefund, kept_refund, written
from gateway.sandbox.paypal_gate import KIND, PayPalRefusal
from gateway.sandbox.paypal_keys import new_id
from gateway.sandbox.paypal_news import PayPalNews
from gateway.sandbox.paypal_orders import check_key
from gateway.sandbox.under_way import RefundsUnderWay

MOST_REFUNDS = 100


class PayPalRefunds:
    """Takes refunds, and ends each after the time that the faults say it takes."""

    def __init__(self, shared: Shared, news: PayPalNews) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._news = news
        self.under_way = RefundsUnderWay(shared, KIND, news.tell_refunded)

    def ask(self, capture_ref: str, body: bytes, request_id: str) -> tuple[Payment, Refund, bool]:
        """Take a refund; False: there was one with this request id. Raises PayPalRefusal."""
        check_key(request_id)
        payment, capture = self.find_capture(capture_ref)
        for known in payment.refunds:
            if request_id and kept_refund(known).request_id == request_id:
                return payment, known, False
        sent = _read(body)
        minor = payment.refundable(capture) if sent.amount is None else sent.amount.minor()
        if minor is None or (sent.amount and sent.amount.currency_code != payment.currency):
            raise PayPalRefusal(422, "CURRENCY_MISMATCH", "amount")
        self._check(payment, capture, minor, sent)
        refund = self._new_refund(capture, minor, sent, request_id)
        payment = self._ledger.add_refund(payment, refund)
        return *self.under_way.end_in_time(payment, refund), True

    def find_capture(self, ref: str) -> tuple[Payment, Capture]:
        """Raises PayPalRefusal."""
        payment = self._ledger.find_by_ref(KIND, ref)
        for capture in payment.captures if payment is not None else ():
            if payment is not None and capture.ref == ref:
                return payment, capture
        raise PayPalRefusal(404, "INVALID_RESOURCE_ID", "Specified resource ID does not exist")

    def find(self, ref: str) -> tuple[Payment, Refund]:
        """Raises PayPalRefusal."""
        for payment in self._ledger:
            for refund in payment.refunds if payment.channel == KIND else ():
                if refund.ref == ref:
                    return payment, refund
        raise PayPalRefusal(404, "INVALID_RESOURCE_ID", "Specified resource ID does not exist")

    def _check(self, payment: Payment, capture: Capture, minor: int, sent: SentRefund) -> None:
        left = payment.refundable(capture)
        if left == 0:
            raise PayPalRefusal(422, "CAPTURE_FULLY_REFUNDED")
        if minor > left:
            raise PayPalRefusal(422, "REFUND_AMOUNT_EXCEEDED")
        if len(payment.refunds) >= MOST_REFUNDS:
            raise PayPalRefusal(422, "MAX_NUMBER_OF_REFUNDS_EXCEEDED")
        invoices = {kept_refund(known).invoice_id for known in payment.refunds}
        if sent.invoice_id and sent.invoice_id in invoices:
            raise PayPalRefusal(422, "DUPLICATE_INVOICE_ID")

    def _new_refund(
        self, capture: Capture, minor: int, sent: SentRefund, request_id: str
    ) -> Refund:
        ref = new_id(17)
        kept = KeptRefund(
            request_id=request_id,
            invoice_id=sent.invoice_id,
            custom_id=sent.custom_id,
            note=sent.note_to_payer,
        )
        return Refund(
            number=sent.custom_id or sent.invoice_id or request_id or ref,
            ref=ref,
            capture_ref=capture.ref,
            amount=minor,
            reason=written(kept),
            notify_url="",
            state=RefundState.PROCESSING,
            created_at=self._shared.faults.now(KIND),
        )


def _read(body: bytes) -> SentRefund:
    try:
        return msgspec.json.decode(body or b"{}", type=SentRefund)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayPalRefusal(400, "MALFORMED_REQUEST_JSON", str(error)) from error
