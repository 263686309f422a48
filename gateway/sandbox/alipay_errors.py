"""Alipay's refusals: a code, its sentence, and the sub-code that merchants search for."""

import msgspec

MESSAGES = {
    "20000": "Service Currently Unavailable",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40003": "Insufficient Conditions",
    "40004": "Business Failed",
    "40005": "Call Limited",
    "40006": "Insufficient Permissions",
}
UNKNOWN_OUTCOME = ("aop.unknow-error", "isp.unknow-error")
"""Spelled as Alipay spells them. Whether the call had an effect is anybody's guess."""


class Refusal(msgspec.Struct, frozen=True):
    """The body of every refusal."""

    code: str
    msg: str
    sub_code: str
    sub_msg: str


class AlipayRefusal(Exception):
    """The channel says no to a merchant it knows; the answer is signed."""

    def __init__(self, code: str, sub_code: str, sub_msg: str) -> None:
        super().__init__(f"{code} {sub_code} {sub_msg}")
        self.body = Refusal(code, MESSAGES[code], sub_code, sub_msg)


class NotAdmitted(AlipayRefusal):
    """The gateway itself says no, before it knows who calls; the answer is not signed."""


def business(sub_code: str, sub_msg: str) -> AlipayRefusal:
    return AlipayRefusal("40004", f"ACQ.{sub_code}", sub_msg)


def invalid(what: str) -> AlipayRefusal:
    return business("INVALID_PARAMETER", f"参数无效：{what}")


def worded(sub_code: str) -> AlipayRefusal:
    """The refusal that goes with a sub-code which a fault asks for."""
    if sub_code in UNKNOWN_OUTCOME:
        return AlipayRefusal("20000", sub_code, "系统繁忙，请稍后重试")
    if sub_code.startswith("ACQ."):
        return AlipayRefusal("40004", sub_code, "系统错误")
    if sub_code.startswith("isv.app-call-limited"):
        return AlipayRefusal("40005", sub_code, "应用调用次数超限")
    return AlipayRefusal("40002", sub_code, "参数无效")
