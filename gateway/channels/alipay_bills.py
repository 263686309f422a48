"""Alipay's bill of a day (业务明细): where it is and what it says.

Source: the document of `alipay.data.dataservice.bill.downloadurl.query`. The file is a zip archive
with two tables in GBK, one with a line for each payment and each refund, one with their sums by
shop. Around both stand comments, which say whose bill of which day it is, and what it comes to.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway.channels import bills
from gateway.channels.alipay_codes import nothing_known
from gateway.channels.alipay_connection import Connection
from gateway.channels.alipay_wire import CURRENCY, Method, read_body, write_bill_query
from gateway.channels.bills import Bill, BillLine, Happened, Row
from gateway.channels.downloads import unzip
from gateway.errors import ChannelUnavailable
from gateway.model import RefundState
from gateway.money import Money

# The sub-code as the real gateway was seen to spell it; its document has another.
_NO_BILL: Final = "isp.bill_not_exist"
_WRONG_DAY: Final = frozenset({"isv.invalid_arguments", "invalid_arguments"})

_PAID, _GIVEN_BACK = "交易", "退款"
_DETAILS, _SUMS = "支付宝交易号", "门店编号"  # the first column of each table
_TOTAL: Final = "合计"
_SOLD: Final = "商品名称"
_AMOUNT, _RECEIVED, _FEE = "订单金额（元）", "商家实收（元）", "服务费（元）"
_SHAPES: Final = {
    _DETAILS: bills.NUMBER,
    "商户订单号": bills.NUMBER_OR_NONE,
    "业务类型": re.compile(rf"{_PAID}|{_GIVEN_BACK}"),
    "创建时间": bills.MOMENT,
    "完成时间": bills.MOMENT,
    _AMOUNT: bills.YUAN,
    _RECEIVED: bills.YUAN,
    "退款批次号/请求号": bills.NUMBER_OR_NONE,
    _FEE: bills.YUAN,
}
_STATED: Final = (
    re.compile(r"#交易合计：(?P<交易>[0-9]{1,9})笔，商家实收共(?P<商家实收>-?[0-9.]{1,16})元"),
    re.compile(
        r"#退款合计：(?P<退款>[0-9]{1,9})笔，商家实收退款共(?P<商家实收退款>-?[0-9.]{1,16})元"
    ),
)
_PAYMENTS, _REFUNDS = "交易订单总笔数", "退款订单总笔数"


class Link(Struct, frozen=True):
    """Where the file is, for thirty seconds."""

    bill_download_url: Annotated[str, Meta(pattern=r"^https?://[!-~]{1,2000}\Z")]


async def fetch_bill(connection: Connection, seller_id: str, day: date) -> Bill:
    """Fetch the bill of a day of Beijing's. Raises BillNotReady or ChannelUnavailable."""
    answer = await connection.call(Method.BILL, write_bill_query(day))
    if not answer.good:
        now = connection.clock()
        if answer.sub_code in _WRONG_DAY and not bills.is_over(day, now):
            raise bills.not_ready(day, now)
        if answer.sub_code == _NO_BILL:
            return bills.made_none(day, now)
        raise nothing_known(answer)
    link = read_body(answer.body, Link)
    if link is None:
        raise ChannelUnavailable("the answer does not say where the bill is")
    file = await connection.download(link.bill_download_url)
    return await asyncio.to_thread(read_bill, file, seller_id, day)


def read_bill(archive: bytes, seller_id: str, day: date) -> Bill:
    """Return the bill in an archive. Raises ChannelUnavailable for all other bytes.

    The files are told apart by what is in them: their names are GBK, and there have been others.
    `seller_id` may be empty, and is then not compared.
    """
    texts = [_lines(file) for file in unzip(archive).values()]
    details = [lines for lines in texts if _begins(lines, _DETAILS)]
    if len(details) != 1:
        raise bills.unreadable("the archive does not have one table of transactions")
    above, rows, below = _apart(details[0], _DETAILS)
    _check_comments(above, seller_id, day)
    lines = tuple(map(_line, rows))
    counted = _counted(rows)
    totals = _stated(below)
    bills.compare_totals(totals, counted)
    for sums in texts:
        if _begins(sums, _SUMS):
            bills.compare_totals(_summed(sums), counted)
    return Bill(day, lines, totals)


