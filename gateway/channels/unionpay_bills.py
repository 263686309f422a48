"""UnionPay's bill of a day (对账文件): asked for by a signed call, and inside the signed answer.

Source: the documents of 文件传输类交易 and "平台接入接口规范 第3部分 文件接口", 6.1, for what the
ZM file has; its widths are those of `parseZMFile` in the samples that UnionPay gives merchants. A
line has fixed columns, in bytes of GBK, with a space between two; amounts are fen, and C or D says
whether the merchant is credited or debited. Totals there are none: the lines themselves are signed.
Disputes, in the ZME file beside it, are not read.

A refund names the payment by UnionPay's id alone, so its line has no `number`.
"""

import asyncio
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from gateway.channels import bills
from gateway.channels.bills import BEIJING, Bill, BillLine, Happened
from gateway.channels.downloads import unpack, unzip
from gateway.channels.unionpay_codes import ACCEPTED, NO_FILE, sentence_of
from gateway.channels.unionpay_connection import Connection
from gateway.channels.unionpay_wire import CURRENCY, TxnType, file_fields, settlement_day
from gateway.errors import ChannelUnavailable
from gateway.model import RefundState
from gateway.money import Money

_DETAILS: Final = "ZM_"  # in the name of the file; of the disputes it is ZME_
_OLDEST: Final = timedelta(days=300)

# Up to the last column that is read; fourteen more follow.
_WIDTHS: Final = {
    "交易代码": 3,
    "代理机构标识码": 11,
    "发送机构标识码": 11,
    "系统跟踪号": 6,
    "交易传输时间": 10,
    "帐号": 19,
    "交易金额": 12,
    "商户类别": 4,
    "终端类型": 2,
    "查询流水号": 21,
    "支付方式（旧）": 2,
    "商户订单号": 32,
    "支付卡类型": 2,
    "原始交易的系统跟踪号": 6,
    "原始交易日期时间": 10,
    "商户手续费": 13,
    "结算金额": 13,
    "支付方式": 4,
    "集团商户代码": 15,
    "交易类型": 2,
    "交易子类": 2,
    "业务类型": 6,
    "帐号类型": 2,
    "账单类型": 4,
    "账单号码": 32,
    "交互方式": 1,
    "原交易查询流水号": 21,
    "商户代码": 15,
}
_CREDIT_OR_DEBIT: Final = re.compile(r"[CD][0-9]{12}")
_SHAPES: Final = {
    "交易传输时间": re.compile(r"[0-9]{10}"),
    "交易金额": re.compile(r"[0-9]{12}"),
    "查询流水号": re.compile(r"[0-9A-Za-z]{1,21}"),
    "商户订单号": bills.NUMBER_OR_NONE,
    "商户手续费": _CREDIT_OR_DEBIT,
    "结算金额": _CREDIT_OR_DEBIT,
    "交易类型": re.compile(r"[0-9]{2}"),
    "原交易查询流水号": re.compile(r"[0-9A-Za-z]{0,21}"),
}
_HAPPENED: Final = {
    TxnType.PAY.value: Happened.PAYMENT,
    TxnType.REFUND.value: Happened.REFUND,
    TxnType.VOID.value: Happened.REFUND,
}


async def fetch_bill(connection: Connection, mer_id: str, day: date) -> Bill:
    """Fetch the bill of a settlement day. Raises BillNotReady or ChannelUnavailable."""
    now = connection.clock()
    if settlement_day(now) - day > _OLDEST:
        raise ChannelUnavailable(
            f"UnionPay names a day without its year; ask for one of the last {_OLDEST.days} days"
        )
    answer = await connection.fetch_file(file_fields(day, now))
    if answer.resp_code == NO_FILE:
        return bills.made_none(day, now)
    if answer.resp_code != ACCEPTED:
        raise ChannelUnavailable(sentence_of(answer))
    return await asyncio.to_thread(read_bill, answer.file_content, mer_id, day)


def read_bill(content: str, mer_id: str, day: date) -> Bill:
    """Return the bill in `fileContent`. Raises ChannelUnavailable for every other text."""
    try:
        packed = b64decode(content, validate=True)
    except ValueError:
        raise bills.unreadable("it is not base64") from None
    files = unzip(unpack(packed))
    details = [text for name, text in files.items() if _DETAILS in name]
    if len(details) != 1:
        raise bills.unreadable("the archive does not have one ZM file")
    rows = enumerate(details[0].split(b"\n"), start=1)
    return Bill(
        day,
        tuple(
            _line(at, row.removesuffix(b"\r"), mer_id, day)
            for at, row in rows
            if row.strip(b"\r\x1a")
        ),
    )


def _line(at: int, row: bytes, mer_id: str, day: date) -> BillLine:
    fields = dict(_columns(at, row))
    for name, shape in _SHAPES.items():
        if not shape.fullmatch(fields[name]):
            raise bills.unreadable(f"line {at}: check {name}")
    if fields["商户代码"] != mer_id:
        raise bills.unreadable(f"line {at} is about another 商户代码")
    money = Money(int(fields["交易金额"]), CURRENCY)
    moment = _moment(at, fields["交易传输时间"], day)
    if _happened(fields) is Happened.PAYMENT:
        return BillLine(
            happened=Happened.PAYMENT,
            number=fields["商户订单号"],
            payment_ref=fields["查询流水号"],
            money=money,
            at=moment,
            raw_state=fields["交易类型"],
            fee=_fee(fields),
        )
    return BillLine(
        happened=Happened.REFUND,
        number="",
        payment_ref=fields["原交易查询流水号"],
        money=money,
        at=moment,
        raw_state=fields["交易类型"],
        fee=_fee(fields),
        refund_number=fields["商户订单号"],
        refund_ref=fields["查询流水号"],
        refund_state=RefundState.DONE,  # what is not settled is not on it
    )


def _columns(at: int, row: bytes) -> Iterator[tuple[str, str]]:
    start = 0
    for name, width in _WIDTHS.items():
        end = start + width
        if len(row) < end or row[end : end + 1] not in (b" ", b""):
            raise bills.unreadable(f"line {at} does not have the columns of a ZM file")
        yield name, row[start:end].decode("gb18030", "replace").strip(" ")
        start = end + 1


def _happened(fields: Mapping[str, str]) -> Happened:
    """Say what a line is. Of kinds that are other systems' it tells who was credited."""
    credited = Happened.PAYMENT if fields["结算金额"].startswith("C") else Happened.REFUND
    return _HAPPENED.get(fields["交易类型"], credited)


def _fee(fields: Mapping[str, str]) -> int:
    sign = 1 if fields["商户手续费"].startswith("D") else -1
    return sign * int(fields["商户手续费"][1:])


def _moment(at: int, text: str, day: date) -> datetime:
    """Read MMDDhhmmss of Beijing's: it has no year, and is a day or so from the settlement day."""
    noon = datetime.combine(day, time(12), BEIJING)
    moments = []
    for year in {(day + timedelta(days=off)).year for off in (-30, 0, 30)}:
        try:
            local = datetime.strptime(f"{year}{text}+0800", "%Y%m%d%H%M%S%z")
        except ValueError:
            continue  # the 29th of February of another year, or no time at all
        moments.append(local.astimezone(UTC))
    if not moments:
        raise bills.unreadable(f"line {at}: 交易传输时间 is not a time")
    return min(moments, key=lambda moment: abs(moment - noon))
