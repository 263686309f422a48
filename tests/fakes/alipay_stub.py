"""A second Alipay, small and obstinate, written from the protocol's description alone.

The sandbox is the first. An adapter that satisfies both has not been written around the mistakes of
one; so nothing here is taken from the sandbox or the adapter. It runs in the test's own process and
is driven by method calls. Faults are given per verb and hit the next calls of that verb.

What was offered (a code, a link) is not a trade: that begins when the buyer scans or opens it.
"""

import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.fakes.alipay_bills import Bills
from tests.fakes.alipay_crypto import AlipaySide, Form, Json, answer_text, request_text
from tests.fakes.keys import signature, signed_by

VERBS = {
    "alipay.trade.precreate": "create",
    "alipay.trade.page.pay": "open",
    "alipay.trade.wap.pay": "open",
    "alipay.trade.app.pay": "open",
    "alipay.trade.query": "query",
    "alipay.trade.close": "close",
    "alipay.trade.refund": "refund",
    "alipay.trade.fastpay.refund.query": "query_refund",
    "alipay.open.app.alipaycert.download": "certificate",
    "alipay.data.dataservice.bill.downloadurl.query": "bill",
}
PRODUCT_CODES = {
    "alipay.trade.precreate": "QR_CODE_OFFLINE",
    "alipay.trade.page.pay": "FAST_INSTANT_TRADE_PAY",
    "alipay.trade.wap.pay": "QUICK_WAP_WAY",
    "alipay.trade.app.pay": "QUICK_MSECURITY_PAY",
}


class Refused(Exception):
    def __init__(self, code: str, sub_code: str, sub_msg: str = "见文档") -> None:
        super().__init__(sub_code)
        self.said = {"code": code, "msg": "见文档", "sub_code": sub_code, "sub_msg": sub_msg}


class NotLetIn(Refused):
    """The gateway's own refusal: it carries no signature."""


def failed(what: str) -> Refused:
    return Refused("40004", f"ACQ.{what}")


@dataclass
class Offer:
    method: str
    content: str
    notify_url: str


