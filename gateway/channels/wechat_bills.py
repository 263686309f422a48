"""WeChat Pay's bill of a day (交易账单, all kinds of transaction): where it is and what it says.

Source: the documents "申请交易账单" and "下载账单". The file is text: a header, a line for each
payment and each refund, then a second header with a line of totals. Every value has a backtick
before it and amounts are yuan. Columns are found by their names: there have been others.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from gateway.channels import bills
from gateway.channels.bills import Bill, BillLine, Happened, Row
from gateway.channels.downloads import unpack
from gateway.channels.wechat_codes import sentence_of
from gateway.channels.wechat_connection import Connection
from gateway.channels.wechat_wire import read_body
from gateway.errors import ChannelUnavailable
from gateway.model import RefundState
from gateway.money import Money

_LINK: Final = "/v3/bill/tradebill?bill_date={day}&bill_type=ALL&tar_type=GZIP"

_PAID: Final = "SUCCESS"
_GIVEN_BACK: Final = frozenset({"REFUND", "REVOKED"})  # REVOKED: a till took a payment back
_REFUND_STATES: Final = {
    "SUCCESS": RefundState.DONE,
    "PROCESSING": RefundState.SENT,
    # The buyer's card would not take it: a person finishes it under the same number.
    "CHANGE": RefundState.SENT,
    "FAIL": RefundState.FAILED,
}

_COUNT: Final = "总交易单数"
_SUMS: Final = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
_SHAPES: Final = {
    "交易时间": bills.MOMENT,
    "商户号": bills.NUMBER,
    "微信订单号": bills.NUMBER,
    "商户订单号": bills.NUMBER,
    "交易状态": re.compile(r"[A-Z]{1,32}"),
    "货币种类": re.compile(r"[A-Z]{3}"),
    "微信退款单号": bills.NUMBER_OR_NONE,
    "商户退款单号": bills.NUMBER_OR_NONE,
    "退款状态": re.compile(r"[A-Z]{0,32}"),
    **dict.fromkeys(_SUMS.values(), bills.YUAN),
}
_SOLD: Final = "商品名称"
_NONE: Final = "0"  # what a payment has for the numbers of a refund


class Link(Struct, frozen=True):
    """Where the file is, for five minutes, and its hash when it is unpacked."""

    hash_type: Literal["SHA1"]
    hash_value: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{40}\Z")]
    download_url: Annotated[str, Meta(pattern=r"^https?://[!-~]{1,2000}\Z")]


async def fetch_bill(connection: Connection, mchid: str, day: date) -> Bill:
    """Fetch the bill of a day of Beijing's. Raises BillNotReady or ChannelUnavailable.

    The file itself is not signed; that it is the one that the signed answer meant, its hash says.
    """
    answer = await connection.call("GET", _LINK.format(day=day.isoformat()))
    if answer.status != 200:
        now, code = connection.clock(), answer.refusal.code
        if answer.status == 400 and (code == "STATEMENT_CREATING" or not bills.is_over(day, now)):
            raise bills.not_ready(day, now)
        if answer.status == 400 and code == "NO_STATEMENT_EXIST":
            return bills.made_none(day, now)
        raise ChannelUnavailable(sentence_of(answer))
    link = read_body(answer.body, Link)
    if link is None:
        raise ChannelUnavailable("the answer does not say where the bill is, or its SHA1")
    file = await connection.download(link.download_url)
    if file.status != 200:
        raise ChannelUnavailable(sentence_of(file))
    return await asyncio.to_thread(read_bill, file.body, link.hash_value, mchid, day)


def read_bill(file: bytes, sha1: str, mchid: str, day: date) -> Bill:
    """Return the bill in a file, packed or not. Raises ChannelUnavailable for all other bytes."""
    text = unpack(file) if file.startswith(b"\x1f\x8b") else file
    if hashlib.sha1(text, usedforsecurity=False).hexdigest() != sha1.lower():
        raise ChannelUnavailable("the bill is not the one that was announced: its SHA1 differs")
    try:
        lines = text.decode("utf-8-sig").rstrip("\r\n").split("\n")
    except UnicodeDecodeError:
        raise bills.unreadable("it is not UTF-8") from None
    lines = [line.removesuffix("\r") for line in lines]
    *above, names, stated = lines if len(lines) > 2 else [*lines, "", "", ""]
    table = bills.table_of(_names(above[0]), _SOLD, _SHAPES)
    rows = [table.row(at, _values(line)) for at, line in enumerate(above[1:], start=2)]
    totals = _totals(dict(zip(_names(names), _values(stated), strict=False)))
    counted = {_COUNT: len(rows)}
    counted |= {name: sum(row.amount(of) for row in rows) for name, of in _SUMS.items()}
    bills.compare_totals(totals, counted)
    return Bill(day, tuple(_line(row, mchid) for row in rows), totals)


def _line(row: Row, mchid: str) -> BillLine:
    if row.text("商户号") != mchid:
        raise bills.unreadable(f"line {row.line} is about another 商户号")
    state, currency = row.text("交易状态"), row.text("货币种类")
    number, ref = row.text("商户订单号"), row.text("微信订单号")
    if state == _PAID:
        return BillLine(
            happened=Happened.PAYMENT,
            number=number,
            payment_ref=ref,
            money=Money(row.amount("订单金额"), currency),
            at=row.moment("交易时间"),
            raw_state=state,
            fee=row.amount("手续费"),
        )
    if state not in _GIVEN_BACK:
        raise bills.unreadable(f"line {row.line}: the 交易状态 {state} is not known")
    refunded = row.text("退款状态")
    if refunded not in _REFUND_STATES:
        raise bills.unreadable(f"line {row.line}: the 退款状态 {refunded} is not known")
    return BillLine(
        happened=Happened.REFUND,
        number=number,
        payment_ref=ref,
        money=Money(row.amount("申请退款金额"), currency),
        at=row.moment("交易时间"),
        raw_state=f"{state} {refunded}",
        fee=row.amount("手续费"),
        refund_number=_number(row.text("商户退款单号")),
        refund_ref=_number(row.text("微信退款单号")),
        refund_state=_REFUND_STATES[refunded],
    )


def _totals(stated: Mapping[str, str]) -> dict[str, int]:
    """Read the second table. Its count may be written 45.0."""
    missing = [name for name in (_COUNT, *_SUMS) if name not in stated]
    if missing:
        raise bills.unreadable(f"it ends without {missing[0]}: it may be cut off")
    count, part = divmod(bills.fen(stated[_COUNT]), 100)
    if part:
        raise bills.unreadable(f"{_COUNT} is not a whole number")
    return {_COUNT: count} | {name: bills.fen(stated[name]) for name in _SUMS}


def _names(header: str) -> Sequence[str]:
    return [name.strip().removeprefix("`") for name in header.split(",")]


def _values(line: str) -> Sequence[str]:
    return line.removeprefix("`").split(",`")


def _number(text: str) -> str:
    return "" if text == _NONE else text
