"""Two independent PayPals for the adapter to be tried against: the sandbox, and the stub.

The contract speaks of payments that are found by their number and paid by a buyer alone. PayPal's
are found by PayPal's id, and debited when we say so; on these benches the adapter is called as the
gateway calls it, with the ids that it told before, and a buyer who pays is captured at once.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import ClassVar
from urllib.parse import urlsplit

import aiohttp

from gateway.channels.base import (
    Callback,
    CaptureRequest,
    CloseResult,
    Created,
    CreateRequest,
)
from gateway.channels.paypal import PayPal, paypal
from gateway.errors import UnknownKey
from gateway.model import ChannelReport, RefundReport
from gateway.money import Money
from gateway.sandbox.keys import paypal_account
from tests.channels.around import Around
from tests.channels.bench import HURRY_S, Trouble, Verb, serving, times_lost
from tests.channels.sandbox_bench import Errors, Running, SandboxDriven, known_keys, running_sandbox
from tests.fakes.keys import Certified, certified_by
from tests.fakes.paypal_crypto import PayPalSide, signed, stub_side
from tests.fakes.paypal_stub import CERTIFICATE, Fault, Json, PayPalStub, event

ACCOUNT = "acct_1"

_SAID: dict[Trouble, tuple[int, str]] = {
    Trouble.BROKEN_BEFORE: (502, ""),
    Trouble.BROKEN_AFTER: (500, "INTERNAL_SERVER_ERROR"),
    Trouble.TOO_MANY: (429, "RATE_LIMIT_REACHED"),
}


class AsTheGateway(Around):
    """The adapter beside what the gateway keeps of a payment: PayPal's ids."""

    def __init__(self, adapter: PayPal, orders: dict[str, str], captures: dict[str, str]) -> None:
        super().__init__(adapter)
        self.paypal = adapter
        self.orders = orders
        self.captures = captures

    async def create(self, request: CreateRequest) -> Created:
        created = await self.adapter.create(request)
        self.orders[request.number] = created.channel_ref
        return created

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        ref = channel_ref or self.orders.get(number, "")
        return self._noted(await self.adapter.query(number, ref))

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        return await self.adapter.close(number, channel_ref or self.orders.get(number, ""))

    async def capture(self, number: str, money: Money, tries: int = 1) -> ChannelReport:
        request = CaptureRequest(number, self.orders[number], f"{number}C{tries}", money)
        return self._noted(await self.paypal.capture(request))

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        ref = payment_ref or self.captures.get(attempt_number, "")
        return await self.adapter.query_refund(number, attempt_number, ref, sent_at)

    def _noted(self, report: ChannelReport) -> ChannelReport:
        if report.payment_ref:
            self.captures[report.number] = report.payment_ref
        return report


