"""What WeChat Pay says about orders and refunds, in answers and, encrypted, in callbacks."""

from datetime import datetime, timedelta, timezone

import msgspec
from msgspec import UNSET, UnsetType

from gateway.sandbox.ledger import Capture, Payment, Refund, RefundState
from gateway.sandbox.wechat_bodies import Payer, Prepay
from gateway.sandbox.wechat_crypto import Encrypted, random_digits, random_text

BEIJING = timezone(timedelta(hours=8))
UNPAID_LIFE = timedelta(days=7)
WALLET_OPENID = "oSandboxWallet00000000000001"
"""Who pays when the order did not say: the sandbox has one wallet."""

TRADE_TYPES = {"native": "NATIVE", "jsapi": "JSAPI", "app": "APP", "h5": "MWEB"}
STATE_WORDS = {
    "NOTPAY": "订单未支付",
    "SUCCESS": "支付成功",
    "REFUND": "订单发生过退款，退款详情请查询退款单",
    "CLOSED": "订单已关闭",
}
REFUND_STATUS = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.DONE: "SUCCESS",
    RefundState.CLOSED: "CLOSED",
    RefundState.ABNORMAL: "ABNORMAL",
}


class NativeAnswer(msgspec.Struct, frozen=True):
    code_url: str


class PrepayAnswer(msgspec.Struct, frozen=True):
    prepay_id: str


class H5Answer(msgspec.Struct, frozen=True):
    h5_url: str


class TransactionAmount(msgspec.Struct, frozen=True):
    total: int
    payer_total: int
    currency: str
    payer_currency: str


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """An order as queries answer it and as TRANSACTION.SUCCESS carries it."""

    appid: str
    mchid: str
    out_trade_no: str
    trade_type: str
    trade_state: str
    trade_state_desc: str
    attach: str | UnsetType = UNSET
    transaction_id: str | UnsetType = UNSET
    bank_type: str | UnsetType = UNSET
    success_time: str | UnsetType = UNSET
    payer: Payer | UnsetType = UNSET
    amount: TransactionAmount | UnsetType = UNSET


class RefundAmounts(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    refund: int
    payer_total: int
    payer_refund: int
    settlement_refund: int | UnsetType = UNSET
    settlement_total: int | UnsetType = UNSET
    discount_refund: int | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class RefundAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as the API answers it."""

    refund_id: str
    out_refund_no: str
    transaction_id: str
    out_trade_no: str
    channel: str
    user_received_account: str
    create_time: str
    status: str
    funds_account: str
    amount: RefundAmounts
    success_time: str | UnsetType = UNSET


class RefundNews(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as its callback carries it: here the state is called `refund_status`."""

    mchid: str
    transaction_id: str
    out_trade_no: str
    refund_id: str
    out_refund_no: str
    refund_status: str
    user_received_account: str
    amount: RefundAmounts
    success_time: str | UnsetType = UNSET


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every callback."""

    id: str
    create_time: str
    event_type: str
    summary: str
    resource: Encrypted
    resource_type: str = "encrypt-resource"


class CertificateEntry(msgspec.Struct, frozen=True):
    serial_no: str
    effective_time: str
    expire_time: str
    encrypt_certificate: Encrypted


class CertificatesAnswer(msgspec.Struct, frozen=True):
    data: tuple[CertificateEntry, ...]


def trade_state(payment: Payment, now: datetime) -> str:
    """An order's state; any refund, even a partial one, shows as REFUND."""
    if payment.captures:
        return "REFUND" if payment.refunds else "SUCCESS"
    closed = payment.closed_at is not None or now >= payment.created_at + UNPAID_LIFE
    return "CLOSED" if closed else "NOTPAY"


def transaction(payment: Payment, now: datetime, capture: Capture | None = None) -> Transaction:
    """Describe an order; while it is unpaid it has neither a payment id nor an amount."""
    order = msgspec.json.decode(payment.request, type=Prepay)
    state = trade_state(payment, now)
    answer = Transaction(
        appid=order.appid,
        mchid=order.mchid,
        out_trade_no=payment.number,
        trade_type=TRADE_TYPES[payment.product],
        trade_state=state,
        trade_state_desc=STATE_WORDS[state],
        attach=order.attach or UNSET,
    )
    capture = capture or (payment.captures[0] if payment.captures else None)
    if capture is None:
        return answer
    return msgspec.structs.replace(
        answer,
        transaction_id=capture.ref,
        bank_type="OTHERS",
        success_time=in_beijing(capture.paid_at),
        payer=Payer(order.payer.openid or WALLET_OPENID),
        amount=TransactionAmount(
            capture.amount, capture.amount, payment.currency, payment.currency
        ),
    )


def refund_answer(payment: Payment, refund: Refund) -> RefundAnswer:
    return RefundAnswer(
        refund_id=refund.ref,
        out_refund_no=refund.number,
        transaction_id=refund.capture_ref,
        out_trade_no=payment.number,
        channel="ORIGINAL",
        user_received_account="支付用户零钱",
        create_time=in_beijing(refund.created_at),
        status=REFUND_STATUS[refund.state],
        funds_account="AVAILABLE",
        amount=RefundAmounts(
            total=payment.amount,
            refund=refund.amount,
            payer_total=payment.amount,
            payer_refund=refund.amount,
            settlement_refund=refund.amount,
            settlement_total=payment.amount,
            discount_refund=0,
            currency=payment.currency,
        ),
        success_time=_success_time(refund),
    )


def refund_news(mchid: str, payment: Payment, refund: Refund) -> RefundNews:
    return RefundNews(
        mchid=mchid,
        transaction_id=refund.capture_ref,
        out_trade_no=payment.number,
        refund_id=refund.ref,
        out_refund_no=refund.number,
        refund_status=REFUND_STATUS[refund.state],
        user_received_account="支付用户零钱",
        amount=RefundAmounts(
            total=payment.amount,
            refund=refund.amount,
            payer_total=payment.amount,
            payer_refund=refund.amount,
        ),
        success_time=_success_time(refund),
    )


def in_beijing(moment: datetime) -> str:
    """WeChat Pay's way of writing times, e.g. 2018-06-08T10:34:56+08:00."""
    return moment.astimezone(BEIJING).isoformat(timespec="seconds")


def beijing_day(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime("%Y%m%d")


def new_transaction_id(now: datetime) -> str:
    return f"420000{random_digits(4)}{beijing_day(now)}{random_digits(10)}"


def new_refund_id(now: datetime) -> str:
    return f"503{random_digits(8)}{beijing_day(now)}{random_digits(10)}"


def new_prepay_id(now: datetime) -> str:
    return f"wx{now.astimezone(BEIJING):%Y%m%d%H%M%S}{random_text(20).lower()}"


def new_code_url() -> str:
    return f"weixin://wxpay/bizpayurl?pr={random_text(7)}zz"


def _success_time(refund: Refund) -> str | UnsetType:
    if refund.state is RefundState.DONE and refund.ended_at is not None:
        return in_beijing(refund.ended_at)
    return UNSET
