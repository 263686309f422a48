"""WeChat Pay's bills: 申请交易账单, and the file that its answer leads to.

The file has two tables, each with a header; values have a backtick before them, amounts are yuan.
"""

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import msgspec
from aiohttp import web

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
from gateway.sandbox.ledger import RefundState
from gateway.sandbox.wechat_answers import TRADE_TYPES, WALLET_OPENID
from gateway.sandbox.wechat_errors import WechatRefusal, field_error
from gateway.sandbox.wechat_gate import KIND, PREFIX

FILE = PREFIX + "/v3/billdownload/file"
LINK_LIVES = timedelta(minutes=5)
KEPT_FOR = timedelta(days=92)
BOM = "\ufeff"
REFUND_STATES = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.DONE: "SUCCESS",
    RefundState.CLOSED: "FAIL",
    RefundState.ABNORMAL: "CHANGE",
}


class BillAnswer(msgspec.Struct, frozen=True):
    """申请交易账单: where the file is, and the digest of what is in it before it is packed."""

    hash_type: str
    hash_value: str
    download_url: str


class WechatBills:
    """Makes bills from the ledger."""

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._keys = keys
        self._shared = shared
        self._files = Files()

    def announce(self, query: Mapping[str, str], origin: str) -> BillAnswer:
        """Make the bill that is asked for. Raises WechatRefusal."""
        day = read_day(query.get("bill_date", ""))
        if day is None:
            raise field_error("账单日期格式错误", "query", "/query/bill_date")
        if query.get("bill_type", "ALL") != "ALL" or query.get("tar_type", "GZIP") != "GZIP":
            raise field_error("沙盒只提供 bill_type=ALL 的账单", "query", "/query/bill_type")
        text = self._bill(day).encode()
        now = self._shared.faults.now(KIND)
        packed = "tar_type" in query
        file = spoilt(self._shared, KIND, gzip.compress(text) if packed else text)
        life = link_life(self._shared, KIND, LINK_LIVES)
        token = self._files.put(file, now, life)
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return BillAnswer("SHA1", digest, f"{origin}{FILE}?token={token}")

    def file(self, token: str) -> bytes:
        """The file under a link. Raises WechatRefusal when the link is over."""
        file = self._files.find(token, self._shared.faults.now(KIND))
        if file is None:
            raise WechatRefusal(400, "INVALID_REQUEST", "账单下载地址已失效，请重新申请")
        return file

    def _bill(self, day: date) -> str:
        made = is_made(self._shared, KIND, day)
        today = beijing_day(self._shared.faults.now(KIND))
        if day < today - KEPT_FOR or (day >= today and not made):
            raise WechatRefusal(400, "INVALID_REQUEST", "请检查bill_date，并重新调用")
        if not made:
            raise WechatRefusal(400, "STATEMENT_CREATING", "请求的账单正在生成中，请稍后再试")
        moved = [one for one in moves(self._shared, KIND) if beijing_day(one.at) == day]
        if not moved:
            raise WechatRefusal(400, "NO_STATEMENT_EXIST", "请求的账单文件不存在")
        rows = [self._row(one) for one in sorted(moved, key=lambda one: one.at)]
        lines = (_values(row.values()) for row in rows)
        return BOM + "\r\n".join((",".join(rows[0]), *lines, *self._totals(moved), ""))

    def _row(self, moved: Moved) -> dict[str, str]:
        payment, refund = moved.payment, moved.refund
        paid = _yuan(moved.amount if refund is None else 0)
        back = _yuan(0 if refund is None else moved.amount)
        fee = moved.fee if refund is None else -moved.fee
        return {
            "交易时间": moved.at.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
            "公众账号ID": self._keys.appid,
            "商户号": self._keys.mchid,
            "特约商户号": "0",
            "设备号": "",
            "微信订单号": moved.capture.ref,
            "商户订单号": payment.number,
            "用户标识": WALLET_OPENID,
            "交易类型": TRADE_TYPES[payment.product],
            "交易状态": "SUCCESS" if refund is None else "REFUND",
            "付款银行": "OTHERS",
            "货币种类": payment.currency,
            "应结订单金额": paid,
            "代金券金额": "0.00",
            "微信退款单号": "0" if refund is None else refund.ref,
            "商户退款单号": "0" if refund is None else refund.number,
            "退款金额": back,
            "充值券退款金额": "0.00",
            "退款类型": "" if refund is None else "ORIGINAL",
            "退款状态": "" if refund is None else REFUND_STATES[refund.state],
            "商品名称": payment.subject,
            "商户数据包": "",
            "手续费": f"{_yuan(fee)}000",
            "费率": "0.60%",
            "订单金额": paid,
            "申请退款金额": back,
            "费率备注": "",
        }

    def _totals(self, moved: list[Moved]) -> tuple[str, str]:
        paid = sum(one.amount for one in moved if one.refund is None)
        back = sum(one.amount for one in moved if one.refund is not None)
        fees = sum(one.fee if one.refund is None else -one.fee for one in moved)
        totals = {
            "总交易单数": str(len(moved)),
            "应结订单总金额": _yuan(paid),
            "退款总金额": _yuan(back),
            "充值券退款总金额": "0.00",
            "手续费总金额": f"{_yuan(fees)}000",
            "订单总金额": _yuan(stated(self._shared, KIND, paid)),
            "申请退款总金额": _yuan(back),
        }
        return ",".join(totals), _values(totals.values())


def file_response(content: bytes) -> web.Response:
    """The file as it is sent: whoever has the link may have it, and nothing signs it."""
    return web.Response(body=content, content_type="application/x-gzip")


def _values(values: Iterable[str]) -> str:
    return ",".join(f"`{value}" for value in values)


def _yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}"
