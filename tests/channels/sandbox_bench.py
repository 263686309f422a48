"""What every bench beside the sandbox shares: the sandbox is driven alike, whatever it speaks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import ClassVar

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import Struct

from gateway.channels.base import Callback
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from gateway.sandbox.server import sandbox_app
from tests.channels.bench import HURRY_S, Trouble, serving, times_lost

Errors = Mapping[Trouble, Mapping[str, object]]
"""What the control call is told of each trouble that is an answer, beside the verb."""


class LedgerRefund(Struct, frozen=True):
    number: str
    amount: int


class LedgerEntry(Struct, frozen=True):
    number: str
    refunds: list[LedgerRefund]


class Ledger(Struct, frozen=True):
    data: list[LedgerEntry]


class Running(Struct, frozen=True):
    """A sandbox that runs; `news` is what it tells the merchant at `notify_url`."""

    url: str
    notify_url: str
    news: asyncio.Queue[Callback]
    http: aiohttp.ClientSession


class SandboxDriven:
    """The half of a `Bench` that drives the sandbox over HTTP, as anybody would."""

    kind: str
    errors: ClassVar[Errors]
    asks_by_get = False

    def __init__(self, running: Running) -> None:
        self.notify_url = running.notify_url
        self.sandbox = running.url
        self.news = running.news
        self._http = running.http

    async def befall(self, verb: str, trouble: Trouble) -> None:
        error = self.errors.get(trouble)
        call = {"verb": verb, "after_executing": trouble.done}
        if trouble is Trouble.SPOILT:
            await self.faults(probe_answers=1)
        elif error is None:
            times = times_lost(verb) if self.asks_by_get else 1
            await self.faults(lose_answer={**call, "times": times})
        else:
            await self.faults(error={**call, **error})

    async def stall(self) -> None:
        await self.faults(latency_s=HURRY_S * 4)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        await self.let_pay(number, amount)
        return await self.news.get()

    async def let_pay(self, number: str, amount: int | None) -> None:
        assert await self.control("pay", number=number, amount=amount) == 200

    async def decline(self, number: str) -> None:
        assert await self.control("decline", number=number) == 200

    async def payable(self, number: str) -> bool:
        return await self.control("pay", number=number) == 200

    async def let_refunds_fail(self) -> None:
        await self.faults(refund_end="closed")

    async def end_refund(self, _number: str) -> Callback:
        return await self.news.get()

    async def known(self) -> list[str]:
        return [entry.number for entry in (await self._ledger()).data]

    async def given_back(self, number: str) -> dict[str, int]:
        entry = next(one for one in (await self._ledger()).data if one.number == number)
        return {refund.number: refund.amount for refund in entry.refunds}

    async def faults(self, **fields: object) -> None:
        assert await self.control("faults", **fields) == 200

    async def control(self, call: str, **fields: object) -> int:
        body = {"channel": self.kind, **fields}
        async with self._http.post(f"{self.sandbox}/_control/{call}", json=body) as answer:
            return answer.status

    async def _ledger(self) -> Ledger:
        async with self._http.get(f"{self.sandbox}/_control/ledger") as answer:
            return msgspec.json.decode(await answer.read(), type=Ledger)


@asynccontextmanager
async def running_sandbox() -> AsyncIterator[Running]:
    """The sandbox, and a merchant's server that keeps what it is told."""
    news: asyncio.Queue[Callback] = asyncio.Queue()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with serving(_merchant(news)) as merchant, aiohttp.ClientSession() as http:
        notify_url = f"{merchant}/callbacks"
        webhooks = dict.fromkeys(("paypal", "stripe"), notify_url)
        sandbox = sandbox_app(known_keys(), public_url=url, pace=0.001, webhooks=webhooks)
        async with TestServer(sandbox, port=port):
            yield Running(url, notify_url, news, http)


def _merchant(news: asyncio.Queue[Callback]) -> web.Application:
    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        news.put_nowait(Callback(headers, await request.read(), datetime.now(UTC)))
        return web.Response(body=b"success")

    app = web.Application()
    app.router.add_post("/callbacks", take)
    return app


@cache
def known_keys() -> SandboxKeys:
    """The keys that every sandbox here has."""
    return sandbox_keys(None)
