"""What Alipay's OpenAPI (v2, the form protocol) says and hears, as types.

Field names, lengths and values are those of the documents of `alipay.trade.precreate`, `.page.pay`,
`.wap.pay`, `.app.pay`, `.query`, `.close`, `.refund`, `.fastpay.refund.query` and of the trade
notification. Fields that we neither send nor read are left out. Money is written in yuan, as text.
"""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.channels.base import CreateRequest, RefundRequest
from gateway.money import Money

CURRENCY: Final = "CNY"  # every amount of this protocol is in it

_CHINA: Final = timezone(timedelta(hours=8))
_SUBJECT_LENGTH: Final = 256
_REASON_LENGTH: Final = 256
# Alipay refuses these in a subject; their full-width twins read the same.
_FORBIDDEN_IN_SUBJECT: Final = str.maketrans("/=&", "／＝＆")

# Ten digits before the point keep the amount below MAX_AMOUNT.
Yuan = Annotated[str, Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,2})?\Z")]
Price = Annotated[str, Meta(pattern=r"^(?=.*[1-9])[0-9]{1,10}(\.[0-9]{1,2})?\Z")]
# Numbers and references are stored and shown, so nothing but printable ASCII passes for one.
Number = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_\-]{1,64}\Z")]
Reference = Annotated[str, Meta(pattern=r"^[!-~]{1,64}\Z")]
NotificationId = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]

Body = TypeVar("Body")


class Product(StrEnum):
    """The ways to pay, by the names that our requests have."""

    PRECREATE = "precreate"
    WAP = "wap"
    PAGE = "page"
    APP = "app"


class Method(StrEnum):
    PRECREATE = "alipay.trade.precreate"
    WAP_PAY = "alipay.trade.wap.pay"
    PAGE_PAY = "alipay.trade.page.pay"
    APP_PAY = "alipay.trade.app.pay"
    QUERY = "alipay.trade.query"
    CLOSE = "alipay.trade.close"
    REFUND = "alipay.trade.refund"
    QUERY_REFUND = "alipay.trade.fastpay.refund.query"
    DOWNLOAD_CERTIFICATE = "alipay.open.app.alipaycert.download"
    BILL = "alipay.data.dataservice.bill.downloadurl.query"


METHODS: Final = {
    Product.PRECREATE: Method.PRECREATE,
    Product.WAP: Method.WAP_PAY,
    Product.PAGE: Method.PAGE_PAY,
    Product.APP: Method.APP_PAY,
}
_PRODUCT_CODES: Final = {
    Product.PRECREATE: "QR_CODE_OFFLINE",
    Product.WAP: "QUICK_WAP_WAY",
    Product.PAGE: "FAST_INSTANT_TRADE_PAY",
    Product.APP: "QUICK_MSECURITY_PAY",
}


class TradeBody(Struct, frozen=True, omit_defaults=True):
    out_trade_no: str
    total_amount: str
    subject: str
    product_code: str
    time_expire: str
    quit_url: str = ""


class NumberBody(Struct, frozen=True):
    out_trade_no: str


class PrecreateAnswer(Struct, frozen=True):
    out_trade_no: Number
    qr_code: Annotated[str, Meta(pattern=r"^[!-~]{0,512}\Z")]


class CloseAnswer(Struct, frozen=True):
    out_trade_no: Number


class TradeStatus(StrEnum):
    WAIT_BUYER_PAY = "WAIT_BUYER_PAY"
    TRADE_SUCCESS = "TRADE_SUCCESS"
    TRADE_FINISHED = "TRADE_FINISHED"  # paid, and past being refunded
    TRADE_CLOSED = "TRADE_CLOSED"  # never paid, or given back in full


