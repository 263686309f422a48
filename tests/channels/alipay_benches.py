"""Two independent Alipays for the adapter to be tried against: the sandbox, and the stub.

The contract speaks of payments that exist once they were made. At Alipay one exists when a buyer
has scanned the code or opened the link; so on these benches somebody does, at once. What holds
before that is shown in `test_alipay_before_the_scan`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.channels.alipay import Alipay, alipay
from gateway.channels.base import (
    AppAction,
    Callback,
    Created,
    CreateRequest,
    NextAction,
    RedirectAction,
)
from gateway.errors import ChannelUnavailable
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    alipay_certificate_account,
    sandbox_keys,
)
from gateway.sandbox.server import sandbox_app
from tests.channels.around import Around
from tests.channels.bench import Trouble, Verb
from tests.channels.wechat_benches import serving
from tests.fakes.alipay_crypto import AlipaySide, Form, key_in, notice_body, stub_side
from tests.fakes.alipay_stub import AlipayStub, Fault

ACCOUNT = "acct_1"
HURRY_S = 0.1
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}

UNKNOWN_OUTCOME = {
    "code": "20000",
    "msg": "Service Currently Unavailable",
    "sub_code": "isp.unknow-error",
}
TOO_MANY = {"code": "40005", "msg": "Call Limited", "sub_code": "isv.app-call-limited"}
_SAID: dict[Trouble, int | dict[str, str]] = {
    Trouble.BROKEN_BEFORE: 502,
    Trouble.BROKEN_AFTER: UNKNOWN_OUTCOME,
    Trouble.TOO_MANY: TOO_MANY,
}

Open = Callable[[str, NextAction | None], Awaitable[None]]


class Opened(Around):
    """The adapter beside a buyer who scans or opens at once what was made."""

    def __init__(self, adapter: Alipay, open_it: Open) -> None:
        super().__init__(adapter)
        self._open = open_it

    async def create(self, request: CreateRequest) -> Created:
        try:
            created = await self.adapter.create(request)
        except ChannelUnavailable:
            # The answer is lost to the merchant; the code may have been seen all the same.
            await self._open(request.number, None)
            raise
        await self._open(request.number, created.next_action)
        return created


class AlipayBench:
    """What both benches share: the adapters, and the callbacks that a channel never sends."""

    notify_url = "https://pay.example/callbacks/acct_1"

    def __init__(
        self, side: AlipaySide, settings: Mapping[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.side = side
        self.http = http
        self.shipped = alipay(ACCOUNT, settings, {}, http)
        self.channel = Opened(self.shipped, self.open)
        self.hurried = alipay(ACCOUNT, settings, {}, http, deadline_s=HURRY_S)

    async def open(self, number: str, action: NextAction | None) -> None:
        """Let the buyer scan or open it."""
        raise NotImplementedError

    def genuine(self, fields: Form) -> Callback:
        return received(notice_body(self.side.alipay.key, fields))

    def forged(self, callback: Callback) -> Callback:
        fields = dict(parse_qsl(callback.body.decode(), strict_parsing=True))
        kept = {name: text for name, text in fields.items() if name not in ("sign", "sign_type")}
        return received(notice_body(self.side.stranger, kept))

    def of_another_merchant(self, number: str) -> Callback:
        return self.genuine({**self.paid_notice(number), "seller_id": "2088999999999999"})

    def of_another_app(self, number: str) -> Callback:
        return self.genuine({**self.paid_notice(number), "app_id": "2021999999999999"})

    def paid_notice(self, number: str) -> dict[str, str]:
        return {
            "app_id": self.side.app_id,
            "seller_id": self.side.seller_id,
            "notify_id": "2026112200222103456045440509361234",
            "notify_type": "trade_status_sync",
            "out_trade_no": number,
            "trade_no": "2026112222001445440500000001",
            "trade_status": "TRADE_SUCCESS",
            "total_amount": "12.34",
            "gmt_payment": "2026-11-22 10:34:56",
        }


def received(body: bytes) -> Callback:
    return Callback(FORM, body, datetime.now(UTC))


class StubBench(AlipayBench):
    """The stub, driven in the test's own process."""

    def __init__(self, stub: AlipayStub, url: str, http: aiohttp.ClientSession) -> None:
        self.stub = stub
        self.url = url
        settings = stub.side.settings(url, certificates=stub.certificates)
        super().__init__(stub.side, settings, http)

    async def open(self, number: str, action: NextAction | None) -> None:
        match action:
            case RedirectAction(url=url):
                await _visit(self.http, url)
            case AppAction(parameters=parameters):
                await _visit(self.http, f"{self.url}/gateway.do?{parameters['orderStr']}")
            case _:
                self.stub.scan(number)

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        if trouble is Trouble.SPOILT:
            self.stub.spoilt = 1
        else:
            self.stub.faults[verb] = [Fault(trouble.done, _SAID.get(trouble))]

    async def stall(self) -> None:
        self.stub.gate.clear()

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        self.stub.pay(number, amount)
        return self.genuine(self.stub.notice(number))

    async def decline(self, number: str) -> None:
        """The real one tells nobody, and nothing changes."""

    async def payable(self, number: str) -> bool:
        trade = self.stub.trades.get(number)
        return number in self.stub.offers and (trade is None or trade.status == "WAIT_BUYER_PAY")

    async def let_refunds_fail(self) -> None:
        """Alipay has no refund that ends later: it gives the money back at once, or refuses."""

    async def end_refund(self, number: str) -> Callback:
        trades = self.stub.trades.items()
        attempt = next(attempt for attempt, trade in trades if number in trade.refunds)
        return self.genuine(self.stub.notice(attempt))

    async def known(self) -> list[str]:
        return list(self.stub.trades)

    async def given_back(self, number: str) -> dict[str, int]:
        return dict(self.stub.trades[number].refunds)


