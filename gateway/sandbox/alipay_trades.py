"""Alipay's trades: wanted by a merchant, begun by a buyer, paid, closed; each verb in one go.

A QR code is no trade yet. The trade begins when a buyer scans it, or opens the cashier's page;
until then neither query nor close knows it, and it can be paid all the same. No method waits for
anything, so two requests about one number cannot interleave.
"""

from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from gateway.sandbox.alipay_answers import (
    CLOSED,
    PAID,
    WAITING,
    CancelAnswer,
    CloseAnswer,
    PrecreateAnswer,
    QueryAnswer,
    Trade,
    in_beijing,
    new_cashier_token,
    new_qr_code,
    new_trade_no,
    query_answer,
)
from gateway.sandbox.alipay_bodies import (
    Kept,
    Order,
    Point,
    check_order,
    fields_of,
    in_cents,
    kept_of,
    life,
    moment,
    read_body,
)
from gateway.sandbox.alipay_errors import AlipayRefusal, business, invalid
from gateway.sandbox.alipay_gate import KIND, Sent
from gateway.sandbox.alipay_news import AlipayNews
from gateway.sandbox.alipay_refunds import AlipayRefunds
from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, NotPayable, Payment

CODE_LIFE = timedelta(hours=2)
TRADE_LIFE = {"qr": timedelta(hours=3)}
TRADE_LIFE_OTHERS = timedelta(days=15)
CANCEL_WINDOW = timedelta(days=1)


class AlipayTrades:
    """The trades of the one seller."""

    def __init__(self, shared: Shared, news: AlipayNews, refunds: AlipayRefunds) -> None:
        self._ledger = shared.ledger
        self._faults = shared.faults
        self._news = news
        self._refunds = refunds

    def precreate(self, sent: Sent) -> PrecreateAnswer:
        """Hand out a QR code, the same one again for the same order. Raises AlipayRefusal."""
        payment = self.place("qr", sent)
        return PrecreateAnswer(out_trade_no=payment.number, qr_code=payment.tokens[0])

    def place(self, product: str, sent: Sent) -> Payment:
        """Take an order that a buyer may begin to pay. Raises AlipayRefusal."""
        order = read_body(sent.get("biz_content", ""), Order)
        check_order(product, order)
        known = self._ledger.find(KIND, order.out_trade_no)
        if known is not None:
            return self._place_again(known, product, sent)
        now = self._now()
        payment = Payment(
            channel=KIND,
            number=order.out_trade_no,
            product=product,
            amount=in_cents(order.total_amount, "total_amount"),
            currency="CNY",
            subject=order.subject,
            request=msgspec.json.encode(_kept(sent)).decode(),
            notify_url=sent.get("notify_url", ""),
            tokens=(_new_token(product),),
            created_at=now,
            payable_until=_end_of_code(product, order, now),
        )
        self._ledger.save(payment)
        self._news.forge_paid(payment)
        return payment

    def find(self, out_trade_no: str, trade_no: str) -> Trade:
        """The trade, by Alipay's own number first. Raises AlipayRefusal unless it has begun."""
        if not out_trade_no and not trade_no:
            raise invalid("out_trade_no 和 trade_no 不能同时为空")
        if trade_no:
            payment = self._ledger.find_by_ref(KIND, trade_no)
        else:
            payment = self._ledger.find(KIND, out_trade_no)
        if payment is None or payment.scanned_at is None:
            raise business("TRADE_NOT_EXIST", "交易不存在")
        captures = {one.ref: one for one in payment.captures}
        first = payment.captures[0] if payment.captures else None
        return Trade(payment, captures.get(trade_no, first))

    def query(self, sent: Sent) -> QueryAnswer:
        point = read_body(sent.get("biz_content", ""), Point)
        return query_answer(self.find(point.out_trade_no, point.trade_no), self._now())

    def close(self, sent: Sent) -> CloseAnswer:
        """Close an unpaid trade. Raises AlipayRefusal when there is none or it ended."""
        point = read_body(sent.get("biz_content", ""), Point)
        self._close_unscanned(point)
        trade = self.find(point.out_trade_no, point.trade_no)
        status = trade.status(self._now())
        if trade.capture is not None:
            raise business("TRADE_STATUS_ERROR", "交易状态不合法")
        if status == CLOSED:
            raise business("REASON_TRADE_STATUS_INVALID", "交易状态异常")
        if self._faults.of(KIND).close == "refuse":
            raise business("REASON_ILLEGAL_STATUS", "交易状态不正确")
        self._ledger.close(trade.payment, self._now())
        return CloseAnswer(trade_no=trade.number, out_trade_no=trade.payment.number)

    def cancel(self, sent: Sent) -> CancelAnswer:
        """Undo a trade, whatever it takes: what was paid is paid back. Raises AlipayRefusal."""
        point = read_body(sent.get("biz_content", ""), Point)
        self._close_unscanned(point)
        try:
            trade = self.find(point.out_trade_no, point.trade_no)
        except AlipayRefusal as refusal:
            if refusal.body.sub_code != "ACQ.TRADE_NOT_EXIST":
                raise
            return CancelAnswer(out_trade_no=point.out_trade_no)
        payment, now = trade.payment, self._now()
        if now > (trade.capture.paid_at if trade.capture else payment.created_at) + CANCEL_WINDOW:
            raise business("TRADE_CANCEL_TIME_OUT", "超过撤销时间范围")
        status = trade.status(now)
        if status == PAID:
            self._refunds.give_back_all(trade)
        elif status == WAITING:
            self._ledger.close(payment, now)
        return CancelAnswer(
            out_trade_no=payment.number,
            trade_no=trade.number,
            action="close" if trade.capture is None else "refund",
        )

    def scan(self, number: str, at: datetime | None = None) -> Payment:
        """Begin the trade: a buyer scanned the code or opened the cashier. Raises NotPayable."""
        payment = self._ledger.known(KIND, number)
        if payment.scanned_at is not None:
            return payment
        now = at or self._now()
        if payment.closed_at is not None and self._faults.of(KIND).close != "paid_race":
            raise NotPayable("closed")
        if now > payment.payable_until:
            raise NotPayable("expired")
        begun = replace(
            payment,
            scanned_at=now,
            ref=new_trade_no(now),
            payable_until=_end_of_trade(payment.product, kept_of(payment).order, now),
        )
        return self._ledger.save(begun)

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        """Scan if nobody did, take the buyer's money and tell the merchant. Raises NotPayable."""
        payment = self.scan(number, at)
        paid_at = at or self._now()
        capture = Capture(
            # One trade is paid once; what a wallet pays again is another trade.
            ref=new_trade_no(paid_at) if payment.captures else payment.ref,
            amount=payment.amount if amount is None else amount,
            paid_at=paid_at,
        )
        # A close can race the buyer who is typing a password: both sides are told yes.
        raced = self._faults.of(KIND).close == "paid_race"
        payment = self._ledger.pay(KIND, number, capture, though_closed=raced, though_paid=again)
        self._news.tell_paid(payment, capture)
        return payment

    def decline(self, number: str) -> Payment:
        """A refused card ends nothing here: the trade stays payable, and nobody is told."""
        payment = self.scan(number)
        return self._ledger.save(replace(payment, declines=payment.declines + 1))

    def _close_unscanned(self, point: Point) -> None:
        """Whether closing what nobody scanned does anything is disputed, so a fault decides."""
        payment = self._ledger.find(KIND, point.out_trade_no)
        is_unscanned = payment is not None and not payment.scanned_at and not payment.closed_at
        if payment is not None and is_unscanned and self._is_sticky():
            self._ledger.close(payment, self._now())

    def _is_sticky(self) -> bool:
        return self._faults.of(KIND).unscanned_close == "sticky"

    def _place_again(self, known: Payment, product: str, sent: Sent) -> Payment:
        """A repeat of the same order gets the same code, or a fresh one if the old one ended.

        Any other use of the number is refused.
        """
        now = self._now()
        if not _same_order(known, sent):
            raise business("CONTEXT_INCONSISTENT", "交易信息被篡改")
        if known.captures:
            raise business("TRADE_HAS_SUCCESS", "交易已被支付")
        if known.closed_at or (known.scanned_at and now > known.payable_until):
            raise business("TRADE_HAS_CLOSE", "交易已经关闭")
        if now <= known.payable_until:
            return known
        renewed = replace(
            known,
            tokens=(_new_token(product), *known.tokens),
            payable_until=_end_of_code(product, kept_of(known).order, now),
        )
        return self._ledger.save(renewed)

    def _now(self) -> datetime:
        return self._faults.now(KIND)


