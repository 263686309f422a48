"""UnionPay's refunds and voids: accepted at once, ended later, one for an orderId and txnTime."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import msgspec

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.under_way import RefundsUnderWay
from gateway.sandbox.unionpay_gate import BEIJING, KIND, Sent, UnionPayRefusal, read_time
from gateway.sandbox.unionpay_news import UnionPayNews
from gateway.sandbox.unionpay_numbers import (
    Kept,
    find_refund,
    new_query_id,
    number_beside,
)
from gateway.sandbox.unionpay_trades import NOW_MEANS, int_of

REFUND_WINDOW = timedelta(days=330)
QR_REFUND_WINDOW = timedelta(days=30)
REFUND_FIELDS = ("channelType", "backUrl", "txnAmt", "origQryId")
VOID = "31"


class UnionPayRefunds:
    """Takes refunds and voids, and ends each after the time that the faults say it takes."""

    def __init__(self, shared: Shared, news: UnionPayNews) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._news = news
        self.under_way = RefundsUnderWay(shared, KIND, news.tell_refunded)

    def ask(self, sent: Sent, payment_of: Callable[[Sent], Payment | None]) -> Refund:
        """Take a refund or a void. Raises UnionPayRefusal, for a repeat too."""
        if find_refund(self._ledger, sent) is not None or payment_of(sent) is not None:
            raise UnionPayRefusal("12")
        now = self._shared.faults.now(KIND)
        if abs(now - read_time(sent, "txnTime")) > NOW_MEANS:
            raise UnionPayRefusal("39", "txnTime")
        payment, capture = self._paid(sent["origQryId"])
        amount = int_of(sent, "txnAmt")
        if sent["txnType"] == VOID:
            _check_void(payment, capture, amount, now)
        else:
            _check_refund(payment, capture, amount, now)
        kept = Kept(sent["txnType"], sent["txnTime"])
        taken = self._ledger.find_refund(KIND, sent["orderId"]) is not None
        refund = Refund(
            number=number_beside(sent) if taken else sent["orderId"],
            ref=new_query_id(now),
            capture_ref=capture.ref,
            amount=amount,
            reason=msgspec.json.encode(kept).decode(),
            notify_url=sent["backUrl"],
            state=RefundState.PROCESSING,
            created_at=now,
        )
        self._ledger.add_refund(payment, refund)
        self.under_way.end_later(refund.number)
        return refund

    def _paid(self, query_id: str) -> tuple[Payment, Capture]:
        payment = self._ledger.find_by_ref(KIND, query_id)
        if payment is None:
            raise UnionPayRefusal("34", "origQryId")
        for capture in payment.captures:
            if capture.ref == query_id:
                return payment, capture
        raise UnionPayRefusal("35")


def standing(refund: Refund) -> str:
    """The code that a query answers for a refund; of an abnormal one it never says the end."""
    match refund.state:
        case RefundState.DONE:
            return "00"
        case RefundState.CLOSED:
            return "01"
        case RefundState.PROCESSING | RefundState.ABNORMAL:
            return "05"


def settlement_day(moment: datetime) -> date:
    """The day that a payment is settled with: it ends at 23:00."""
    local = moment.astimezone(BEIJING)
    return local.date() + timedelta(days=local.hour == 23)


def _check_void(payment: Payment, capture: Capture, amount: int, now: datetime) -> None:
    if amount != capture.amount:
        raise UnionPayRefusal("36", "txnAmt")
    if payment.refundable(capture) != capture.amount:
        raise UnionPayRefusal("35")
    if settlement_day(now) != settlement_day(capture.paid_at):
        raise UnionPayRefusal("39")


def _check_refund(payment: Payment, capture: Capture, amount: int, now: datetime) -> None:
    if not 0 < amount <= payment.refundable(capture):
        raise UnionPayRefusal("36", "txnAmt")
    window = QR_REFUND_WINDOW if payment.product == "qr" else REFUND_WINDOW
    if now > capture.paid_at + window:
        raise UnionPayRefusal("39")
