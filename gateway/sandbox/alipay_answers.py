"""What Alipay says about trades and refunds, in answers, in notifications and on the way back."""

from datetime import datetime, timedelta, timezone

import msgspec
from msgspec import UNSET, UnsetType

from gateway.sandbox.alipay_crypto import random_digits, random_word
from gateway.sandbox.ledger import Capture, Payment, Refund

BEIJING = timezone(timedelta(hours=8))
REFUND_WINDOW = timedelta(days=365)
CODE_PREFIX = "https://qr.alipay.com/"
BUYER_ID = "2088000000000001"
BUYER = "san***@example.com"
"""Who pays: the sandbox has one wallet."""

WAITING, PAID, CLOSED, FINISHED = (
    "WAIT_BUYER_PAY",
    "TRADE_SUCCESS",
    "TRADE_CLOSED",
    "TRADE_FINISHED",
)


class Trade(msgspec.Struct, frozen=True):
    """A trade as Alipay knows it: it exists from the buyer's scan on, and has its own number."""

    payment: Payment
    capture: Capture | None = None

    @property
    def number(self) -> str:
        return self.payment.ref if self.capture is None else self.capture.ref

    @property
    def refunded(self) -> int:
        """Everything that went back so far, in cents."""
        return sum(one.amount for one in self.payment.refunds if one.capture_ref == self.number)

    def status(self, now: datetime) -> str:
        """A closed trade was either never paid or paid back whole."""
        if self.capture is None:
            ended = self.payment.closed_at is not None or now > self.payment.payable_until
            return CLOSED if ended else WAITING
        if self.refunded == self.capture.amount:
            return CLOSED
        return FINISHED if now > self.capture.paid_at + REFUND_WINDOW else PAID


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """How every good answer begins."""

    code: str = "10000"
    msg: str = "Success"


class BillAnswer(Success, frozen=True, kw_only=True):
    bill_download_url: str


class PrecreateAnswer(Success, frozen=True, kw_only=True):
    out_trade_no: str
    qr_code: str


class Fund(msgspec.Struct, frozen=True):
    """Where money came from; answers and notifications spell the channel differently."""

    amount: str
    fund_channel: str = "ALIPAYACCOUNT"


class NotifiedFund(msgspec.Struct, frozen=True, rename="camel"):
    amount: str
    fund_channel: str = "ALIPAYACCOUNT"


class QueryAnswer(Success, frozen=True, kw_only=True):
    """A trade; before it is paid, the amounts but its total are 0.00."""

    trade_no: str
    out_trade_no: str
    buyer_logon_id: str = BUYER
    buyer_user_id: str = BUYER_ID
    trade_status: str
    total_amount: str
    receipt_amount: str
    buyer_pay_amount: str
    invoice_amount: str
    point_amount: str = "0.00"
    send_pay_date: str | UnsetType = UNSET
    fund_bill_list: tuple[Fund, ...] | UnsetType = UNSET


class CloseAnswer(Success, frozen=True, kw_only=True):
    trade_no: str
    out_trade_no: str


class CancelAnswer(Success, frozen=True, kw_only=True):
    """Without `action` there was no trade to cancel."""

    out_trade_no: str
    retry_flag: str = "N"
    trade_no: str | UnsetType = UNSET
    action: str | UnsetType = UNSET


class RefundAnswer(Success, frozen=True, kw_only=True):
    """`refund_fee` is all that was refunded so far; `fund_change` is about this call alone."""

    trade_no: str
    out_trade_no: str
    buyer_logon_id: str = BUYER
    buyer_user_id: str = BUYER_ID
    fund_change: str
    refund_fee: str
    send_back_fee: str
    gmt_refund_pay: str | UnsetType = UNSET
    refund_detail_item_list: tuple[Fund, ...] | UnsetType = UNSET


class RefundQueryAnswer(Success, frozen=True, kw_only=True):
    """Without `refund_status` no money went back under that request number."""

    trade_no: str | UnsetType = UNSET
    out_trade_no: str | UnsetType = UNSET
    out_request_no: str | UnsetType = UNSET
    total_amount: str | UnsetType = UNSET
    refund_amount: str | UnsetType = UNSET
    refund_status: str | UnsetType = UNSET
    refund_reason: str | UnsetType = UNSET
    gmt_refund_pay: str | UnsetType = UNSET
    send_back_fee: str | UnsetType = UNSET


class CertificateAnswer(Success, frozen=True, kw_only=True):
    alipay_cert_content: str


def query_answer(trade: Trade, now: datetime) -> QueryAnswer:
    payment, capture = trade.payment, trade.capture
    received = yuan(capture.amount if capture else 0)
    return QueryAnswer(
        trade_no=trade.number,
        out_trade_no=payment.number,
        trade_status=trade.status(now),
        total_amount=yuan(capture.amount if capture else payment.amount),
        receipt_amount=received,
        buyer_pay_amount=received,
        invoice_amount=received,
        send_pay_date=in_beijing(capture.paid_at) if capture else UNSET,
        fund_bill_list=(Fund(received),) if capture else UNSET,
    )


def refund_answer(trade: Trade, refund: Refund, *, moved: bool) -> RefundAnswer:
    """What a refund call is answered; `moved` says whether this call moved the money."""
    sent_back = yuan(refund.amount if moved else 0)
    return RefundAnswer(
        trade_no=trade.number,
        out_trade_no=trade.payment.number,
        fund_change="Y" if moved else "N",
        refund_fee=yuan(trade.refunded),
        send_back_fee=sent_back,
        gmt_refund_pay=in_beijing(refund.created_at) if moved else UNSET,
        refund_detail_item_list=(Fund(sent_back),) if moved else UNSET,
    )


def refund_query_answer(trade: Trade, refund: Refund) -> RefundQueryAnswer:
    return RefundQueryAnswer(
        trade_no=trade.number,
        out_trade_no=trade.payment.number,
        out_request_no=refund.number,
        total_amount=yuan(trade.payment.amount),
        refund_amount=yuan(refund.amount),
        refund_status="REFUND_SUCCESS",
        refund_reason=refund.reason or UNSET,
        gmt_refund_pay=in_beijing(refund.created_at),
        send_back_fee=yuan(refund.amount),
    )


def yuan(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def in_beijing(moment: datetime) -> str:
    """Alipay's way of writing times: Beijing's clock, without saying so."""
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def new_trade_no(now: datetime) -> str:
    return f"{now.astimezone(BEIJING):%Y%m%d}22001{random_digits(15)}"


def new_qr_code() -> str:
    return f"{CODE_PREFIX}bax{random_digits(5)}{random_word(16)}"


def new_cashier_token() -> str:
    return f"alipay_cashier_{random_word(24)}"
