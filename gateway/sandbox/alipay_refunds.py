"""Alipay's refunds: the money is back when the call is answered, once for each request number.

A request number belongs to one trade. Two trades may use the same one, and a refund that does not
give any uses the merchant's number of the trade.
"""

from collections.abc import Callable

from gateway.sandbox.alipay_answers import (
    CLOSED,
    FINISHED,
    RefundAnswer,
    RefundQueryAnswer,
    Trade,
    refund_answer,
    refund_query_answer,
)
from gateway.sandbox.alipay_bodies import RefundPoint, RefundRequest, in_cents, read_body
from gateway.sandbox.alipay_errors import business, invalid
from gateway.sandbox.alipay_gate import KIND, Sent
from gateway.sandbox.alipay_news import AlipayNews
from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Refund, RefundState

FindTrade = Callable[[str, str], Trade]
"""Find by (out_trade_no, trade_no); raises AlipayRefusal."""


class AlipayRefunds:
    """Gives money back, and remembers what it gave."""

    def __init__(self, shared: Shared, news: AlipayNews) -> None:
        self._ledger = shared.ledger
        self._faults = shared.faults
        self._news = news

    def ask(self, sent: Sent, find: FindTrade) -> RefundAnswer:
        """Refund, or say again what was refunded under this number. Raises AlipayRefusal."""
        wanted = read_body(sent.get("biz_content", ""), RefundRequest)
        amount = in_cents(wanted.refund_amount, "refund_amount")
        trade = find(wanted.out_trade_no, wanted.trade_no)
        number = wanted.out_request_no or trade.payment.number
        known = _find_refund(trade, number)
        if known is not None:
            if known.amount != amount:
                raise business("DISCORDANT_REPEAT_REQUEST", "不一致的请求")
            return refund_answer(trade, known, moved=False)
        capture = self._check(trade, amount, numbered=bool(wanted.out_request_no))
        refund = self._new_refund(capture, number, amount, wanted.refund_reason)
        match self._faults.of(KIND).refund_end:
            case "closed":
                raise business("SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足")
            case "abnormal":
                return refund_answer(trade, refund, moved=False)
            case "done":
                return refund_answer(self._give_back(trade, refund), refund, moved=True)

    def find(self, sent: Sent, find: FindTrade) -> RefundQueryAnswer:
        """What was refunded under a number, which may be nothing. Raises AlipayRefusal."""
        wanted = read_body(sent.get("biz_content", ""), RefundPoint)
        if not wanted.out_request_no:
            raise invalid("out_request_no 不能为空")
        trade = find(wanted.out_trade_no, wanted.trade_no)
        refund = _find_refund(trade, wanted.out_request_no)
        return RefundQueryAnswer() if refund is None else refund_query_answer(trade, refund)

    def give_back_all(self, trade: Trade) -> None:
        """Refund what is left of a paid trade, as a cancelled one is."""
        if trade.capture is None:
            return
        left = trade.capture.amount - trade.refunded
        self._give_back(trade, self._new_refund(trade.capture, f"cancel{trade.number}", left, ""))

    def _check(self, trade: Trade, amount: int, *, numbered: bool) -> Capture:
        """Answer the money that a refund is taken from. Raises AlipayRefusal."""
        status = trade.status(self._faults.now(KIND))
        if status == CLOSED:
            raise business("TRADE_HAS_CLOSE", "交易已关闭")
        if trade.capture is None:
            raise business("TRADE_STATUS_ERROR", "交易状态不合法")
        if status == FINISHED:
            raise business("TRADE_HAS_FINISHED", "交易已完结")
        if not numbered and amount != trade.capture.amount:
            raise business("REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额与订单金额不一致")
        if amount > trade.capture.amount - trade.refunded:
            raise business("REASON_TRADE_REFUND_FEE_ERR", "退款金额无效")
        return trade.capture

    def _new_refund(self, capture: Capture, number: str, amount: int, reason: str) -> Refund:
        now = self._faults.now(KIND)
        return Refund(
            number=number,
            ref=f"{capture.ref}/{number}",
            capture_ref=capture.ref,
            amount=amount,
            reason=reason,
            notify_url="",
            state=RefundState.DONE,
            created_at=now,
            ended_at=now,
        )

    def _give_back(self, trade: Trade, refund: Refund) -> Trade:
        payment = self._ledger.add_refund(trade.payment, refund)
        self._news.tell_refunded(payment, refund)
        return Trade(payment, trade.capture)


def _find_refund(trade: Trade, number: str) -> Refund | None:
    same = (r for r in trade.payment.refunds if r.number == number)
    return next((one for one in same if one.capture_ref == trade.number), None)