@dataclass
class Trade:
    offer: Offer
    trade_no: str
    total: int
    status: str = "WAIT_BUYER_PAY"
    paid: int = 0
    refunds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What happens to one call: carried out or not, then answered with `said` (an HTTP status, or
    a code inside a signed 200) or cut off.
    """

    executes: bool
    said: int | Json | None


class AlipayStub:
    """The channel. In certificate mode answers name the certificate that they are signed with."""

    def __init__(self, side: AlipaySide, *, certificates: bool = False) -> None:
        self.side = side
        self.certificates = certificates
        self.signer = side.alipay
        self.offers: dict[str, Offer] = {}
        self.trades: dict[str, Trade] = {}
        self.seen: list[Form] = []  # the fields of every call that came through the door
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}
        self.answers: dict[str, Json] = {}  # given, signed, instead of what would be said
        self.raw: dict[str, tuple[int, bytes]] = {}  # given as it is
        self.served = {one.sn: one.pem + side.authority.pem for one in (side.next_alipay,)}
        self.spoilt = 0  # how many answers carry a signature over something else
        self.moves_funds = True  # no: refunds are accepted without saying whether money moved
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.held = ""  # the verb whose next call shuts the gate
        self.bills = Bills()
        self.headers: dict[str, str] = {}  # of the last call, names in lower case
        self._arrival = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/gateway.do", self._serve)
        app.router.add_get("/downloadBillFile.resource", self.bills.send)
        return app

    # What the buyer does.

    def scan(self, number: str) -> None:
        """Begin the trade of what was offered under a number, if anything was."""
        offer = self.offers.get(number)
        if offer is not None and number not in self.trades:
            total = cents(json.loads(offer.content)["total_amount"])
            trade_no = f"2026112222001{len(self.trades):015d}"
            self.trades[number] = Trade(offer, trade_no, total)

    def pay(self, number: str, amount: int | None = None) -> None:
        self.scan(number)
        trade = self.trades[number]
        assert trade.status == "WAIT_BUYER_PAY", trade.status
        trade.status = "TRADE_SUCCESS"
        trade.total = trade.paid = trade.total if amount is None else amount

    async def called(self, verb: str, times: int) -> None:
        """Wait until a call has arrived so many times."""
        async with asyncio.timeout(5):
            while self.calls[verb] < times:
                await self._arrival.wait()

    # What it tells of its own accord.

    def notice(self, number: str) -> dict[str, str]:
        """The fields of a notification about a payment, without its signature."""
        trade = self.trades[number]
        fields = {
            "notify_time": "2026-11-22 10:34:57",
            "notify_type": "trade_status_sync",
            "notify_id": f"2026112200222{trade.trade_no}",
            "charset": "utf-8",
            "version": "1.0",
            "app_id": self.side.app_id,
            "auth_app_id": self.side.app_id,
            "trade_no": trade.trade_no,
            "out_trade_no": number,
            "trade_status": trade.status,
            "total_amount": yuan(trade.total),
            "seller_id": self.side.seller_id,
            "seller_email": "seller@example.com",
            "buyer_id": "2088102116773037",
            "subject": "两杯 tea ＆ a “cake” 100% +1",
            "gmt_create": "2026-11-22 10:34:50",
            "fund_bill_list": '[{"amount":"12.34","fundChannel":"ALIPAYACCOUNT"}]',
        }
        if trade.paid:
            fields["gmt_payment"] = "2026-11-22 10:34:56"
        if trade.refunds:
            fields |= {
                "gmt_refund": "2026-11-22 10:40:00.123",
                "out_biz_no": list(trade.refunds)[-1],
                "refund_fee": yuan(sum(trade.refunds.values())),
            }
        return fields

    # The calls.

    def _precreate(self, fields: Form) -> Json:
        number = self._offered(fields)
        return {"out_trade_no": number, "qr_code": f"https://qr.alipay.com/bax{number[-8:]}"}

    def _open(self, fields: Form) -> Json:
        number = self._offered(fields)
        self.scan(number)
        return {}

    def _offered(self, fields: Form) -> str:
        wanted, method = json.loads(fields["biz_content"]), fields["method"]
        number: str = wanted["out_trade_no"]
        ends = moment(wanted["time_expire"])
        if ends <= datetime.now(UTC) or set("/=&") & set(wanted["subject"]):
            raise failed("INVALID_PARAMETER")
        if wanted["product_code"] != PRODUCT_CODES[method] or not fields.get("notify_url"):
            raise failed("INVALID_PARAMETER")
        offer = Offer(method, fields["biz_content"], fields["notify_url"])
        trade = self.trades.get(number)
        if trade is not None and trade.paid:
            raise failed("TRADE_HAS_SUCCESS")
        if trade is not None and trade.status == "TRADE_CLOSED":
            raise failed("TRADE_HAS_CLOSE")
        if trade is not None and trade.offer != offer:
            # To the byte: stricter than the real one, which compares the fields.
            raise failed("CONTEXT_INCONSISTENT")
        self.offers[number] = offer
        return number

    def _query(self, fields: Form) -> Json:
        number, trade = self._find(fields)
        paid = {"send_pay_date": "2026-11-22 10:34:56"} if trade.paid else {}
        return {
            "trade_no": trade.trade_no,
            "out_trade_no": number,
            "buyer_logon_id": "159****5620",
            "trade_status": trade.status,
            "total_amount": yuan(trade.total),
            "receipt_amount": yuan(trade.paid),
            "store_name": "证大/五道口店",
            **paid,
        }

    def _close(self, fields: Form) -> Json:
        number, trade = self._find(fields)
        if trade.status != "WAIT_BUYER_PAY":
            raise failed("TRADE_STATUS_ERROR")
        trade.status = "TRADE_CLOSED"
        return {"trade_no": trade.trade_no, "out_trade_no": number}

    def _refund(self, fields: Form) -> Json:
        number, trade = self._find(fields)
        wanted = json.loads(fields["biz_content"])
        request, amount = wanted["out_request_no"], cents(wanted["refund_amount"])
        before = trade.refunds.get(request)
        if before not in (None, amount):
            raise failed("DISCORDANT_REPEAT_REQUEST")
        if before is None:
            if trade.status != "TRADE_SUCCESS":
                raise failed("TRADE_STATUS_ERROR")
            if amount > trade.paid - sum(trade.refunds.values()):
                raise failed("REASON_TRADE_REFUND_FEE_ERR")
            trade.refunds[request] = amount
            if sum(trade.refunds.values()) == trade.paid:
                trade.status = "TRADE_CLOSED"
        moved = before is None and self.moves_funds
        return {
            "trade_no": trade.trade_no,
            "out_trade_no": number,
            "fund_change": "Y" if moved else "N",
            "refund_fee": yuan(sum(trade.refunds.values())),
        }

    def _query_refund(self, fields: Form) -> Json:
        number, trade = self._find(fields)
        request = json.loads(fields["biz_content"])["out_request_no"]
        if request not in trade.refunds:
            return {}
        return {
            "trade_no": trade.trade_no,
            "out_trade_no": number,
            "out_request_no": request,
            "refund_status": "REFUND_SUCCESS",
            "total_amount": yuan(trade.total),
            "refund_amount": yuan(trade.refunds[request]),
        }

    def _certificate(self, fields: Form) -> Json:
        serial = json.loads(fields["biz_content"])["alipay_cert_sn"]
        if serial not in self.served:
            raise Refused("40002", "isv.invalid-parameter")
        return {"alipay_cert_content": b64encode(self.served[serial].encode()).decode()}

    def _bill(self, fields: Form) -> Json:
        link = self.bills.link(json.loads(fields["biz_content"]))
        if not link:
            raise Refused("40004", "isp.bill_not_exist", "账单不存在")
        return {"bill_download_url": link}

    def _find(self, fields: Form) -> tuple[str, Trade]:
        wanted = json.loads(fields["biz_content"])
        for number, trade in self.trades.items():
            if trade.trade_no == wanted.get("trade_no") or (
                "trade_no" not in wanted and number == wanted["out_trade_no"]
            ):
                return number, trade
        raise failed("TRADE_NOT_EXIST")

    async def _serve(self, request: web.Request) -> web.Response:
        fields = {**dict(request.query), **await _form(request)}
        verb = VERBS[fields["method"]]
        self.calls[verb] += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self._arrival.set()
        self._arrival = asyncio.Event()
        if verb == self.held:
            self.gate.clear()
        await self.gate.wait()
        if verb in self.raw:
            status, text = self.raw.pop(verb)
            return _html(text, status)
        faults = self.faults.get(verb)
        fault = faults.pop() if faults else None
        said = self._said(verb, fields) if fault is None or fault.executes else {}
        if fault is None:
            return self._written(fields, said)
        if fault.said is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(fault.said, int):
            return _html(b"<html>nginx</html>", fault.said)
        return self._written(fields, fault.said)

    def _said(self, verb: str, fields: Form) -> Json:
        acts: dict[str, Callable[[Form], Json]] = {
            "create": self._precreate,
            "open": self._open,
            "query": self._query,
            "close": self._close,
            "refund": self._refund,
            "query_refund": self._query_refund,
            "certificate": self._certificate,
            "bill": self._bill,
        }
        try:
            self._let_in(fields)
            self.seen.append(fields)
            if verb in self.answers:
                return self.answers.pop(verb)
            return {"code": "10000", "msg": "Success", **acts[verb](fields)}
        except NotLetIn as refusal:
            return {**refusal.said, "unsigned": "1"}
        except Refused as refusal:
            return refusal.said

    def _let_in(self, fields: Form) -> None:
        if fields.get("app_id") != self.side.app_id:
            raise NotLetIn("40002", "isv.invalid-app-id", "无效的AppID参数")
        wanted = {"format": "JSON", "charset": "utf-8", "sign_type": "RSA2", "version": "1.0"}
        if self.certificates:
            wanted |= {
                "app_cert_sn": self.side.app.sn,
                "alipay_root_cert_sn": self.side.roots_sn,
            }
        if any(fields.get(name) != value for name, value in wanted.items()):
            raise NotLetIn("40002", "isv.invalid-parameter", "公共参数")
        if abs(moment(fields["timestamp"]) - datetime.now(UTC)) > timedelta(minutes=15):
            raise NotLetIn("40002", "isv.invalid-timestamp", "非法的时间戳参数")
        if not signed_by(self.side.app.key, fields["sign"], request_text(fields)):
            raise NotLetIn("40002", "isv.invalid-signature", "验签出错")

    def _written(self, fields: Form, said: Json) -> web.Response:
        if "unsigned" in said:
            return _html(json.dumps({"error_response": said}, ensure_ascii=False).encode())
        name = fields["method"].replace(".", "_") + "_response"
        text = answer_text(name, said, self.signer.key, self.signer.sn if self.certificates else "")
        if self.spoilt:
            self.spoilt -= 1
            text = text[: text.rindex(b'"sign":"')] + (
                f'"sign":"{signature(self.signer.key, "something else")}"}}'.encode()
            )
        return _html(text)


async def _form(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _html(text: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=text, content_type="text/html", charset="utf-8")


def moment(text: str) -> datetime:
    """Read a time as Alipay writes it: Beijing's, which it does not say."""
    return datetime.strptime(f"{text} +0800", "%Y-%m-%d %H:%M:%S %z")


def yuan(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02d}"


def cents(amount: str) -> int:
    whole, _, part = amount.partition(".")
    assert len(part) == 2, amount
    return int(whole) * 100 + int(part)
