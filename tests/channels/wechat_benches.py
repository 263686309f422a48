"""Two independent WeChat Pays for the adapter to be tried against: the sandbox, and the stub."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import Struct

from gateway.channels.base import Callback
from gateway.channels.wechat import WeChatPay, wechat_pay
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from gateway.sandbox.server import sandbox_app
from tests.channels.bench import Trouble, Verb
from tests.fakes.wechat_crypto import (
    Certified,
    Json,
    Pen,
    WeChatKeys,
    key_in,
    notification,
    stub_keys,
)
from tests.fakes.wechat_stub import Fault, WeChatStub

ACCOUNT = "acct_1"
HURRY_S = 0.1

_STATUS = {
    Trouble.BROKEN_BEFORE: (500, "SYSTEM_ERROR"),
    Trouble.BROKEN_AFTER: (502, "SERVICE_UNAVAILABLE"),
    Trouble.TOO_MANY: (429, "FREQUENCY_LIMITED"),
}


class Adapters(Struct, frozen=True):
    """The adapter as shipped, and one with a deadline of a tenth of a second."""

    channel: WeChatPay
    hurried: WeChatPay


def adapters(settings: Mapping[str, str], http: aiohttp.ClientSession) -> Adapters:
    return Adapters(
        wechat_pay(ACCOUNT, settings, {}, http),
        wechat_pay(ACCOUNT, settings, {}, http, deadline_s=HURRY_S),
    )


def _times(verb: Verb, status: int | None) -> int:
    """How often a fault must hit to be noticed: aiohttp sends a GET that was cut off once more."""
    asking = (Verb.QUERY, Verb.QUERY_REFUND, Verb.BILL)
    return 2 if status is None and verb in asking else 1


class Forger:
    """Makes the callbacks that a channel never sends, with its own keys or a stranger's."""

    def __init__(self, keys: WeChatKeys, pen: Pen) -> None:
        self.keys = keys
        self.pen = pen  # what the channel signs its callbacks with

    def forged(self, callback: Callback) -> Callback:
        serial = callback.headers["wechatpay-serial"]
        return signed(Pen(serial, self.keys.stranger), callback.body)

    def of_another_merchant(self, number: str) -> Callback:
        return self.genuine({**self._trade(number), "mchid": "1900000999"})

    def of_another_app(self, number: str) -> Callback:
        return self.genuine({**self._trade(number), "appid": "wx0000000000000000"})

    def genuine(self, trade: Json | bytes, event: str = "TRANSACTION.SUCCESS") -> Callback:
        return signed(self.pen, notification(self.keys, event, trade))

    def _trade(self, number: str) -> dict[str, object]:
        return {
            "mchid": self.keys.mchid,
            "appid": self.keys.appid,
            "out_trade_no": number,
            "transaction_id": "4200000000202611220000000001",
            "trade_state": "SUCCESS",
            "amount": {"total": 1234, "payer_total": 1234, "currency": "CNY"},
        }


def signed(pen: Pen, body: bytes) -> Callback:
    now = datetime.now(UTC)
    return Callback(pen.headers(body, now), body, now)


class StubBench(Forger):
    """The stub, driven in the test's own process."""

    notify_url = "https://pay.example/callbacks/acct_1"

    def __init__(self, stub: WeChatStub, url: str, made: Adapters, pen: Pen) -> None:
        super().__init__(stub.keys, pen)
        self.url = url
        self.stub = stub
        self.channel, self.hurried = made.channel, made.hurried
        self._refunds_end = "SUCCESS"

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        if trouble is Trouble.SPOILT:
            self.stub.spoilt = 1
        else:
            status, code = _STATUS.get(trouble, (None, ""))
            self.stub.faults[verb] = [Fault(trouble.done, status, code)] * _times(verb, status)

    async def stall(self) -> None:
        self.stub.gate.clear()

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        self.stub.pay(number, amount)
        return signed(self.pen, self.stub.payment_news(number))

    async def decline(self, number: str) -> None:
        """The real one tells nobody, and nothing changes."""

    async def payable(self, number: str) -> bool:
        return self.stub.trades[number].state == "NOTPAY"

    async def let_refunds_fail(self) -> None:
        self._refunds_end = "CLOSED"

    async def end_refund(self, number: str) -> Callback:
        self.stub.end_refund(number, self._refunds_end)
        return signed(self.pen, self.stub.refund_news(number))

    async def known(self) -> list[str]:
        return list(self.stub.trades)

    async def given_back(self, number: str) -> dict[str, int]:
        return {one.number: one.amount for one in self.stub.trades[number].refunds.values()}


class LedgerRefund(Struct, frozen=True):
    number: str
    amount: int