def _line(row: Row) -> BillLine:
    amount, fee = row.amount(_AMOUNT), abs(row.amount(_FEE))
    number, ref = row.text("商户订单号"), row.text(_DETAILS)
    kind, at = row.text("业务类型"), row.moment("完成时间")
    if (kind == _PAID) != (amount > 0):
        raise bills.unreadable(f"line {row.line}: {_AMOUNT} has the wrong sign for {kind}")
    if kind == _PAID:
        return BillLine(
            happened=Happened.PAYMENT,
            number=number,
            payment_ref=ref,
            money=Money(amount, CURRENCY),
            at=at,
            raw_state=kind,
            fee=fee,
        )
    return BillLine(
        happened=Happened.REFUND,
        number=number,
        payment_ref=ref,
        money=Money(-amount, CURRENCY),
        at=at,
        raw_state=kind,
        fee=-fee,
        refund_number=row.text("退款批次号/请求号"),
        refund_state=RefundState.DONE,  # what is only asked for is not on it
    )


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    """Return what both tables state, as the lines come to it."""
    paid = [row for row in rows if row.text("业务类型") == _PAID]
    back = [row for row in rows if row.text("业务类型") == _GIVEN_BACK]
    return {
        _PAID: len(paid),
        _GIVEN_BACK: len(back),
        "商家实收": sum(row.amount(_RECEIVED) for row in paid),
        "商家实收退款": sum(row.amount(_RECEIVED) for row in back),
        _PAYMENTS: len(paid),
        _REFUNDS: len(back),
        _AMOUNT: sum(row.amount(_AMOUNT) for row in rows),
        _RECEIVED: sum(row.amount(_RECEIVED) for row in rows),
        _FEE: sum(row.amount(_FEE) for row in rows),
    }


def _stated(comments: Iterable[str]) -> dict[str, int]:
    """Read the totals below the transactions."""
    text = "\n".join(comments)
    totals: dict[str, int] = {}
    for pattern in _STATED:
        found = pattern.search(text)
        if found is None:
            raise bills.unreadable("it ends without its totals: it may be cut off")
        count, sum_of = found.groupdict().items()
        totals |= {count[0]: int(count[1]), sum_of[0]: bills.fen(sum_of[1])}
    return totals


def _summed(lines: Sequence[str]) -> dict[str, int]:
    """Read the last row of the table of sums, as far as it says what the lines say too."""
    header = _split(next(line for line in lines if line.startswith(_SUMS)))
    total = next((_split(line) for line in lines if line.startswith(_TOTAL)), None)
    if total is None or len(total) != len(header):
        raise bills.unreadable(f"the table of sums has no row {_TOTAL}, or one of another length")
    fields: Mapping[str, str] = dict(zip(header, total, strict=True))
    counts = {name: fields[name] for name in (_PAYMENTS, _REFUNDS) if name in fields}
    if not all(re.fullmatch(r"[0-9]{1,9}", text) for text in counts.values()):
        raise bills.unreadable(f"in the row {_TOTAL} a count is not a number")
    sums = {n: bills.fen(fields[n]) for n in (_AMOUNT, _RECEIVED, _FEE) if n in fields}
    return {name: int(text) for name, text in counts.items()} | sums


def _apart(lines: Sequence[str], header: str) -> tuple[Sequence[str], list[Row], Sequence[str]]:
    """Part a file into the comments above its table, the rows, and the comments below."""
    start = next(at for at, line in enumerate(lines) if line.startswith(header))
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("#")), None)
    if end is None:
        raise bills.unreadable("its table does not end: it may be cut off")
    table = bills.table_of(_split(lines[start]), _SOLD, _SHAPES)
    rows = [table.row(at + 1, _split(lines[at])) for at in range(start + 1, end)]
    return lines[:start], rows, lines[end:]


def _check_comments(comments: Iterable[str], seller_id: str, day: date) -> None:
    text = "\n".join(comments)
    if f"起始日期：[{day:%Y年%m月%d日}" not in text:
        raise ChannelUnavailable("the bill is of another day")
    if f"账号：[{seller_id}" not in text:
        raise ChannelUnavailable("the bill is of another seller_id")


def _begins(lines: Sequence[str], header: str) -> bool:
    return any(line.startswith(f"{header},") for line in lines)


def _lines(file: bytes) -> list[str]:
    try:
        return [line.removesuffix("\r") for line in file.decode("gb18030").split("\n")]
    except UnicodeDecodeError:
        raise bills.unreadable("it is not GBK") from None


def _split(line: str) -> list[str]:
    """Texts have a tab behind them, which keeps spreadsheets from taking them for numbers."""
    return [part.strip("\t ") for part in line.split(",")]
