"""WeChat Pay's refusals: an HTTP status, a code and the sentence that merchants search for."""

import msgspec
from aiohttp import web

ERRORS = {
    401: ("SIGN_ERROR", "签名错误"),
    403: ("RULE_LIMIT", "业务规则限制"),
    404: ("RESOURCE_NOT_EXISTS", "查询的资源不存在"),
    429: ("FREQUENCY_LIMITED", "频率超限"),
    502: ("SERVICE_UNAVAILABLE", "服务不可用，请稍后重试"),
    503: ("SERVICE_UNAVAILABLE", "服务不可用，请稍后重试"),
    504: ("SERVICE_UNAVAILABLE", "服务不可用，请稍后重试"),
}
CLIENT_ERROR = ("INVALID_REQUEST", "无效请求")
SERVER_ERROR = ("SYSTEM_ERROR", "系统异常，请稍后重试")


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where in the request the trouble is, as a JSON pointer that starts with its location."""

    location: str
    field: str
    value: object = None
    issue: str = ""


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every refusal."""

    code: str
    message: str
    detail: Detail | None = None


class WechatRefusal(Exception):
    """The channel says no; the call had no effect."""

    def __init__(self, status: int, code: str, message: str, detail: Detail | None = None) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.body = ErrorBody(code, message, detail)

    def response(self) -> web.Response:
        """The answer on the wire; refusals carry no signature."""
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.body),
            content_type="application/json",
            charset="utf-8",
        )


def sign_error(message: str) -> WechatRefusal:
    return WechatRefusal(401, "SIGN_ERROR", message)


def field_error(
    message: str, location: str, field: str, value: object = None, issue: str = ""
) -> WechatRefusal:
    return WechatRefusal(400, "PARAM_ERROR", message, Detail(location, field, value, issue))


def broken(status: int) -> WechatRefusal:
    """What WeChat Pay says with a status when the fault is on its side, or the limit is hit."""
    otherwise = CLIENT_ERROR if status < 500 else SERVER_ERROR
    code, message = ERRORS.get(status, otherwise)
    return WechatRefusal(status, code, message)