class LedgerRefund(Struct, frozen=True):
    number: str
    amount: int


class LedgerEntry(Struct, frozen=True):
    number: str
    refunds: list[LedgerRefund]


class Ledger(Struct, frozen=True):
    data: list[LedgerEntry]


class SandboxBench(AlipayBench):
    """The sandbox, driven over HTTP as anybody would; `news` is what it tells the merchant."""

    def __init__(
        self,
        side: AlipaySide,
        settings: Mapping[str, str],
        http: aiohttp.ClientSession,
        sandbox: str,
        notify_url: str,
        news: asyncio.Queue[Callback],
    ) -> None:
        super().__init__(side, settings, http)
        self.notify_url = notify_url
        self.sandbox = sandbox
        self._news = news

    async def open(self, number: str, action: NextAction | None) -> None:
        match action:
            case RedirectAction(url=url):
                await _visit(self.http, url)
            case AppAction(parameters=parameters):
                await _visit(
                    self.http, f"{self.sandbox}/alipay/gateway.do?{parameters['orderStr']}"
                )
            case _:
                pass
        await self._control("scan", number=number)

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        said = _SAID.get(trouble)
        if trouble is Trouble.SPOILT:
            await self.faults(probe_answers=1)
        elif said is None:
            await self.faults(
                lose_answer={"verb": verb, "after_executing": trouble.done, "times": 1}
            )
        else:
            error: dict[str, object] = {"verb": verb, "after_executing": trouble.done}
            if isinstance(said, int):
                error["status"] = said
            else:
                error |= {"status": 500, "code": said["sub_code"]}
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

    async def faults(self, **fields: object) -> None:
        assert await self._control("faults", **fields) == 200

    async def _control(self, call: str, **fields: object) -> int:
        body = {"channel": "alipay", **fields}
        async with self.http.post(f"{self.sandbox}/_control/{call}", json=body) as answer:
            return answer.status

    async def _ledger(self) -> Ledger:
        async with self.http.get(f"{self.sandbox}/_control/ledger") as answer:
            return msgspec.json.decode(await answer.read(), type=Ledger)


@asynccontextmanager
async def stub_bench(*, certificates: bool = False) -> AsyncIterator[StubBench]:
    stub = AlipayStub(stub_side(), certificates=certificates)
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench(*, certificates: bool = False) -> AsyncIterator[SandboxBench]:
    """The sandbox with an adapter, and a merchant's server that keeps what it is told."""
    news: asyncio.Queue[Callback] = asyncio.Queue()
    keys = _sandbox_keys()
    sandbox = sandbox_app(keys, public_url="https://sandbox.example", pace=0.001)
    account = alipay_certificate_account if certificates else alipay_account
    async with (
        serving(merchant_server(news)) as merchant,
        serving(sandbox) as url,
        aiohttp.ClientSession() as http,
    ):
        settings = account(keys, f"{url}/alipay")
        yield SandboxBench(_as_stub_side(keys), settings, http, url, f"{merchant}/callbacks", news)


async def _visit(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url, allow_redirects=False) as answer:
        assert answer.status < 400, await answer.text()


def merchant_server(news: asyncio.Queue[Callback]) -> web.Application:
    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        news.put_nowait(Callback(headers, await request.read(), datetime.now(UTC)))
        return web.Response(body=b"success")

    app = web.Application()
    app.router.add_post("/callbacks", take)
    return app


@cache
def _sandbox_keys() -> SandboxKeys:
    return sandbox_keys(None)


def _as_stub_side(keys: SandboxKeys) -> AlipaySide:
    """The sandbox's keys in the stub's words, so that callbacks can be made that it never sends."""
    mine, stub = keys.alipay, stub_side()
    return replace(
        stub,
        app_id=mine.app_id,
        seller_id=mine.seller_id,
        alipay=replace(stub.alipay, key=key_in(mine.alipay[0].key)),
    )
