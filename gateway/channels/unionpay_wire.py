"""What UnionPay's ACP 5.1.0 says and hears, as types.

Field names, lengths and values are those of the documents of frontTransReq, appTransReq,
backTransReq, queryTrans and of the back notification. Fields that we neither send nor read are left
out. Money is in fen, times are Beijing's.

A transaction there is not a number: it is merId + orderId + txnTime. The same orderId with another
txnTime is another transaction, which can be paid besides the first. So the time is never read off a
clock: a payment's is in our number, which begins with it, and a refund's is when it was first sent.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway.channels.base import CreateRequest, RefundRequest
from gateway.ids import time_of
from gateway.money import Money

VERSION: Final = "5.1.0"
SIGN_METHOD: Final = "01"  # RSA, with certificates
CURRENCY: Final = "CNY"
CURRENCY_CODE: Final = "156"

_CHINA: Final = timezone(timedelta(hours=8))
_DAY_ENDS_EARLY: Final = timedelta(hours=1)  # a settlement day ends at 23:00
_VOID_LEEWAY: Final = timedelta(minutes=5)

Fields = Mapping[str, str]

# Numbers and references are stored and shown, so nothing but printable ASCII passes for one.
Number = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{8,40}\Z")]
QueryId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{1,32}\Z")]
Code = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{2}\Z")]
Fen = Annotated[str, Meta(pattern=r"^(?=.*[1-9])[0-9]{1,12}\Z")]  # nothing moves no money


class Product(StrEnum):
    """The ways to pay, by the names that our requests have."""

    QR = "qr"
    WAP = "wap"
    PC = "pc"
    APP = "app"


class Path(StrEnum):
    FRONT = "/gateway/api/frontTransReq.do"
    APP = "/gateway/api/appTransReq.do"
    BACK = "/gateway/api/backTransReq.do"
    QUERY = "/gateway/api/queryTrans.do"


class TxnType(StrEnum):
    QUERY = "00"
    PAY = "01"
    REFUND = "04"
    VOID = "31"
    FILE = "76"


class Answer(Struct, frozen=True, rename="camel"):
    """What every answer and every notification says of itself; `resp_code` is about the call."""

    mer_id: str
    order_id: Number
    txn_time: str
    resp_code: Code
    txn_type: str = ""
    resp_msg: str = ""


class QrMade(Struct, frozen=True, rename="camel"):
    qr_code: Annotated[str, Meta(pattern=r"^[!-~]{1,512}\Z")]


class AppMade(Struct, frozen=True):
    tn: Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]


class Moved(Struct, frozen=True, rename="camel"):
    """What was moved; `query_id` is UnionPay's own id of the transaction."""

    query_id: QueryId
    txn_amt: Fen
    currency_code: Annotated[str, Meta(pattern=r"^156\Z")] = CURRENCY_CODE

    @property
    def money(self) -> Money:
        return Money(int(self.txn_amt), CURRENCY)


class Found(Struct, frozen=True, rename="camel"):
    """What a query found: how the transaction stands, beside how the query went."""

    orig_resp_code: Code


class FileAnswer(Struct, frozen=True, rename="camel"):
    """The answer to a call for the file of a settlement day, which is no transaction."""

    mer_id: str
    settle_date: str
    resp_code: Code
    resp_msg: str = ""
    file_content: str = ""


class Identity(Struct, frozen=True):
    """What a transaction of ours is found by."""

    number: str
    txn_time: str

    @property
    def fields(self) -> dict[str, str]:
        return {"orderId": self.number, "txnTime": self.txn_time}


def payment_identity(number: str) -> Identity:
    """Return the one identity that a payment of ours can have."""
    return Identity(number, china_time(time_of(number)))


def refund_identity(number: str, sent_at: datetime) -> Identity:
    return Identity(number, china_time(sent_at))


def payment_fields(request: CreateRequest, product: Product) -> dict[str, str]:
    """Return the fields of all four ways to pay: the same for the same request."""
    fields = {
        "txnType": TxnType.PAY.value,
        "txnSubType": "07" if product is Product.QR else "01",
        "bizType": "000000" if product is Product.QR else "000201",
        "channelType": "07" if product is Product.PC else "08",
        "backUrl": request.notify_url,
        "txnAmt": str(request.money.amount),
        "currencyCode": CURRENCY_CODE,
        # To the second, rounded down: the channel must not take money after our deadline.
        "payTimeout": china_time(request.pay_by),
        **payment_identity(request.number).fields,
    }
    if product in (Product.WAP, Product.PC):
        fields["frontUrl"] = request.return_url
    return fields


def refund_fields(request: RefundRequest, now: datetime) -> dict[str, str]:
    """Return the fields of a void where it serves, and else of a refund.

    A repeat may change from one to the other; it is known by its identity all the same.
    """
    kind = TxnType.VOID if may_void(request, now) else TxnType.REFUND
    return {
        "txnType": kind.value,
        "txnSubType": "00",
        "bizType": "000000",
        "channelType": "08",
        "backUrl": request.notify_url,
        "txnAmt": str(request.money.amount),
        "currencyCode": CURRENCY_CODE,
        "origQryId": request.payment_ref,
        **refund_identity(request.number, request.sent_at).fields,
    }


def query_fields(identity: Identity) -> dict[str, str]:
    return {
        "txnType": TxnType.QUERY.value,
        "txnSubType": "00",
        "bizType": "000000",
        **identity.fields,
    }


def file_fields(day: date, now: datetime) -> dict[str, str]:
    """Ask for the bill of a settlement day, which is named without its year."""
    return {
        "txnType": TxnType.FILE.value,
        "txnSubType": "01",
        "bizType": "000000",
        "txnTime": china_time(now),
        "fileType": "00",
        "settleDate": f"{day:%m%d}",
    }


def may_void(request: RefundRequest, now: datetime) -> bool:
    """Say whether a payment is taken back as if it had never been, which costs no fee.

    All of it, on the settlement day on which it was made. When that was we know in one case: the
    attempt was made on the same day, so the payment was too.
    """
    today = settlement_day(now)
    return (
        request.money == request.total
        and settlement_day(time_of(request.attempt_number)) == today
        and settlement_day(now + _VOID_LEEWAY) == today
    )


def settlement_day(moment: datetime) -> date:
    return (moment.astimezone(_CHINA) + _DAY_ENDS_EARLY).date()


def china_time(moment: datetime) -> str:
    return moment.astimezone(_CHINA).strftime("%Y%m%d%H%M%S")