def _kept(sent: Sent) -> Kept:
    return Kept(sent["method"], sent["biz_content"], sent.get("return_url", ""))


def _same_order(known: Payment, sent: Sent) -> bool:
    kept = kept_of(known)
    return kept.method == sent["method"] and fields_of(kept.body) == fields_of(sent["biz_content"])


def _new_token(product: str) -> str:
    return new_qr_code() if product == "qr" else new_cashier_token()


def _end_of_code(product: str, order: Order, now: datetime) -> datetime:
    """Until when a buyer may begin; `timeout_express` counts only from there.

    Raises AlipayRefusal when an absolute end has passed.
    """
    end = moment(order.time_expire, "time_expire")
    if end is not None and end <= now:
        raise invalid(f"time_expire 应晚于当前时间 {in_beijing(now)}")
    life(order.timeout_express, "timeout_express")
    code_life = life(order.qr_code_timeout_express, "qr_code_timeout_express") or CODE_LIFE
    ends = [end] if end is not None else []
    if product == "qr":
        ends.append(now + code_life)
    return min(ends, default=now + TRADE_LIFE_OTHERS)


def _end_of_trade(product: str, order: Order, begun_at: datetime) -> datetime:
    """Until when a trade that a buyer began may be paid: the absolute end wins."""
    end = moment(order.time_expire, "time_expire")
    if end is not None:
        return end
    otherwise = TRADE_LIFE.get(product, TRADE_LIFE_OTHERS)
    return begun_at + (life(order.timeout_express, "timeout_express") or otherwise)
