"""The bodies that merchants send to WeChat Pay, and the words in which it finds fault with them.

A field is described once, as a row of a table; the checks and their sentences follow from the row.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from gateway.sandbox.wechat_errors import WechatRefusal, field_error

NUMBER = r"^[0-9A-Za-z_\-|*]{6,32}$"
REFUND_NUMBER = r"^[0-9A-Za-z_\-|*@]{1,64}$"
BROKEN_JSON = (msgspec.DecodeError, UnicodeDecodeError)
INT64_MAX = 2**63 - 1


class Text(msgspec.Struct, frozen=True):
    """A string of `least` to `most` characters at a dotted path."""

    path: str
    name: str
    least: int
    most: int
    pattern: str = ""
    required: bool = True


class Whole(msgspec.Struct, frozen=True):
    """A whole number from `least` at a dotted path."""

    path: str
    name: str
    least: int


Field = Text | Whole

ORDER_FIELDS: tuple[Field, ...] = (
    Text("appid", "公众账号ID", 1, 32),
    Text("mchid", "直连商户号", 1, 32),
    Text("description", "商品描述", 1, 127),
    Text("out_trade_no", "商户订单号", 6, 32, NUMBER),
    Text("time_expire", "交易结束时间", 1, 64, required=False),
    Text("attach", "附加数据", 0, 128, required=False),
    Text("notify_url", "通知地址", 1, 255),
    Whole("amount.total", "总金额", 1),
    Text("amount.currency", "货币类型", 1, 16, required=False),
)
PRODUCT_FIELDS: dict[str, tuple[Field, ...]] = {
    "native": (),
    "app": (),
    "jsapi": (Text("payer.openid", "用户标识", 1, 128),),
    "h5": (
        Text("scene_info.payer_client_ip", "用户终端IP", 1, 45),
        Text("scene_info.h5_info.type", "场景类型", 1, 32, r"^(Wap|iOS|Android)$"),
    ),
}
CLOSE_FIELDS: tuple[Field, ...] = (Text("mchid", "直连商户号", 1, 32),)
REFUND_FIELDS: tuple[Field, ...] = (
    Text("transaction_id", "微信支付订单号", 1, 32, required=False),
    Text("out_trade_no", "商户订单号", 6, 32, NUMBER, required=False),
    Text("out_refund_no", "商户退款单号", 1, 64, REFUND_NUMBER),
    Text("reason", "退款原因", 0, 80, required=False),
    Text("notify_url", "退款结果回调url", 8, 256, required=False),
    Whole("amount.refund", "退款金额", 1),
    Whole("amount.total", "原订单金额", 1),
    Text("amount.currency", "退款币种", 1, 16),
)


class OrderAmount(msgspec.Struct, frozen=True):
    total: int
    currency: str = "CNY"


class Payer(msgspec.Struct, frozen=True):
    openid: str = ""


class Prepay(msgspec.Struct, frozen=True):
    """An order as a merchant places it (JSAPI, H5, Native, APP下单)."""

    appid: str
    mchid: str
    description: str
    out_trade_no: str
    notify_url: str
    amount: OrderAmount
    attach: str = ""
    time_expire: str = ""
    payer: Payer = Payer()


class RefundAmount(msgspec.Struct, frozen=True):
    refund: int
    total: int
    currency: str


class RefundRequest(msgspec.Struct, frozen=True):
    """A refund as a merchant asks for it (退款申请)."""

    out_refund_no: str
    amount: RefundAmount
    transaction_id: str = ""
    out_trade_no: str = ""
    reason: str = ""
    notify_url: str = ""


class CloseRequest(msgspec.Struct, frozen=True):
    """关闭订单."""

    mchid: str


Body = TypeVar("Body", Prepay, RefundRequest, CloseRequest)


def read_body(raw: bytes, fields: Sequence[Field], body: type[Body]) -> Body:
    """Check a body field by field and answer it typed. Raises WechatRefusal PARAM_ERROR."""
    try:
        sent = msgspec.json.decode(raw, type=dict[str, object])
    except BROKEN_JSON as error:
        raise WechatRefusal(400, "PARAM_ERROR", "请求体不是合法的JSON对象") from error
    for field in fields:
        value = _at(sent, field.path)
        match field:
            case Text():
                _check_text(field, value)
            case Whole():
                _check_whole(field, value)
    try:
        return msgspec.convert(sent, body)
    except msgspec.ValidationError as error:
        raise WechatRefusal(400, "PARAM_ERROR", f"参数错误：{error}") from error


def number_in(raw: bytes, field: str) -> str:
    """Find the number that a body is about, even in a body that will be refused."""
    try:
        value = msgspec.json.decode(raw, type=dict[str, object]).get(field)
    except BROKEN_JSON:
        return ""
    return value if isinstance(value, str) else ""


def missing(location: str, path: str, name: str) -> WechatRefusal:
    return field_error(
        f"输入源“/{location}/{path}”映射到字段“{name}”必填性规则校验失败，此字段为必填项",
        location,
        f"/{location}/{path}",
        "",
        "required",
    )


def _at(sent: dict[str, object], path: str) -> object:
    """The value at a dotted path, None where the path ends early."""
    value: object = sent
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _check_text(field: Text, value: object) -> None:
    if value is None or value == "":
        if field.required:
            raise missing("body", field.path.replace(".", "/"), field.name)
        return
    where = "/body/" + field.path.replace(".", "/")
    if not isinstance(value, str):
        raise field_error(
            f"无法将 JSON 输入源“{where}”映射到目标字段“{field.name}”中，"
            "此字段需要一个合法的字符串",
            "body",
            where,
            value,
            "not a string",
        )
    fault = ""
    if len(value) < field.least:
        fault = f"字符数 {len(value)}，小于最小值 {field.least}"
    elif len(value) > field.most:
        fault = f"字符数 {len(value)}，大于最大值 {field.most}"
    elif field.pattern and not re.fullmatch(field.pattern, value):
        fault = f"字符串必须匹配正则表达式“{field.pattern}”"
    if fault:
        message = f"输入源“{where}”映射到值字段“{field.name}”字符串规则校验失败，{fault}"
        raise field_error(message, "body", where, value, fault)


def _check_whole(field: Whole, value: object) -> None:
    where = "/body/" + field.path.replace(".", "/")
    if value is None:
        raise missing("body", field.path.replace(".", "/"), field.name)
    if not isinstance(value, int) or isinstance(value, bool) or value > INT64_MAX:
        raise field_error(
            f"无法将 JSON 输入源“{where}”映射到目标字段“{field.name}”中，"
            "此字段需要一个合法的 64 位有符号整数",
            "body",
            where,
            value,
            "not a whole number",
        )
    if value < field.least:
        raise field_error(
            f"输入源“{where}”映射到数值字段“{field.name}”规则校验失败，值低于最小值 {field.least}",
            "body",
            where,
            value,
            f"less than {field.least}",
        )
