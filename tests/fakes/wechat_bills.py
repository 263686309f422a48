"""The stub's bill: a file as WeChat Pay's documents show it, written by hand.

Nothing here is taken from the sandbox or the adapter. What is sold has names that a careless
reader would split, and the count of totals is written as WeChat Pay has been seen to write it.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from aiohttp import web

from tests.fakes.wechat_crypto import Json

TEXT_DAY = "2026-09-16"  # as the text says it; the stub puts another in its place
TEXT = (
    "\ufeff交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,"
    "交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注\r\n"
    "`2026-09-16 00:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`4200000001202609160000000001,"
    "`01K5AAAAAAAAAAAAAAAAAAAAAA,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`SUCCESS,`CMB_DEBIT,`CNY,"
    "`100.00,`0.00,`0,`0,`0.00,`0.00,`,`,`两杯 tea, a “cake” & 1,`,`0.60000,`0.60%,`100.00,"
    "`0.00,`\r\n"
    "`2026-09-16 12:34:56,`wxd678efh567hg6787,`1900000109,`0,`,`4200000001202609160000000002,"
    "`01K5BBBBBBBBBBBBBBBBBBBBBB,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`JSAPI,`SUCCESS,`OTHERS,`CNY,"
    "`0.01,`0.00,`0,`0,`0.00,`0.00,`,`,`茶,`0.99,`叶\u2028二,`,`0.00000,`0.60%,`0.01,`0.00,`\r\n"
    "`2026-09-16 13:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`4200000001202609160000000001,"
    "`01K5AAAAAAAAAAAAAAAAAAAAAA,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`REFUND,`CMB_DEBIT,`CNY,"
    "`0.00,`0.00,`50000000382026091600000000001,`01K5AAAAAAAAAAAAAAAAAAAAAAR1,`30.50,`0.00,"
    "`ORIGINAL,`SUCCESS,`两杯 tea, a “cake” & 1,`,`-0.18000,`0.60%,`0.00,`30.50,`\r\n"
    "`2026-09-16 23:59:59,`wxd678efh567hg6787,`1900000109,`0,`,`4200000001202608310000000009,"
    "`01K3CCCCCCCCCCCCCCCCCCCCCC,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`H5,`REFUND,`OTHERS,`CNY,"
    "`0.00,`0.00,`50000000382026091600000000002,`01K3CCCCCCCCCCCCCCCCCCCCCCR1,`1.00,`0.00,"
    "`ORIGINAL,`PROCESSING,`茶,`,`-0.01000,`0.60%,`0.00,`1.00,`\r\n"
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n"
    "`4.0,`100.01,`31.50,`0.0,`0.41000,`100.01,`31.50\r\n"
)
OTHER_TOTAL = ("`100.01,`31.50\r\n", "`100.02,`31.50\r\n")


def some_days_ago() -> date:
    return (datetime.now(UTC) + timedelta(hours=8)).date() - timedelta(days=3)


@dataclass
class Bills:
    """What the stub has to say about bills: one day's, and of other days nothing."""

    day: date = field(default_factory=some_days_ago)
    late: bool = False
    spoil: str = ""
    origin: str = ""

    def refusal(self, query: Mapping[str, str]) -> str:
        wanted = {"bill_type": "ALL", "tar_type": "GZIP", "bill_date": self.day.isoformat()}
        if self.late:
            return "STATEMENT_CREATING"
        return "" if dict(query) == wanted else "NO_STATEMENT_EXIST"

    def announced(self) -> Json:
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(self._text(), usedforsecurity=False).hexdigest(),
            "download_url": f"{self.origin}/v3/billdownload/file?token=private%2Ftoken%3D",
        }

    def file(self, token: str) -> web.Response:
        if token != "private/token=" or self.spoil == "expired":
            said = '{"code":"INVALID_REQUEST","message":"请重新获取账单地址后再请求"}'
            return web.Response(status=400, text=said, content_type="application/json")
        text = self._text()
        if self.spoil == "altered":
            text = text.replace(b"100.01", b"100.10")
        return web.Response(body=gzip.compress(text), content_type="application/octet-stream")

    def _text(self) -> bytes:
        text = TEXT.replace(TEXT_DAY, self.day.isoformat())
        if self.spoil == "totals":
            text = text.replace(*OTHER_TOTAL)
        if self.spoil == "truncated":  # before its hash was taken: only its end tells
            text = text[: text.index("总交易单数")]
        return text.encode()
