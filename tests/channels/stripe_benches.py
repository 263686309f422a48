"""Two independent Stripes for the adapters to be tried against: the sandbox, and the stub.

The contract speaks of numbers alone, and asks of a payment that it be paid when the buyer has paid.
So what `create` answered is remembered here, as the gateway does, and what a buyer approved with a
card is captured.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import ClassVar

import aiohttp
import msgspec
from msgspec import Struct

from gateway.channels.base import (
    Callback,
    CaptureRequest,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
)
from gateway.channels.stripe_boleto import StripeBoleto, stripe_boleto
from gateway.channels.stripe_card import StripeCard, stripe_card
from gateway.channels.stripe_connection import DEADLINE_S
from gateway.model import ChannelReport
from gateway.money import Money
from gateway.sandbox.keys import stripe_account
from tests.channels.around import Around
from tests.channels.bench import HURRY_S, Trouble, Verb, serving, times_lost
from tests.channels.sandbox_bench import Errors, Running, SandboxDriven, known_keys, running_sandbox
from tests.fakes.stripe_objects import KEY, SECRET, Fault, Json, signed
from tests.fakes.stripe_stub import StripeStub

ACCOUNT = "acct_1"

_SAID = {Trouble.BROKEN_BEFORE: 502, Trouble.BROKEN_AFTER: 500, Trouble.TOO_MANY: 429}


class EventObject(Struct, frozen=True):
    metadata: dict[str, str] = {}


class EventData(Struct, frozen=True):
    object: EventObject


class Event(Struct, frozen=True):
    """What tells one webhook from another."""

    type: str
    data: EventData


class Remembering(Around):
    """The adapter beside somebody who notes by which id it can be asked."""

    def __init__(self, adapter: Channel, refs: dict[str, str]) -> None:
        super().__init__(adapter)
        self._refs = refs

    async def create(self, request: CreateRequest) -> Created:
        created = await self.adapter.create(request)
        self._refs[request.number] = created.channel_ref
        return created

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        return await self.adapter.query(number, channel_ref or self._refs.get(number, ""))

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        return await self.adapter.close(number, channel_ref or self._refs.get(number, ""))


class StripeBench:
    """What both benches share: the adapters, and the callbacks that a channel never sends."""

    notify_url = "https://pay.example/callbacks/acct_1"

    def __init__(self, kind: str, settings: Mapping[str, str], http: aiohttp.ClientSession) -> None:
        self.kind = kind
        self.http = http
        self.secret = settings["webhook_secret"]
        self.refs: dict[str, str] = {}
        self.shipped = _adapter(kind, settings, http, DEADLINE_S)
        self.channel = Remembering(self.shipped, self.refs)
        self.hurried = Remembering(_adapter(kind, settings, http, HURRY_S), self.refs)

    def genuine(self, event: Json | bytes, at: int | None = None) -> Callback:
        return received(*signed(event, at=at, secret=self.secret))

    def forged(self, callback: Callback) -> Callback:
        return received(*signed(callback.body, secret="whsec_somebodyElses"))

    def of_another_merchant(self, number: str) -> Callback:
        """As those are that come from an account connected to another one."""
        about: Json = {"id": "pi_3Other", "status": "succeeded", "currency": "usd"}
        event = StripeStub().event("payment_intent.succeeded", about, account="acct_1Other")
        return self.genuine(event)

    def of_another_app(self, number: str) -> Callback:
        raise AssertionError("a merchant has no apps at Stripe")

    async def capture(self, number: str) -> ChannelReport:
        """Debit what the buyer approved."""
        assert isinstance(self.shipped, StripeCard)
        wanted = CaptureRequest(number, self.refs[number], f"{number}C1", Money(1234, "AUD"))
        return await self.shipped.capture(wanted)


def _adapter(
    kind: str, settings: Mapping[str, str], http: aiohttp.ClientSession, deadline_s: float
) -> StripeCard | StripeBoleto:
    if kind == "card":
        return stripe_card(ACCOUNT, settings, {}, http, deadline_s=deadline_s)
    return stripe_boleto(ACCOUNT, settings, {}, http, deadline_s=deadline_s)


def received(headers: Mapping[str, str], body: bytes) -> Callback:
    return Callback(headers, body, datetime.now(UTC))


class StubBench(StripeBench):
    """The stub, driven in the test's own process."""

    def __init__(self, kind: str, stub: StripeStub, url: str, http: aiohttp.ClientSession) -> None:
        self.stub = stub
        settings = {"secret_key": KEY, "webhook_secret": SECRET, "base_url": url}
        super().__init__(kind, settings, http)

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        if trouble is Trouble.SPOILT:
            self.stub.spoilt = 1
            return
        said = _SAID.get(trouble)
        times = times_lost(verb) if said is None else 1
        self.stub.faults[verb] = [Fault(trouble.done, said)] * times

    async def stall(self) -> None:
        self.stub.gate.clear()

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        if self.kind == "card":
            self.stub.approve(number)
        self.stub.pay(number, amount)
        return self.genuine(self.stub.paid_event(number))

    async def decline(self, number: str) -> None:
        self.stub.decline(number)

    async def payable(self, number: str) -> bool:
        session = self.stub.of(number).session
        return session is not None and self.stub.sessions[session].status == "open"

    async def let_refunds_fail(self) -> None:
        self.stub.refunds_fail = True

    async def end_refund(self, number: str) -> Callback:
        self.stub.end_refund(number)
        return self.genuine(self.stub.refund_event(number))

    async def known(self) -> list[str]:
        return [one.number for one in self.stub.intents.values()]

    async def given_back(self, number: str) -> dict[str, int]:
        of = self.stub.of(number).id
        taken = [one for one in self.stub.refunds.values() if one.intent == of]
        return {one.metadata["number"]: one.amount for one in taken}


class SandboxBench(SandboxDriven, StripeBench):
    errors: ClassVar[Errors] = {trouble: {"status": said} for trouble, said in _SAID.items()}
    asks_by_get = True

    def __init__(self, kind: str, settings: Mapping[str, str], running: Running) -> None:
        StripeBench.__init__(self, kind, settings, running.http)
        SandboxDriven.__init__(self, running)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        await self.let_pay(number, amount)
        if self.kind == "card":
            await self.capture(number)
        return await self.told(number, "payment_intent.succeeded")

    async def end_refund(self, number: str) -> Callback:
        return await self.told(number, "refund.updated", "refund.failed")

    async def told(self, number: str, *types: str) -> Callback:
        """Wait for a webhook about a number."""
        while True:
            callback = await self.news.get()
            event = msgspec.json.decode(callback.body, type=Event)
            if event.type in types and event.data.object.metadata.get("number") == number:
                return callback


@asynccontextmanager
async def stub_bench(kind: str) -> AsyncIterator[StubBench]:
    stub = StripeStub()
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(kind, stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench(kind: str) -> AsyncIterator[SandboxBench]:
    async with running_sandbox() as running:
        bench = SandboxBench(kind, stripe_account(known_keys(), f"{running.url}/stripe"), running)
        await bench.faults(refund_takes_s=0.05)
        yield bench
