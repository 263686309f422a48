"""Alipay's bills: 查询对账单下载地址, and the archive that its answer leads to.

There are two files in it, 业务明细 and 业务明细(汇总): comments, a table, comments, all in GBK.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from aiohttp import web

from gateway.sandbox.alipay_answers import BUYER, BillAnswer
from gateway.sandbox.alipay_bodies import BillRequest, read_body
from gateway.sandbox.alipay_errors import AlipayRefusal
from gateway.sandbox.alipay_gate import KIND, PREFIX, Sent
from gateway.sandbox.bills import (
    BEIJING,
    Files,
    Moved,
    beijing_day,
    is_made,
    link_life,
    moves,
    read_day,
    spoilt,
    stated,
)
from gateway.sandbox.channel import Shared
from gateway.sandbox.keys import SandboxKeys

METHOD = "alipay.data.dataservice.bill.downloadurl.query"
FILE = PREFIX + "/downloadBillFile.resource"
LINK_LIVES = timedelta(seconds=30)

DETAILS = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,"
    "订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,"
    "券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
SUMS = (
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,"
    "商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）"
)


class AlipayBills:
    """Makes bills from the ledger."""

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._account = f"{keys.alipay.seller_id}0156"
        self._shared = shared
        self._files = Files()

    def announce(self, sent: Sent, origin: str) -> BillAnswer:
        """Make the bill that is asked for. Raises AlipayRefusal."""
        wanted = read_body(sent.get("biz_content", ""), BillRequest)
        day, now = read_day(wanted.bill_date), self._shared.faults.now(KIND)
        made = day is not None and is_made(self._shared, KIND, day)
        if wanted.bill_type != "trade" or day is None or (day >= beijing_day(now) and not made):
            raise AlipayRefusal("40002", "isv.invalid_arguments", "入参不合法")
        moved = [one for one in moves(self._shared, KIND) if beijing_day(one.at) == day]
        if not moved or not made:
            raise AlipayRefusal("40004", "isp.bill_not_exist", "账单不存在")
        archive = self._archive(day, sorted(moved, key=lambda one: one.at), now)
        life = link_life(self._shared, KIND, LINK_LIVES)
        token = self._files.put(spoilt(self._shared, KIND, archive), now, life)
        return BillAnswer(bill_download_url=f"{origin}{FILE}?bizType=trade&token={token}")

    async def send_file(self, request: web.Request) -> web.Response:
        """GET /alipay/downloadBillFile.resource - the archive, for whoever has the link"""
        token = request.query.get("token", "")
        file = self._files.find(token, self._shared.faults.now(KIND))
        if file is None:
            return web.Response(text="<html>链接已失效</html>", content_type="text/html")
        return web.Response(body=file, content_type="application/zip")

    def _archive(self, day: date, moved: Sequence[Moved], now: datetime) -> bytes:
        packed = BytesIO()
        name = f"{self._account}_{day:%Y%m%d}_业务明细"
        with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", self._details(day, moved, now).encode("gbk", "replace"))
            archive.writestr(f"{name}(汇总).csv", self._sums(day, moved, now).encode("gbk"))
        return packed.getvalue()

    def _details(self, day: date, moved: Sequence[Moved], now: datetime) -> str:
        paid = [one for one in moved if one.refund is None]
        back = [one for one in moved if one.refund is not None]
        received = stated(self._shared, KIND, _sum(paid))
        return _lines(
            *self._head("业务明细", day),
            f"#{'-' * 41}业务明细列表{'-' * 40}",
            DETAILS,
            *map(_row, moved),
            f"#{'-' * 41}业务明细列表结束{'-' * 36}",
            f"#交易合计：{len(paid)}笔，商家实收共{_yuan(received)}元，商家优惠共0.00元",
            f"#退款合计：{len(back)}笔，商家实收退款共{_yuan(_sum(back))}元，商家优惠退款共0.00元",
            _made_at(now),
        )

    def _sums(self, day: date, moved: Sequence[Moved], now: datetime) -> str:
        back = sum(one.refund is not None for one in moved)
        amount, fees = _sum(moved), sum(map(_fee, moved))
        sums = (
            f"{len(moved) - back},{back},{_yuan(amount)},{_yuan(amount)},0.00,0.00,0.00,"
            f"{_yuan(fees)},0.00,{_yuan(amount + fees)}"
        )
        return _lines(
            *self._head("业务汇总", day),
            f"#{'-' * 41}业务汇总列表{'-' * 40}",
            SUMS,
            f"\t,\t,{sums}",
            f"合计\t,\t,{sums}",
            f"#{'-' * 40}业务汇总列表结束{'-' * 37}",
            _made_at(now),
        )

    def _head(self, title: str, day: date) -> Iterable[str]:
        after = day + timedelta(days=1)
        yield f"#支付宝{title}查询"
        yield f"#账号：[{self._account}]"
        yield (
            f"#起始日期：[{day:%Y年%m月%d日} 00:00:00]   终止日期：[{after:%Y年%m月%d日} 00:00:00]"
        )


def _row(moved: Moved) -> str:
    """One line; texts have a tab behind them, but for names."""
    payment, refund = moved.payment, moved.refund
    amount = _yuan(_amount(moved))
    request_no = "" if refund is None else refund.number
    return ",".join(
        (
            f"{moved.capture.ref}\t,{payment.number}\t",
            "交易\t" if refund is None else "退款\t",
            f"{payment.subject},{_beijing(payment.created_at)},{_beijing(moved.at)}",
            f"\t,\t,\t,\t,{BUYER}\t",
            f"{amount},{amount},0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00",
            f"{request_no}\t,{_yuan(_fee(moved))},0.00",
            "" if refund is None else refund.reason,
        )
    )


def _amount(moved: Moved) -> int:
    return moved.amount if moved.refund is None else -moved.amount


def _fee(moved: Moved) -> int:
    """What the merchant gets for the fee: less than nothing for a payment."""
    return -moved.fee if moved.refund is None else moved.fee


def _sum(moved: Iterable[Moved]) -> int:
    return sum(map(_amount, moved))


def _made_at(now: datetime) -> str:
    return f"#导出时间：[{now.astimezone(BEIJING):%Y年%m月%d日 %H:%M:%S}]"


def _beijing(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _lines(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}"