class LedgerEntry(Struct, frozen=True):
    number: str
    refunds: list[LedgerRefund]


class Ledger(Struct, frozen=True):
    data: list[LedgerEntry]


class SandboxBench(Forger):
    """The sandbox, driven over HTTP as anybody would; `news` is what it tells the merchant."""

    def __init__(
        self,
        keys: WeChatKeys,
        http: aiohttp.ClientSession,
        sandbox: str,
        notify_url: str,
        news: asyncio.Queue[Callback],
    ) -> None:
        super().__init__(keys, keys.public)
        made = adapters(keys.settings(f"{sandbox}/wechat"), http)
        self.channel, self.hurried = made.channel, made.hurried
        self.notify_url = notify_url
        self._http = http
        self._sandbox = sandbox
        self._news = news

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        status, _ = _STATUS.get(trouble, (None, ""))
        if trouble is Trouble.SPOILT:
            await self.faults(probe_answers=1)
        elif status is None:
            lost = {"verb": verb, "after_executing": trouble.done, "times": _times(verb, status)}
            await self.faults(lose_answer=lost)
        else:
            error = {"verb": verb, "status": status, "after_executing": trouble.done}
            await self.faults(error=error)

    async def stall(self) -> None:
        await self.faults(latency_s=HURRY_S * 4)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        assert await self._control("pay", number=number, amount=amount) == 200
        return await self._news.get()

    async def decline(self, number: str) -> None:
        assert await self._control("decline", number=number) == 200

    async def payable(self, number: str) -> bool:
        return await self._control("pay", number=number) == 200

    async def let_refunds_fail(self) -> None:
        await self.faults(refund_end="closed")

    async def end_refund(self, number: str) -> Callback:
        return await self._news.get()

    async def known(self) -> list[str]:
        return [entry.number for entry in (await self._ledger()).data]

    async def given_back(self, number: str) -> dict[str, int]:
        entry = next(one for one in (await self._ledger()).data if one.number == number)
        return {refund.number: refund.amount for refund in entry.refunds}

    async def settle_down(self) -> None:
        """Let refunds end at once, which is before their callback is waited for."""
        await self.faults(refund_takes_s=0)

    async def faults(self, **fields: object) -> None:
        assert await self._control("faults", **fields) == 200

    async def _control(self, call: str, **fields: object) -> int:
        body = {"channel": "wechat", **fields}
        async with self._http.post(f"{self._sandbox}/_control/{call}", json=body) as answer:
            return answer.status

    async def _ledger(self) -> Ledger:
        async with self._http.get(f"{self._sandbox}/_control/ledger") as answer:
            return msgspec.json.decode(await answer.read(), type=Ledger)


@asynccontextmanager
async def stub_bench(*, public_key: bool = True) -> AsyncIterator[StubBench]:
    """The stub with an adapter; without `public_key` it signs with downloaded certificates."""
    stub = WeChatStub(stub_keys())
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        settings = stub.keys.settings(url, public_key=public_key)
        pen = stub.keys.public if public_key else stub.listed[0].pen
        yield StubBench(stub, url, adapters(settings, http), pen)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench() -> AsyncIterator[SandboxBench]:
    """The sandbox with an adapter, and a merchant's server that keeps what it is told."""
    news: asyncio.Queue[Callback] = asyncio.Queue()
    sandbox = sandbox_app(_sandbox_keys(), public_url="https://sandbox.example", pace=0.001)
    async with (
        serving(_merchant(news)) as merchant,
        serving(sandbox) as url,
        aiohttp.ClientSession() as http,
    ):
        keys = _as_stub_keys(_sandbox_keys())
        bench = SandboxBench(keys, http, url, f"{merchant}/callbacks", news)
        await bench.settle_down()
        yield bench


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def _merchant(news: asyncio.Queue[Callback]) -> web.Application:
    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        news.put_nowait(Callback(headers, await request.read(), datetime.now(UTC)))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/callbacks", take)
    return app


@cache
def _sandbox_keys() -> SandboxKeys:
    return sandbox_keys(None)


def _as_stub_keys(keys: SandboxKeys) -> WeChatKeys:
    """The same keys in the stub's words, so that callbacks can be made that no sandbox sends."""
    return WeChatKeys(
        mchid=keys.mchid,
        appid=keys.appid,
        apiv3_key=keys.apiv3_key,
        merchant=Certified(
            Pen(keys.merchant.serial, key_in(keys.merchant.key)), keys.merchant.certificate
        ),
        public=Pen(keys.public_key_id, key_in(keys.public_key_pair)),
        public_pem=keys.public_key,
        certificates=tuple(
            Certified(Pen(one.serial, key_in(one.key)), one.certificate) for one in keys.platform
        ),
        stranger=stub_keys().stranger,
    )
