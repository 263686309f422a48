"""Two independent WeChat Pays for the adapter to be tried against: the sandbox, and the stub."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import ClassVar

import aiohttp
from msgspec import Struct

from gateway.channels.base import Callback
from gateway.channels.wechat import WeChatPay, wechat_pay
from gateway.sandbox.keys import SandboxKeys
from tests.channels.bench import HURRY_S, Trouble, Verb, serving, times_lost
from tests.channels.sandbox_bench import Errors, Running, SandboxDriven, known_keys, running_sandbox
from tests.fakes.keys import key_in
from tests.fakes.wechat_crypto import Certified, Json, Pen, WeChatKeys, notification, stub_keys
from tests.fakes.wechat_stub import Fault, WeChatStub

ACCOUNT = "acct_1"

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
            times = times_lost(verb) if status is None else 1
            self.stub.faults[verb] = [Fault(trouble.done, status, code)] * times

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


class SandboxBench(SandboxDriven, Forger):
    kind = "wechat"
    errors: ClassVar[Errors] = {
        trouble: {"status": status} for trouble, (status, _) in _STATUS.items()
    }
    asks_by_get = True

    def __init__(self, keys: WeChatKeys, running: Running) -> None:
        SandboxDriven.__init__(self, running)
        Forger.__init__(self, keys, keys.public)
        made = adapters(keys.settings(f"{running.url}/wechat"), running.http)
        self.channel, self.hurried = made.channel, made.hurried


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
    async with running_sandbox() as running:
        bench = SandboxBench(_as_stub_keys(known_keys()), running)
        # A refund ends at once, which is before its callback is waited for.
        await bench.faults(refund_takes_s=0)
        yield bench


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
