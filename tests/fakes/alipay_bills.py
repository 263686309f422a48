"""The stub's bill: an archive as Alipay's documents show it, its tables written by hand.

Nothing here is taken from the sandbox or the adapter. Names in the archive are GBK, as a Chinese
Windows writes them; what is sold, and a remark, have commas in them.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from aiohttp import web

TEXT_DAY, TEXT_NEXT = "2026年09月16日", "2026年09月17日"  # the stub puts others in their place
TIMES_DAY = "2026-09-16"

DETAILS = (
    "#支付宝业务明细查询\r\n"
    "#账号：[20881021462251350156]\r\n"
    "#起始日期：[2026年09月16日 00:00:00]   终止日期：[2026年09月17日 00:00:00]\r\n"
    "#-----------------------------------------业务明细列表----------------------------------------\r\n"
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,"
    "订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,"
    "券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注\r\n"
    "2026091622001400000000000001\t,01K5AAAAAAAAAAAAAAAAAAAAAA\t,交易\t,两杯 tea, a cake, 100%,"
    "2026-09-15 23:59:58,2026-09-16 00:00:00,\t,\t,\t,\t,*三(138****0001)\t,"
    "100.00,100.00,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,-0.60,0.00,少糖, 多冰\r\n"
    "2026091622001400000000000002\t,01K5BBBBBBBBBBBBBBBBBBBBBB\t,交易\t,茶,"
    "2026-09-16 12:34:50,2026-09-16 12:34:56,\t,\t,\t,\t,*四(li***@example.com)\t,"
    "0.01,0.01,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,0.00,0.00,\r\n"
    "2026091622001400000000000001\t,01K5AAAAAAAAAAAAAAAAAAAAAA\t,退款\t,两杯 tea, a cake, 100%,"
    "2026-09-15 23:59:58,2026-09-16 23:59:59,\t,\t,\t,\t,*三(138****0001)\t,"
    "-30.50,-30.50,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,01K5AAAAAAAAAAAAAAAAAAAAAAR1\t,0.18,0.00,"
    "paid twice\r\n"
    "#-----------------------------------------业务明细列表结束------------------------------------\r\n"
    "#交易合计：2笔，商家实收共100.01元，商家优惠共0.00元\r\n"
    "#退款合计：1笔，商家实收退款共-30.50元，商家优惠退款共0.00元\r\n"
    "#导出时间：[2026年09月17日 06:27:10]\r\n"
)
SUMS = (
    "#支付宝业务汇总查询\r\n"
    "#账号：[20881021462251350156]\r\n"
    "#起始日期：[2026年09月16日 00:00:00]   终止日期：[2026年09月17日 00:00:00]\r\n"
    "#-----------------------------------------业务汇总列表----------------------------------------\r\n"
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,"
    "商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）\r\n"
    "\t,\t,2,1,69.51,69.51,0.00,0.00,0.00,-0.42,0.00,69.09\r\n"
    "合计\t,\t,2,1,69.51,69.51,0.00,0.00,0.00,-0.42,0.00,69.09\r\n"
    "#----------------------------------------业务汇总列表结束-------------------------------------\r\n"
    "#导出时间：[2026年09月17日 06:27:10]\r\n"
)


def some_days_ago() -> date:
    return (datetime.now(UTC) + timedelta(hours=8)).date() - timedelta(days=3)


@dataclass
class Bills:
    """What the stub has to say about bills: one day's, and of other days nothing."""

    day: date = field(default_factory=some_days_ago)
    late: bool = False
    spoil: str = ""
    origin: str = ""

    def link(self, wanted: dict[str, str]) -> str:
        """Where the bill is; nothing when there is none of that day."""
        if self.late or wanted != {"bill_type": "trade", "bill_date": self.day.isoformat()}:
            return ""
        return f"{self.origin}/downloadBillFile.resource?token=a%2Bb%3D"

    async def send(self, request: web.Request) -> web.Response:
        if request.query["token"] != "a+b=" or self.spoil == "expired":
            return web.Response(text="<html>链接已失效</html>", content_type="text/html")
        archive = self._archive()
        if self.spoil == "truncated":
            archive = archive[:-40]
        return web.Response(body=archive, content_type="application/octet-stream")

    def _archive(self) -> bytes:
        details, sums = self._dated(DETAILS), self._dated(SUMS)
        if self.spoil == "totals":  # of the second table alone
            sums = sums.replace("合计\t,\t,2,1,69.51", "合计\t,\t,2,1,69.50")
        if self.spoil == "altered":  # of the first alone
            details = details.replace("0.01,0.01", "0.02,0.01")
        return archive_of(details, sums)

    def _dated(self, text: str) -> str:
        after = self.day + timedelta(days=1)
        text = text.replace(TEXT_DAY, f"{self.day:%Y年%m月%d日}")
        text = text.replace(TEXT_NEXT, f"{after:%Y年%m月%d日}")
        return text.replace(TIMES_DAY, self.day.isoformat())


def archive_of(details: str, sums: str, encoding: str = "gbk") -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        archive.writestr("DETAILS.csv", details.encode(encoding))
        archive.writestr("SUMMARY.csv", sums.encode("gbk"))
    # Seven bytes for seven bytes, which the library would not write: it knows UTF-8 alone.
    named = packed.getvalue().replace(b"DETAILS", "明细_".encode("gbk") + b"_1")
    return named.replace(b"SUMMARY", "汇总_".encode("gbk") + b"_2")