class Trade(Struct, frozen=True):
    """A payment as the query answers it and as a notification carries it.

    The query dates the payment in `send_pay_date`, the notification in `gmt_payment`. What was
    given back in all, `refund_fee`, is said by notifications alone.
    """

    out_trade_no: Number
    trade_no: Reference
    trade_status: TradeStatus
    total_amount: Price
    refund_fee: Yuan = "0"
    send_pay_date: str = ""
    gmt_payment: str = ""

    @property
    def was_paid(self) -> bool:
        return bool(self.send_pay_date or self.gmt_payment or Decimal(self.refund_fee))


class RefundBody(Struct, frozen=True, omit_defaults=True):
    out_request_no: str
    refund_amount: str
    trade_no: str = ""
    out_trade_no: str = ""
    refund_reason: str = ""


class RefundAnswer(Struct, frozen=True):
    """`fund_change` is Y when this very call moved money."""

    out_trade_no: Number
    trade_no: Reference
    fund_change: str = ""


class RefundQueryBody(Struct, frozen=True, omit_defaults=True):
    out_request_no: str
    trade_no: str = ""
    out_trade_no: str = ""


class RefundFound(Struct, frozen=True):
    """The answer about a refund; for one that Alipay does not have, nothing is in it."""

    out_request_no: str = ""
    refund_status: str = ""
    refund_amount: Yuan | None = None


class BillBody(Struct, frozen=True):
    bill_type: str
    bill_date: str


class CertificateBody(Struct, frozen=True):
    alipay_cert_sn: str


class CertificateAnswer(Struct, frozen=True):
    """`alipay_cert_content` is the PEM text once more in base64."""

    alipay_cert_content: str


class Notice(Struct, frozen=True):
    """What every notification says of itself."""

    app_id: str
    notify_id: NotificationId
    notify_type: str = ""
    seller_id: str = ""


class Answer(Struct, frozen=True):
    """An answer that Alipay signed: the inner object, as it was signed."""

    body: bytes
    code: str
    sub_code: str
    message: str

    @property
    def good(self) -> bool:
        return self.code == "10000"


def read_body(body: bytes, kind: type[Body]) -> Body | None:
    """Return the body as `kind`, or None when it is anything else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def write_trade(request: CreateRequest, product: Product) -> str:
    """Return the `biz_content` of all four ways to pay: the same text for the same request."""
    return _write(
        TradeBody(
            out_trade_no=request.number,
            total_amount=yuan(request.money),
            subject=request.subject.translate(_FORBIDDEN_IN_SUBJECT)[:_SUBJECT_LENGTH],
            product_code=_PRODUCT_CODES[product],
            # To the second, rounded down: the channel must not take money after our deadline.
            time_expire=china_time(request.pay_by),
            quit_url=request.return_url if product is Product.WAP else "",
        )
    )


def write_number(number: str) -> str:
    return _write(NumberBody(number))


def write_refund(request: RefundRequest) -> str:
    """Return the `biz_content` of a refund: the same text for the same request."""
    return _write(
        RefundBody(
            out_request_no=request.number,
            refund_amount=yuan(request.money),
            trade_no=request.payment_ref,
            out_trade_no="" if request.payment_ref else request.attempt_number,
            refund_reason=request.reason[:_REASON_LENGTH],
        )
    )


def write_refund_query(number: str, attempt_number: str, payment_ref: str) -> str:
    """Ask about a refund; Alipay wants a number of the payment too, its own where we know it."""
    return _write(RefundQueryBody(number, payment_ref, "" if payment_ref else attempt_number))


def write_bill_query(day: date) -> str:
    return _write(BillBody("trade", day.isoformat()))


def write_certificate_query(serial: str) -> str:
    return _write(CertificateBody(serial))


def money_of(amount: str) -> Money:
    """Return an amount in yuan, with at most two decimals, as Money."""
    return Money(int(Decimal(amount).scaleb(2)), CURRENCY)


def yuan(money: Money) -> str:
    return f"{money.decimal():.2f}"


def china_time(moment: datetime) -> str:
    return moment.astimezone(_CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _write(body: Struct) -> str:
    return msgspec.json.encode(body).decode()
