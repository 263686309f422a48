"""What WeChat Pay v3 says and hears, as types: a body that does not fit them is not believed.

Field names, lengths and values are those of the documents "Native下单", "H5下单", "JSAPI下单",
"APP下单", "查询订单", "关闭订单", "退款申请", "查询单笔退款", "下载平台证书" and of their
notifications. Fields that we neither send nor read are left out.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.channels.base import CreateRequest, RefundRequest
from gateway.errors import ChannelRefused
from gateway.money import MAX_AMOUNT

_CHINA: Final = timezone(timedelta(hours=8))
_DESCRIPTION_LENGTH: Final = 127
_REASON_LENGTH: Final = 80

Fen = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
Price = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
# Numbers and references are stored and shown, so nothing but printable ASCII passes for one.
Number = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_\-|*@]{1,64}\Z")]
Reference = Annotated[str, Meta(pattern=r"^[!-~]{1,64}\Z")]
# What a buyer's device is handed: it is drawn as a code, put into a page, or signed.
Token = Annotated[str, Meta(pattern=r"^[!-~]{0,512}\Z")]

Body = TypeVar("Body")


class Product(StrEnum):
    """The ways to pay, by the name that the path of the prepay call has."""

    NATIVE = "native"
    H5 = "h5"
    JSAPI = "jsapi"
    APP = "app"


class PrepayAmount(Struct, frozen=True):
    total: int
    currency: str


class Payer(Struct, frozen=True):
    openid: str


class H5Info(Struct, frozen=True):
    type: str


class SceneInfo(Struct, frozen=True):
    payer_client_ip: str
    h5_info: H5Info


class PrepayBody(Struct, frozen=True, omit_defaults=True):
    appid: str
    mchid: str
    description: str
    out_trade_no: str
    time_expire: str
    notify_url: str
    amount: PrepayAmount
    payer: Payer | None = None
    scene_info: SceneInfo | None = None


class PrepayAnswer(Struct, frozen=True):
    """One of the three is there, by product."""

    code_url: Token = ""
    h5_url: Token = ""
    prepay_id: Token = ""


class CloseBody(Struct, frozen=True):
    mchid: str


class TradeState(StrEnum):
    SUCCESS = "SUCCESS"
    REFUND = "REFUND"  # shown after a partial refund too, so it means: was paid
    NOTPAY = "NOTPAY"
    CLOSED = "CLOSED"
    REVOKED = "REVOKED"
    USERPAYING = "USERPAYING"
    PAYERROR = "PAYERROR"


class TradeAmount(Struct, frozen=True):
    total: Price
    currency: Currency = "CNY"


class Trade(Struct, frozen=True):
    """A payment as the query answers it and as the callback carries it."""

    appid: str
    mchid: str
    out_trade_no: Number
    trade_state: TradeState
    transaction_id: Reference | None = None
    amount: TradeAmount | None = None


class RefundAmount(Struct, frozen=True):
    refund: int
    total: int
    currency: str


class RefundBody(Struct, frozen=True, omit_defaults=True):
    out_refund_no: str
    notify_url: str
    amount: RefundAmount
    transaction_id: str = ""
    out_trade_no: str = ""
    reason: str = ""


class RefundStatus(StrEnum):
    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    CLOSED = "CLOSED"
    ABNORMAL = "ABNORMAL"


class RefundedAmount(Struct, frozen=True):
    refund: Fen
    total: Fen
    currency: Currency = "CNY"


class RefundAnswer(Struct, frozen=True):
    """A refund as the API answers it."""

    refund_id: Reference
    out_refund_no: Number
    transaction_id: Reference
    out_trade_no: Number
    status: RefundStatus
    amount: RefundedAmount


class RefundNotice(Struct, frozen=True):
    """A refund as the callback carries it: here its status is named `refund_status`."""

    mchid: str
    refund_id: Reference
    out_refund_no: Number
    refund_status: RefundStatus
    amount: RefundedAmount


class Sealed(Struct, frozen=True):
    """AES-256-GCM text: base64 of ciphertext and tag."""

    algorithm: str
    ciphertext: str
    nonce: str
    associated_data: str = ""


class Notification(Struct, frozen=True):
    id: Reference
    event_type: str
    resource: Sealed


class ListedCertificate(Struct, frozen=True):
    serial_no: str
    encrypt_certificate: Sealed


class CertificateList(Struct, frozen=True):
    data: list[ListedCertificate]


class Refusal(Struct, frozen=True):
    """The body of a 4xx or 5xx. It is not signed."""

    code: str = ""
    message: str = ""


class FailAnswer(Struct, frozen=True):
    """What we answer to a callback that we do not take; WeChat Pay then sends it again."""

    code: str
    message: str


class Answer(Struct, frozen=True):
    """An answer of WeChat Pay as it came off the wire; header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refusal(self) -> Refusal:
        """What a 4xx or 5xx says; nothing at all when it is not WeChat Pay's way of saying it."""
        return read_body(self.body, Refusal) or Refusal()


def read_body(body: bytes, kind: type[Body]) -> Body | None:
    """Return the body as `kind`, or None when it is anything else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def write_prepay(request: CreateRequest, product: Product, mchid: str, appid: str) -> bytes:
    """Return the prepay call's body: the same bytes for the same request, however often.

    Raises ChannelRefused, before anything is sent, where the product needs what the request lacks.
    """
    payer, scene = None, None
    if product is Product.JSAPI:
        if not request.payer:
            raise ChannelRefused("payer_missing", "jsapi needs buyer.openid, the payer's openid")
        payer = Payer(request.payer)
    if product is Product.H5:
        if not request.client_ip:
            raise ChannelRefused("client_ip_missing", "h5 needs buyer.ip, the payer's address")
        scene = SceneInfo(request.client_ip, H5Info(_browser_kind(request.user_agent)))
    return msgspec.json.encode(
        PrepayBody(
            appid=appid,
            mchid=mchid,
            description=request.subject[:_DESCRIPTION_LENGTH],
            out_trade_no=request.number,
            # To the second, rounded down: the channel must not take money after our deadline.
            time_expire=_china_time(request.pay_by),
            notify_url=request.notify_url,
            amount=PrepayAmount(request.money.amount, request.money.currency),
            payer=payer,
            scene_info=scene,
        )
    )


def write_refund(request: RefundRequest) -> bytes:
    """Return the refund call's body: the same bytes for the same request.

    The payment is named by WeChat Pay's own id where we know it, because two payments can have
    arrived under one number of ours. `notify_url` is always sent: without it the notification may
    come in the XML of the protocol before this one.
    """
    return msgspec.json.encode(
        RefundBody(
            out_refund_no=request.number,
            notify_url=request.notify_url,
            amount=RefundAmount(request.money.amount, request.total.amount, request.money.currency),
            transaction_id=request.payment_ref,
            out_trade_no="" if request.payment_ref else request.attempt_number,
            reason=request.reason[:_REASON_LENGTH],
        )
    )


def _browser_kind(user_agent: str) -> str:
    if "iPhone" in user_agent or "iPad" in user_agent:
        return "iOS"
    return "Android" if "Android" in user_agent else "Wap"


def _china_time(moment: datetime) -> str:
    return moment.astimezone(_CHINA).replace(microsecond=0).isoformat()