class PayPalBench:
    """What both benches share: the adapters, and the callbacks that a channel never sends."""

    notify_url = "https://pay.example/callbacks/acct_1"

    def __init__(
        self, side: PayPalSide, settings: Mapping[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.side = side
        self.http = http
        self.settings = settings
        self.cert_url = ""
        orders: dict[str, str] = {}
        captures: dict[str, str] = {}
        self.shipped = paypal(ACCOUNT, settings, {}, http)
        self.channel = AsTheGateway(self.shipped, orders, captures)
        hurried = paypal(ACCOUNT, settings, {}, http, deadline_s=HURRY_S)
        self.hurried = AsTheGateway(hurried, orders, captures)

    def genuine(self, body: Json, *, by: Certified | None = None) -> Callback:
        """A webhook with that event, signed by PayPal, or by somebody else with its address."""
        text = json.dumps(body).encode()
        signer, mine = by or self.side.paypal, self.settings["webhook_id"]
        return Callback(
            signed(signer, text, self.cert_url, webhook_id=mine), text, datetime.now(UTC)
        )

    def forged(self, callback: Callback) -> Callback:
        mine = self.settings["webhook_id"]
        headers = signed(self.side.stranger, callback.body, self.cert_url, webhook_id=mine)
        return Callback({**callback.headers, **headers}, callback.body, callback.received_at)

    def of_another_merchant(self, number: str) -> Callback:
        return self.genuine(captured_event(number, payee="AAAAAAAAAAAAA"))

    def of_another_app(self, number: str) -> Callback:
        raise AssertionError("a webhook is of one app, and signed for it")

    async def learnt(self, callback: Callback) -> Callback:
        """The same webhook, once the adapter has what it takes to read it."""
        try:
            self.shipped.read(callback)
        except UnknownKey:
            await self.shipped.refresh_keys()
        return callback


def captured_event(number: str, payee: str = "", status: str = "COMPLETED") -> Json:
    capture: Json = {
        "id": "3C679366HH908993F",
        "status": status,
        "amount": {"currency_code": "AUD", "value": "12.34"},
        "custom_id": number,
    }
    if payee:
        capture["payee"] = {"merchant_id": payee}
    return event("PAYMENT.CAPTURE.COMPLETED", "capture", capture)


class StubBench(PayPalBench):
    """The stub, driven in the test's own process."""

    def __init__(self, stub: PayPalStub, url: str, http: aiohttp.ClientSession) -> None:
        self.stub = stub
        super().__init__(stub.side, stub.side.settings(url, urlsplit(url).netloc), http)
        self.cert_url = url + CERTIFICATE

    async def befall(self, verb: Verb | str, trouble: Trouble) -> None:
        if trouble is Trouble.SPOILT:
            self.stub.spoilt = 1
        else:
            said = _SAID.get(trouble)
            times = times_lost(verb) if said is None else 1
            self.stub.faults[verb] = [Fault(trouble.done, said)] * times

    async def stall(self) -> None:
        self.stub.gate.clear()

    async def approve(self, number: str, instrument: str = "good") -> None:
        self.stub.approve(number, instrument=instrument)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        order = self.stub.of(number)
        price = Money(int(order.unit.amount.value.replace(".", "")), "AUD")
        self.stub.approve(number, "" if amount is None else f"{amount / 100:.2f}")
        await self.channel.capture(number, price)
        return await self.learnt(self.genuine(self.stub.captured_event(number)))

    async def decline(self, number: str) -> None:
        self.stub.approve(number, instrument="declined")

    async def payable(self, number: str) -> bool:
        return not self.stub.of(number).captures

    async def let_refunds_fail(self) -> None:
        self.stub.refunds_fail = True

    async def end_refund(self, number: str) -> Callback:
        self.stub.end_refund(number)
        return await self.learnt(self.genuine(self.stub.refund_event(number)))

    async def known(self) -> list[str]:
        return [order.number for order in self.stub.orders.values()]

    async def given_back(self, number: str) -> dict[str, int]:
        refunds = self.stub.of(number).refunds
        return {one.number: int(one.value.replace(".", "")) for one in refunds}


class SandboxBench(SandboxDriven, PayPalBench):
    kind = "paypal"
    errors: ClassVar[Errors] = {
        trouble: {"status": status} | ({"code": code} if code else {})
        for trouble, (status, code) in _SAID.items()
    }
    asks_by_get = True

    def __init__(self, side: PayPalSide, settings: Mapping[str, str], running: Running) -> None:
        PayPalBench.__init__(self, side, settings, running.http)
        SandboxDriven.__init__(self, running)
        self.cert_url = f"{running.url}/paypal/v1/notifications/certs/CERT-5a5a5a5a-sandbox"

    async def approve(self, number: str, instrument: str = "good") -> None:
        chosen = {"good": "balance", "slow": "reviewed", "declined": "declined"}[instrument]
        form = {
            "token": self.channel.orders[number],
            "action": "approve",
            "instrument": chosen,
        }
        url = f"{self.sandbox}/paypal/checkoutnow"
        async with self.http.post(url, data=form, allow_redirects=False) as answer:
            assert answer.status == 303

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        await self.let_pay(number, amount)
        await self.channel.capture(number, Money(1234, "AUD"))
        return await self.news_of("PAYMENT.CAPTURE.COMPLETED")

    async def end_refund(self, number: str) -> Callback:
        return await self.news_of("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.FAILED")

    async def news_of(self, *kinds: str) -> Callback:
        """Wait for a webhook of that kind; others are passed over."""
        while True:
            callback = await self.news.get()
            if json.loads(callback.body)["event_type"] in kinds:
                self.cert_url = callback.headers["paypal-cert-url"]
                return await self.learnt(callback)


@asynccontextmanager
async def stub_bench() -> AsyncIterator[StubBench]:
    stub = PayPalStub(stub_side())
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        bench = StubBench(stub, url, http)
        await bench.learnt(bench.genuine(captured_event("whichever")))
        yield bench
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench() -> AsyncIterator[SandboxBench]:
    async with running_sandbox() as running:
        settings = paypal_account(known_keys(), f"{running.url}/paypal")
        bench = SandboxBench(_as_stub_side(), settings, running)
        await bench.faults(refund_takes_s=0.05)
        await bench.learnt(bench.genuine(captured_event("whichever")))
        yield bench


@cache
def _as_stub_side() -> PayPalSide:
    """The sandbox's keys in the stub's words, so that callbacks can be made that it never sends."""
    mine = known_keys().paypal
    return replace(stub_side(), paypal=certified_by(mine.signer.key, mine.signer.chain))
