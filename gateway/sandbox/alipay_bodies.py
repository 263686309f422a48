"""What merchants put into `biz_content`, and the words in which Alipay finds fault with it."""

import re
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from gateway.sandbox.alipay_answers import BEIJING
from gateway.sandbox.alipay_errors import AlipayRefusal, invalid
from gateway.sandbox.ledger import Payment

NUMBER = re.compile(r"[A-Za-z0-9_]{1,64}")
AMOUNT = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?")
SUBJECT = re.compile(r"[^/=&]{1,256}")
LIFE = re.compile(r"([1-9][0-9]{0,4})([mhd])")
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST_LIFE = timedelta(days=15)
MOST = 100_000_000_00
PRODUCT_CODES = {
    "qr": ("", "QR_CODE_OFFLINE", "FACE_TO_FACE_PAYMENT", "OFFLINE_PAYMENT"),
    "page": ("FAST_INSTANT_TRADE_PAY",),
    # The second is an old slip that libraries still send and the real one lets pass.
    "wap": ("QUICK_WAP_WAY", "QUICK_WAP_PAY"),
    "app": ("", "QUICK_MSECURITY_PAY"),
}

# Numbers stay as they were written: 0.10 is an amount, and 0.1 is another text.
_JSON = msgspec.json.Decoder(dict[str, object], float_hook=str)


class Order(msgspec.Struct, frozen=True):
    """统一收单线下交易预创建, 电脑网站支付, 手机网站支付, APP支付."""

    out_trade_no: str = ""
    total_amount: str = ""
    subject: str = ""
    product_code: str = ""
    time_expire: str = ""
    timeout_express: str = ""
    qr_code_timeout_express: str = ""
    body: str = ""
    passback_params: str = ""
    quit_url: str = ""


class Kept(msgspec.Struct, frozen=True):
    """What is remembered of the request that wanted a trade; `body` is its biz_content."""

    method: str
    body: str
    return_url: str

    @property
    def order(self) -> Order:
        return read_body(self.body, Order)


class Point(msgspec.Struct, frozen=True):
    """交易查询, 交易关闭, 交易撤销: one trade, by either number."""

    out_trade_no: str = ""
    trade_no: str = ""


class RefundRequest(msgspec.Struct, frozen=True):
    """交易退款."""

    out_trade_no: str = ""
    trade_no: str = ""
    refund_amount: str = ""
    out_request_no: str = ""
    refund_reason: str = ""


class RefundPoint(msgspec.Struct, frozen=True):
    """交易退款查询."""

    out_trade_no: str = ""
    trade_no: str = ""
    out_request_no: str = ""


class CertificateRequest(msgspec.Struct, frozen=True):
    """应用支付宝公钥证书下载."""

    alipay_cert_sn: str = ""


class BillRequest(msgspec.Struct, frozen=True):
    """查询对账单下载地址."""

    bill_type: str = ""
    bill_date: str = ""


Body = TypeVar("Body", Order, Point, RefundRequest, RefundPoint, CertificateRequest, BillRequest)


def read_body(biz_content: str, body: type[Body]) -> Body:
    """Answer `biz_content` typed; what it means is checked by who uses it. Raises AlipayRefusal."""
    if not biz_content:
        raise AlipayRefusal("40001", "isv.missing-parameter", "缺少必选参数：biz_content")
    try:
        return msgspec.convert(fields_of(biz_content), body)
    except (msgspec.DecodeError, ValueError) as error:
        raise AlipayRefusal("40002", "isv.invalid-parameter", f"参数无效：{error}") from error


def kept_of(payment: Payment) -> Kept:
    """The request that wanted this trade."""
    return msgspec.json.decode(payment.request, type=Kept)


def fields_of(biz_content: str) -> dict[str, object]:
    """The members of a body, where a number says the same as its text. Raises DecodeError."""
    return {
        name: str(value) if isinstance(value, int) else value
        for name, value in _JSON.decode(biz_content).items()
        if value is not None
    }


def number_in(biz_content: str, *names: str) -> str:
    """Find the number that a body is about, even in a body that will be refused."""
    try:
        fields = fields_of(biz_content)
    except (msgspec.DecodeError, ValueError):
        return ""
    found = (value for name in names if isinstance(value := fields.get(name), str) and value)
    return next(found, "")


def check_order(product: str, order: Order) -> None:
    """Check an order's fields, not yet its times. Raises AlipayRefusal."""
    if not NUMBER.fullmatch(order.out_trade_no):
        raise invalid("out_trade_no 应为1到64位的字母、数字或下划线")
    if not SUBJECT.fullmatch(order.subject):
        raise invalid("subject 不能为空、不能超过256个字符，且不能含有 / = &")
    if order.product_code not in PRODUCT_CODES[product]:
        raise invalid(f"product_code 应为 {PRODUCT_CODES[product][-1]}")
    in_cents(order.total_amount, "total_amount")
    if product == "wap" and len(order.quit_url) > 400:
        raise invalid("quit_url 过长")


def in_cents(amount: str, name: str) -> int:
    """Yuan with at most two places, as cents. Raises AlipayRefusal."""
    if AMOUNT.fullmatch(amount):
        yuan, _, rest = amount.partition(".")
        cents = int(yuan) * 100 + int(rest.ljust(2, "0") or "0")
        if 0 < cents <= MOST:
            return cents
    raise invalid(f"{name} 应在 0.01 到 100000000 元之间，最多两位小数")


def moment(text: str, name: str) -> datetime | None:
    """A point in time in Beijing, None when it was not sent. Raises AlipayRefusal."""
    if not text:
        return None
    for shape in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"):
        try:
            return datetime.strptime(text, shape).replace(tzinfo=BEIJING)
        except ValueError:
            continue
    raise invalid(f"{name} 格式应为 yyyy-MM-dd HH:mm:ss")


def life(text: str, name: str) -> timedelta | None:
    """A length of time such as 90m, None when it was not sent. Raises AlipayRefusal."""
    if not text:
        return None
    found = LIFE.fullmatch(text)
    wanted = int(found[1]) * UNITS[found[2]] if found else timedelta()
    if timedelta() < wanted <= LONGEST_LIFE:
        return wanted
    raise invalid(f"{name} 取值范围为 1m～15d，不接受小数")
