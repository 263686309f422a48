"""Two independent Stripes for the adapters to be tried against: the sandbox, and the stub.

The contract speaks of numbers alone, and asks of a payment that it be paid when the buyer has paid.
So what `create` answered is remembered here, as the gateway does, and what a buyer approved with a
card is captured.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache

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
from gateway.sandbox.keys import SandboxKeys, sandbox_keys, stripe_account
from gateway.sandbox.server import sandbox_app
from tests.channels.alipay_benches import Ledger, merchant_server
from tests.channels.around import Around
from tests.channels.bench import Trouble, Verb
from tests.channels.wechat_benches import serving
from tests.fakes.stripe_objects import KEY, SECRET, Fault, Json, signed
from tests.fakes.stripe_stub import StripeStub

ACCOUNT = "acct_1"
HURRY_S = 0.1

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


def _times(verb: Verb, said: int | None) -> int:
    """How often a fault must hit to be noticed: aiohttp sends a GET that was cut off once more."""
    return 2 if said is None and verb in (Verb.QUERY, Verb.QUERY_REFUND) else 1


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
        self.stub.faults[verb] = [Fault(trouble.done, said)] * _times(verb, said)

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


class SandboxBench(StripeBench):
    """The sandbox, driven over HTTP as anybody would; `news` is what it tells the merchant."""

    def __init__(
        self,
        kind: str,
        settings: Mapping[str, str],
        http: aiohttp.ClientSession,
        sandbox: str,
        news: asyncio.Queue[Callback],
    ) -> None:
        super().__init__(kind, settings, http)
        self.sandbox = sandbox
        self._news = news

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        said = _SAID.get(trouble)
        times = _times(verb, said)
        if trouble is Trouble.SPOILT:
            await self.faults(probe_answers=1)
        elif said is None:
            lost = {"verb": verb, "after_executing": trouble.done, "times": times}
            await self.faults(lose_answer=lost)
        else:
            error = {"verb": verb, "status": said, "after_executing": trouble.done}
            await self.faults(error=error)

    async def stall(self) -> None:
        await self.faults(latency_s=HURRY_S * 4)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        assert await self._control("pay", number=number, amount=amount) == 200
        if self.kind == "card":
            await self.capture(number)
        return await self.told(number, "payment_intent.succeeded")

    async def decline(self, number: str) -> None:
        assert await self._control("decline", number=number) == 200

    async def payable(self, number: str) -> bool:
        return await self._control("pay", number=number) == 200

    async def let_refunds_fail(self) -> None:
        await self.faults(refund_end="closed")

    async def end_refund(self, number: str) -> Callback:
        return await self.told(number, "refund.updated", "refund.failed")

    async def told(self, number: str, *types: str) -> Callback:
        """Wait for a webhook about a number."""
        while True:
            callback = await self._news.get()
            event = msgspec.json.decode(callback.body, type=Event)
            if event.type in types and event.data.object.metadata.get("number") == number:
                return callback

    async def known(self) -> list[str]:
        return [entry.number for entry in (await self._ledger()).data]

    async def given_back(self, number: str) -> dict[str, int]:
        entry = next(one for one in (await self._ledger()).data if one.number == number)
        return {refund.number: refund.amount for refund in entry.refunds}

    async def faults(self, **fields: object) -> None:
        assert await self._control("faults", **fields) == 200

    async def _control(self, call: str, **fields: object) -> int:
        body = {"channel": self.kind, **fields}
        async with self.http.post(f"{self.sandbox}/_control/{call}", json=body) as answer:
            return answer.status

    async def _ledger(self) -> Ledger:
        async with self.http.get(f"{self.sandbox}/_control/ledger") as answer:
            return msgspec.json.decode(await answer.read(), type=Ledger)


@asynccontextmanager
async def stub_bench(kind: str) -> AsyncIterator[StubBench]:
    stub = StripeStub()
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(kind, stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench(kind: str) -> AsyncIterator[SandboxBench]:
    """The sandbox with an adapter, and a merchant's server that keeps what it is told."""
    news: asyncio.Queue[Callback] = asyncio.Queue()
    keys = _sandbox_keys()
    async with serving(merchant_server(news)) as merchant:
        sandbox = sandbox_app(
            keys,
            public_url="https://sandbox.example",
            pace=0.001,
            webhooks={"stripe": f"{merchant}/callbacks"},
        )
        async with serving(sandbox) as url, aiohttp.ClientSession() as http:
            settings = stripe_account(keys, f"{url}/stripe")
            bench = SandboxBench(kind, settings, http, url, news)
            await bench.faults(refund_takes_s=0.05)
            yield bench


@cache
def _sandbox_keys() -> SandboxKeys:
    return sandbox_keys(None)
