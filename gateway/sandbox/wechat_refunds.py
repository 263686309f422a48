"""WeChat Pay's refunds: accepted at once, ended a little later, one for every refund number."""

from datetime import timedelta

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.under_way import RefundsUnderWay
from gateway.sandbox.wechat_answers import new_refund_id
from gateway.sandbox.wechat_bodies import RefundRequest, missing
from gateway.sandbox.wechat_errors import WechatRefusal, field_error
from gateway.sandbox.wechat_gate import KIND
from gateway.sandbox.wechat_news import WechatNews

MOST_REFUNDS = 50
REFUND_WINDOW = timedelta(days=365)
NOT_AS_BEFORE = "订单金额或退款金额与之前请求不一致，请核实后再试"


class WechatRefunds:
    """Takes refunds, and ends each after the time that the faults say it takes."""

    def __init__(self, shared: Shared, news: WechatNews) -> None:
        self._shared = shared
        self._ledger = shared.ledger
        self._news = news
        self.under_way = RefundsUnderWay(shared, KIND, news.tell_refunded)

    def ask(self, wanted: RefundRequest) -> tuple[Payment, Refund]:
        """Take a refund, or answer the one that has this number. Raises WechatRefusal."""
        payment, capture = self._paid_order(wanted)
        known = self._ledger.find_refund(KIND, wanted.out_refund_no)
        if wanted.amount.currency != payment.currency:
            raise field_error(
                "退款币种与订单币种不一致", "body", "/body/amount/currency", wanted.amount.currency
            )
        if known is not None:
            _check_same(wanted, payment, known)
            return known
        self._check_new(wanted, payment, capture)
        now = self._shared.faults.now(KIND)
        refund = Refund(
            number=wanted.out_refund_no,
            ref=new_refund_id(now),
            capture_ref=capture.ref,
            amount=wanted.amount.refund,
            reason=wanted.reason,
            notify_url=wanted.notify_url,
            state=RefundState.PROCESSING,
            created_at=now,
        )
        payment = self._ledger.add_refund(payment, refund)
        self.under_way.end_later(refund.number)
        return payment, refund

    def find(self, number: str) -> tuple[Payment, Refund]:
        found = self._ledger.find_refund(KIND, number)
        if found is None:
            raise WechatRefusal(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        return found

    def _paid_order(self, wanted: RefundRequest) -> tuple[Payment, Capture]:
        if wanted.transaction_id:
            payment = self._ledger.find_by_ref(KIND, wanted.transaction_id)
        elif wanted.out_trade_no:
            payment = self._ledger.find(KIND, wanted.out_trade_no)
        else:
            raise missing("body", "transaction_id", "微信支付订单号")
        if payment is None or wanted.out_trade_no not in ("", payment.number):
            raise WechatRefusal(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        if not payment.captures:
            raise WechatRefusal(400, "INVALID_REQUEST", "订单未支付，不能申请退款")
        refs = {capture.ref: capture for capture in payment.captures}
        return payment, refs.get(wanted.transaction_id, payment.captures[0])

    def _check_new(self, wanted: RefundRequest, payment: Payment, capture: Capture) -> None:
        if wanted.amount.total != capture.amount:
            raise WechatRefusal(400, "INVALID_REQUEST", NOT_AS_BEFORE)
        if wanted.amount.refund > payment.refundable(capture):
            raise WechatRefusal(400, "INVALID_REQUEST", "申请退款金额大于订单剩余可退金额")
        if len(payment.refunds) >= MOST_REFUNDS:
            raise WechatRefusal(403, "RULE_LIMIT", "一笔订单最多支持50次部分退款")
        if self._shared.faults.now(KIND) > capture.paid_at + REFUND_WINDOW:
            raise WechatRefusal(403, "TRADE_ERROR", "订单已超过可退款的最大期限")


def _check_same(wanted: RefundRequest, payment: Payment, known: tuple[Payment, Refund]) -> None:
    """A repeat must ask for the same money of the same order under the same refund number."""
    of_payment, refund = known
    same_order = of_payment.number == payment.number
    if not same_order or refund.amount != wanted.amount.refund:
        raise WechatRefusal(400, "INVALID_REQUEST", NOT_AS_BEFORE)
