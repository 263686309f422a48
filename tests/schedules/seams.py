"""Where flows are stopped: the product's own code, with a gate at each of its doors to the world.

Nothing here changes what the product does; it changes when. Every statement and every call to Redis
is a step, as is every call to a channel (`ledger.py`). What is none: the sending of webhooks, the
waking of pages and the enqueueing of jobs, which touch nothing that the rules look at.
"""

import asyncio
import importlib
import itertools
import pkgutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Final

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

import gateway.db
from gateway import ids
from gateway.ids import OrderId
from gateway.locks.claims import Claims
from gateway.payments import calling, capturing, claiming, closing, planning, refunding
from gateway.payments.desk import Errands
from tests.schedules.scheduler import current, step

# Nothing may be late only because a rival was let through first.
_NEVER_S: Final = 600.0
_HOUR_S: Final = 3600.0


class SteppedConnection:
    """A connection whose statements are steps."""

    def __init__(self, real: "PoolConnectionProxy[asyncpg.Record]") -> None:
        self._real = real

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        await step(_name_of(sql))
        return await self._real.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        await step(_name_of(sql))
        return await self._real.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> object:
        await step(_name_of(sql))
        found: object = await self._real.fetchval(sql, *args)
        return found

    async def execute(self, sql: str, *args: object) -> str:
        await step(_name_of(sql))
        return await self._real.execute(sql, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Transactions take turns: each begins with the same row lock, for which a flow would wait
        in the database, where nobody sees that it waits.
        """
        flow = current()
        assert flow is not None
        scheduler = flow.scheduler
        await step("db begin", lambda: not scheduler.in_transaction)
        scheduler.in_transaction = True
        try:
            async with self._real.transaction():
                yield
        finally:
            scheduler.in_transaction = False


class SteppedPool:
    """A pool of them."""

    def __init__(self, real: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._real = real

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[SteppedConnection]:
        async with self._real.acquire() as conn:
            yield SteppedConnection(conn)


class SteppedClaims(Claims):
    """Claims whose scripts are steps; `away`: Redis does not answer, so there are none."""

    away = False

    async def tell_pages(self, order: OrderId, version: int) -> None:
        """Say nothing: no page is open."""

    async def _ask(
        self,
        call: Callable[[], Awaitable[object]],
        deadline_s: float = _NEVER_S,
        **how: bool,
    ) -> object:
        if self.away:
            return None
        verb = call.__qualname__.split(".")[1]  # the method that the lambda was written in
        await step(f"redis {verb}")
        answer = await super()._ask(call, _NEVER_S, **how)
        flow = current()
        if flow is not None and verb != "claim":
            flow.scheduler.news += 1  # the claim may be free, the answer may be there
        return answer


class SteppedErrands(Errands):
    """Errands that are flows of their own, named after the flow that they follow."""

    def run(self, errand: Coroutine[object, object, object]) -> None:
        flow = current()
        if flow is None:
            super().run(errand)
        else:
            flow.scheduler.start_errand(flow, errand)


def take_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a rival's answer waits for news, and gives up when nobody else can go on."""

    async def nap(_pause_s: float) -> None:
        flow = current()
        assert flow is not None
        flow.naps = True

    def monotonic() -> float:
        flow = current()
        return flow.scheduler.hours * _HOUR_S if flow is not None else 0.0

    async def in_turn(*works: Coroutine[object, object, object]) -> list[object]:
        try:
            return [await work for work in works]
        finally:
            for work in works:
                work.close()  # those that a crash left unbegun

    waiting = SimpleNamespace(sleep=nap, get_running_loop=asyncio.get_running_loop)
    # A flow takes one step at a time, also where it would close several attempts at once, or carry
    # on with several refunds.
    monkeypatch.setattr(closing, "asyncio", SimpleNamespace(gather=in_turn))
    monkeypatch.setattr(refunding, "together", lambda _what, works: in_turn(*works))
    monkeypatch.setattr(claiming, "asyncio", waiting)
    monkeypatch.setattr(claiming, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(claiming, "RENEW_EVERY_S", _NEVER_S)
    monkeypatch.setattr(calling, "DEADLINE_S", _NEVER_S)
    # Ids of one millisecond have no order among themselves; here each is above the one before.
    milliseconds = itertools.count(time.time_ns() // 1_000_000)
    clock = SimpleNamespace(time_ns=lambda: next(milliseconds) * 1_000_000)
    monkeypatch.setattr(ids, "time", clock)


class Patience:
    """How long those who wait for a capture that is on its way have waited already."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._apply_waits = planning._CAPTURE_WAIT
        self._call_s = capturing.CALL_S
        self.forgotten_s = capturing.FORGOTTEN_S

    def let_pass(self, seconds: float) -> None:
        """Let it be so many since any call that is under way began."""
        set_ = self._monkeypatch.setattr
        waits = self._apply_waits - timedelta(seconds=seconds)
        set_(planning, "_CAPTURE_WAIT", max(timedelta(), waits))
        set_(capturing, "CALL_S", max(0.0, self._call_s - seconds))
        set_(capturing, "FORGOTTEN_S", max(0.0, self.forgotten_s - seconds))


def _statement_names() -> dict[str, str]:
    found = {}
    for module_info in pkgutil.iter_modules(gateway.db.__path__):
        module = importlib.import_module(f"gateway.db.{module_info.name}")
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, str):
                found[value] = f"{module_info.name}.{name.strip('_').lower()}"
    return found


# A test that weakens a statement adds it here, so that it keeps its name.
NAMES: Final = _statement_names()


def _name_of(sql: str) -> str:
    """Name a statement by its constant."""
    return f"db {NAMES.get(sql, ' '.join(sql.split()[:6]))}"
