"""Two independent Alipays for the adapter to be tried against: the sandbox, and the stub.

The contract speaks of payments that exist once they were made. At Alipay one exists when a buyer
has scanned the code or opened the link; so on these benches somebody does, at once. What holds
before that is shown in `test_alipay_before_the_scan`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import parse_qsl

import aiohttp

from gateway.channels.actions import AppAction, NextAction, RedirectAction
from gateway.channels.alipay import Alipay, alipay
from gateway.channels.base import Callback, Created, CreateRequest
from gateway.errors import ChannelUnavailable
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    alipay_certificate_account,
)
from tests.channels.around import Around
from tests.channels.bench import HURRY_S, Trouble, Verb, serving
from tests.channels.sandbox_bench import Errors, Running, SandboxDriven, known_keys, running_sandbox
from tests.fakes.alipay_crypto import AlipaySide, Form, notice_body, stub_side
from tests.fakes.alipay_stub import AlipayStub, Fault
from tests.fakes.keys import key_in

ACCOUNT = "acct_1"
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


class SandboxBench(SandboxDriven, AlipayBench):
    kind = "alipay"
    errors: ClassVar[Errors] = {
        trouble: {"status": said}
        if isinstance(said, int)
        else {"status": 500, "code": said["sub_code"]}
        for trouble, said in _SAID.items()
    }

    def __init__(self, side: AlipaySide, settings: Mapping[str, str], running: Running) -> None:
        AlipayBench.__init__(self, side, settings, running.http)
        SandboxDriven.__init__(self, running)

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
        await self.control("scan", number=number)


@asynccontextmanager
async def stub_bench(*, certificates: bool = False) -> AsyncIterator[StubBench]:
    stub = AlipayStub(stub_side(), certificates=certificates)
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench(*, certificates: bool = False) -> AsyncIterator[SandboxBench]:
    keys = known_keys()
    account = alipay_certificate_account if certificates else alipay_account
    async with running_sandbox() as running:
        settings = account(keys, f"{running.url}/alipay")
        yield SandboxBench(_as_stub_side(keys), settings, running)


async def _visit(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url, allow_redirects=False) as answer:
        assert answer.status < 400, await answer.text()


def _as_stub_side(keys: SandboxKeys) -> AlipaySide:
    """The sandbox's keys in the stub's words, so that callbacks can be made that it never sends."""
    mine, stub = keys.alipay, stub_side()
    return replace(
        stub,
        app_id=mine.app_id,
        seller_id=mine.seller_id,
        alipay=replace(stub.alipay, key=key_in(mine.alipay[0].key)),
    )
