"""A second WeChat Pay, small and obstinate, written from the protocol's description alone.

The sandbox is the first. An adapter that satisfies both has not been written around the mistakes of
one; so nothing here is taken from the sandbox or the adapter. It runs in the test's own process and
is driven by method calls. Faults are given per verb and hit the next calls of that verb.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.fakes.wechat_bills import Bills
from tests.fakes.wechat_crypto import (
    Json,
    Pen,
    WeChatKeys,
    fault_of_request,
    notification,
    seal,
)


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


@dataclass
class Trade:
    product: str
    wanted: Json
    text: bytes
    token: str
    state: str = "NOTPAY"
    transaction_id: str = ""
    paid: int = 0
    refunds: dict[str, "Refund"] = field(default_factory=dict)


@dataclass
class Refund:
    number: str
    wanted: Json
    refund_id: str
    amount: int
    status: str = "PROCESSING"


@dataclass(frozen=True)
class Fault:
    """What happens to one call: carried out or not, then answered with `status` or cut off."""

    executes: bool
    status: int | None
    code: str = ""


Act = Callable[[], Json | None]


class WeChatStub:
    """The channel. `pen` overrides the key that answers are signed with."""

    def __init__(self, keys: WeChatKeys) -> None:
        self.keys = keys
        self.trades: dict[str, Trade] = {}
        self.bodies: list[bytes] = []  # of every prepay call that came through the door
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Fault]] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}  # signed when 2xx; given as they are
        self.listed = list(keys.certificates[:1])
        self.pen: Pen | None = None
        self.spoilt = 0  # how many answers carry a probe for a signature
        self.signs_at = timedelta(0)  # how far off the clock is that answers are signed by
        self.moved = timedelta(0)  # how far its whole clock is from ours, but for time_expire
        self.unsigned = False
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.bills = Bills()
        self.headers: dict[str, str] = {}  # of the last call, names in lower case
        self._arrival = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        pay, refunds = "/v3/pay/transactions", "/v3/refund/domestic/refunds"
        app.router.add_post(pay + "/{product}", self._create)
        app.router.add_get(pay + "/out-trade-no/{number}", self._query)
        app.router.add_post(pay + "/out-trade-no/{number}/close", self._close)
        app.router.add_post(refunds, self._refund)
        app.router.add_get(refunds + "/{number}", self._query_refund)
        app.router.add_get("/v3/certificates", self._certificates)
        app.router.add_get("/v3/bill/tradebill", self._bill)
        app.router.add_get("/v3/billdownload/file", self._file)
        return app

    # What the buyer and WeChat Pay's own staff do.

    def pay(self, number: str, amount: int | None = None) -> None:
        trade = self.trades[number]
        assert trade.state == "NOTPAY", trade.state
        trade.state = "SUCCESS"
        trade.paid = _amount(trade.wanted, "total") if amount is None else amount
        trade.transaction_id = f"42000{len(self.trades):023d}"

    def end_refund(self, number: str, status: str) -> Trade:
        trade = next(trade for trade in self.trades.values() if number in trade.refunds)
        trade.refunds[number].status = status
        return trade

    async def called(self, verb: str, times: int) -> None:
        """Wait until a call has arrived so many times."""
        async with asyncio.timeout(5):
            while self.calls[verb] < times:
                await self._arrival.wait()

    # What it tells of its own accord.

    def payment_news(self, number: str) -> bytes:
        return notification(self.keys, "TRANSACTION.SUCCESS", self.transaction(number))

    def refund_news(self, number: str) -> bytes:
        trade = next(trade for trade in self.trades.values() if number in trade.refunds)
        refund = trade.refunds[number]
        plain = {
            "mchid": self.keys.mchid,
            "transaction_id": trade.transaction_id,
            "out_trade_no": trade.wanted["out_trade_no"],
            "refund_id": refund.refund_id,
            "out_refund_no": number,
            "refund_status": refund.status,
            "user_received_account": "招商银行信用卡0403",
            "amount": {
                "total": trade.paid,
                "refund": refund.amount,
                "payer_total": trade.paid,
                "payer_refund": refund.amount,
            },
        }
        return notification(self.keys, f"REFUND.{refund.status}", plain)

    def transaction(self, number: str) -> dict[str, object]:
        trade = self.trades[number]
        answer: dict[str, object] = {
            "appid": self.keys.appid,
            "mchid": self.keys.mchid,
            "out_trade_no": number,
            "trade_state": trade.state,
            "trade_state_desc": "见文档",
        }
        if trade.transaction_id:
            answer |= {
                "transaction_id": trade.transaction_id,
                "bank_type": "CMC",
                "success_time": "2026-11-22T10:34:56+08:00",
                "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
                "amount": {
                    "total": trade.paid,
                    "payer_total": trade.paid,
                    "currency": "CNY",
                    "payer_currency": "CNY",
                },
            }
        return answer

    # The calls.

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.read()

        def act() -> Json:
            self.bodies.append(body)
            return self._prepaid(request.match_info["product"], body)

        return await self._answer("create", request, body, act)

    def _prepaid(self, product: str, body: bytes) -> Json:
        wanted = json.loads(body)
        number = wanted["out_trade_no"]
        if not datetime.fromisoformat(wanted["time_expire"]) > datetime.now(UTC):
            raise Refused(400, "PARAM_ERROR", "time_expire已过期")
        trade = self.trades.get(number)
        if trade is None:
            trade = Trade(product, wanted, body, token=f"tok{len(self.trades)}")
            self.trades[number] = trade
        elif trade.state in ("SUCCESS", "REFUND"):
            raise Refused(400, "ORDERPAID", "该订单已支付")
        elif trade.state == "CLOSED":
            raise Refused(400, "ORDER_CLOSED", "该订单已关闭")
        elif trade.product != product or trade.text != body:
            # To the byte: stricter than the real one, which compares the fields.
            raise Refused(403, "OUT_TRADE_NO_USED", "商户订单号重复")
        match product:
            case "native":
                return {"code_url": f"weixin://wxpay/bizpayurl?pr={trade.token}"}
            case "h5":
                return {
                    "h5_url": f"https://wx.tenpay.com/cgi-bin/checkmweb?prepay_id={trade.token}"
                }
            case _:
                return {"prepay_id": trade.token}

    async def _query(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]

        def act() -> Json:
            if request.query.get("mchid") != self.keys.mchid:
                raise Refused(400, "PARAM_ERROR", "mchid")
            if number not in self.trades:
                raise Refused(404, "ORDER_NOT_EXIST", "订单不存在")
            return self.transaction(number)

        return await self._answer("query", request, b"", act)

    async def _close(self, request: web.Request) -> web.Response:
        number, body = request.match_info["number"], await request.read()

        def act() -> None:
            if json.loads(body) != {"mchid": self.keys.mchid}:
                raise Refused(400, "PARAM_ERROR", "mchid")
            if number not in self.trades:
                raise Refused(404, "ORDERNOTEXIST", "订单不存在")
            trade = self.trades[number]
            if trade.state in ("SUCCESS", "REFUND"):
                raise Refused(400, "ORDERPAID", "该订单已支付")
            trade.state = "CLOSED"

        return await self._answer("close", request, body, act)

    async def _refund(self, request: web.Request) -> web.Response:
        body = await request.read()
        return await self._answer("refund", request, body, lambda: self._refunded(body))

    def _refunded(self, body: bytes) -> Json:
        wanted = json.loads(body)
        number, amount = wanted["out_refund_no"], wanted["amount"]["refund"]
        paid = [one for one in self.trades.values() if one.transaction_id]
        found = [one for one in paid if one.transaction_id == wanted.get("transaction_id")]
        if not found:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        trade = found[0]
        if number not in trade.refunds:
            given = sum(one.amount for one in trade.refunds.values() if one.status != "CLOSED")
            if wanted["amount"]["total"] != trade.paid or given + amount > trade.paid:
                raise Refused(400, "INVALID_REQUEST", "申请退款金额大于订单剩余可退金额")
            trade.refunds[number] = Refund(number, wanted, f"5030{number[-24:]}", amount)
            trade.state = "REFUND"
        elif trade.refunds[number].wanted != wanted:
            raise Refused(400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致")
        return self.refund_body(trade, number)

    async def _query_refund(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]

        def act() -> Json:
            for trade in self.trades.values():
                if number in trade.refunds:
                    return self.refund_body(trade, number)
            raise Refused(404, "RESOURCE_NOT_EXISTS", "退款单不存在")

        return await self._answer("query_refund", request, b"", act)

    def refund_body(self, trade: Trade, number: str) -> Json:
        refund = trade.refunds[number]
        return {
            "refund_id": refund.refund_id,
            "out_refund_no": number,
            "transaction_id": trade.transaction_id,
            "out_trade_no": trade.wanted["out_trade_no"],
            "channel": "ORIGINAL",
            "user_received_account": "招商银行信用卡0403",
            "create_time": "2026-11-22T10:34:56+08:00",
            "status": refund.status,
            "funds_account": "AVAILABLE",
            "amount": {
                "total": trade.paid,
                "refund": refund.amount,
                "payer_total": trade.paid,
                "payer_refund": refund.amount,
                "settlement_refund": refund.amount,
                "settlement_total": trade.paid,
                "discount_refund": 0,
                "currency": "CNY",
            },
        }

    async def _certificates(self, request: web.Request) -> web.Response:
        def act() -> Json:
            if not self.listed:
                raise Refused(404, "RESOURCE_NOT_EXISTS", "无可用的平台证书")
            return {
                "data": [
                    {
                        "serial_no": one.pen.serial,
                        "effective_time": "2026-01-01T10:34:56+08:00",
                        "expire_time": "2031-01-01T10:34:56+08:00",
                        "encrypt_certificate": seal(
                            self.keys.apiv3_key, one.pem.encode(), "certificate"
                        ),
                    }
                    for one in self.listed
                ]
            }

        return await self._answer("certificates", request, b"", act)

    async def _bill(self, request: web.Request) -> web.Response:
        def act() -> Json:
            if refusal := self.bills.refusal(request.query):
                raise Refused(400, refusal)
            return self.bills.announced()

        return await self._answer("bill", request, b"", act)

    async def _file(self, request: web.Request) -> web.Response:
        self._admit(request, b"")  # and nothing signs the answer
        return self.bills.file(request.query["token"])

    async def _answer(self, verb: str, request: web.Request, body: bytes, act: Act) -> web.Response:
        self.calls[verb] += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self._arrival.set()
        self._arrival = asyncio.Event()
        await self.gate.wait()
        faults = self.faults.get(verb)
        fault = faults.pop() if faults else None
        scripted = self.answers.pop(verb, None)
        if fault is not None and not fault.executes:
            return self._failed(request, fault)
        try:
            self._admit(request, body)
            status, text = scripted if scripted is not None else _text_of(act())
        except Refused as refusal:
            said = {"code": refusal.code, "message": refusal.message}
            return _json(refusal.status, json.dumps(said, ensure_ascii=False).encode())
        if fault is not None:
            return self._failed(request, fault)
        return _json(status, text, self._signature(request, text) if status < 300 else {})

    def _admit(self, request: web.Request, body: bytes) -> None:
        if not request.headers.get("Accept") or not request.headers.get("User-Agent"):
            raise Refused(400, "INVALID_REQUEST", "Http头缺少Accept或User-Agent")
        authorization = request.headers.get("Authorization", "")
        target = request.raw_path
        now = datetime.now(UTC) + self.moved
        fault = fault_of_request(
            self.keys, request.method, target, authorization, body.decode(), now
        )
        if fault:
            raise Refused(401, "SIGN_ERROR", fault)

    def _signature(self, request: web.Request, text: bytes) -> dict[str, str]:
        if self.unsigned:
            return {}
        asked = request.headers.get("Wechatpay-Serial")
        by_public_key = asked == self.keys.public.serial
        pen = self.pen or (self.keys.public if by_public_key else self.listed[-1].pen)
        headers = pen.headers(text, datetime.now(UTC) + self.moved + self.signs_at)
        if self.spoilt:
            self.spoilt -= 1
            probe = "WECHATPAY/SIGNTEST/"
            headers["wechatpay-signature"] = probe + headers["wechatpay-signature"][len(probe) :]
        return headers

    def _failed(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return _json(fault.status, json.dumps({"code": fault.code, "message": "故障"}).encode())


def _text_of(payload: Json | None) -> tuple[int, bytes]:
    if payload is None:
        return 204, b""
    return 200, json.dumps(payload, ensure_ascii=False).encode()


def _json(status: int, text: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=text,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def _amount(wanted: Json, name: str) -> int:
    amount = wanted["amount"]
    assert isinstance(amount, dict)
    value = amount[name]
    assert isinstance(value, int)
    return value
