"""A shop's counter: callers submit, and it is counted how often the handler behind `once` ran."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import aiohttp
import asyncpg
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from redis.asyncio import Redis

from gateway.locks.claims import Claims
from gateway.locks.once import GUARD, Guard, Submission, once
from gateway.settings import Settings
from gateway.web.middleware import middlewares
from tests.rig import until

Answer: TypeAlias = tuple[int, dict[str, object], str | None]
MANY: Final = 5
LONG_S: Final = 3600.0


class PatientClaims(Claims):
    """Claims that a busy machine does not keep from Redis."""

    async def _ask(
        self,
        call: Callable[[], Awaitable[object]],
        deadline_s: float = 10.0,
        *,
        rests: bool = True,
    ) -> object:
        return await super()._ask(call, deadline_s, rests=rests)


@dataclass
class Counter:
    """What the tests hold of it. Handlers wait until it is `open`, and say what `answer` says."""

    url: str
    guard: Guard
    redis: Redis
    pool: "asyncpg.Pool[asyncpg.Record]"
    runs: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[], Awaitable[web.StreamResponse]] | None = None

    async def submit(
        self,
        body: object = None,
        *,
        to: str = "/guarded/tea",
        caller: str = "ann",
        method: str = "POST",
        address: str = "127.0.0.1",
        form: dict[str, str] | None = None,
    ) -> Answer:
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        headers = {"Caller": caller}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as http,
            http.request(method, self.url + to, json=body, data=form) as got,
        ):
            said = await got.read()
            decoded = msgspec.json.decode(said, type=dict[str, object]) if said else {}
            return got.status, decoded, got.headers.get("Retry-After")

    async def submit_together(self, to: str = "/guarded/tea") -> list[int]:
        """Submit many equal requests, and hold each that runs until the rest are answered."""
        self.open.clear()
        sent = [asyncio.create_task(self.submit({"note": "x"}, to=to)) for _ in range(MANY)]

        def all_have_met() -> bool:
            return self.runs + sum(task.done() for task in sent) >= MANY

        await until(all_have_met)
        self.open.set()
        return sorted(status for status, _, _ in await asyncio.gather(*sent))

    async def end_windows(self) -> None:
        """Let the time of every window pass, in Redis and in PostgreSQL."""
        await self.redis.flushdb()
        await self.pool.execute("UPDATE submissions SET ends_at = now()")


@asynccontextmanager
async def standing(
    claims: Claims, redis: Redis, pool: "asyncpg.Pool[asyncpg.Record]"
) -> AsyncIterator[Counter]:
    """Serve a counter whose handlers do not wait."""
    counter = Counter("", Guard(claims, pool), redis, pool)
    counter.open.set()
    async with TestServer(_app(counter)) as server:
        counter.url = str(server.make_url("")).rstrip("/")
        yield counter


def _app(counter: Counter) -> web.Application:
    """The same handler behind different guards, and behind none."""

    async def handle(request: web.Request, _caller: str) -> web.StreamResponse:
        counter.runs += 1
        await counter.open.wait()
        return await counter.answer() if counter.answer else web.Response()

    async def handle_unknown(request: web.Request) -> web.StreamResponse:
        return await handle(request, "")

    def lines(said: Submission) -> dict[str, object]:
        items = said.body["items"]
        assert isinstance(items, list)
        return {"items": sorted(str(each) for each in items)}

    def told(
        handler: Callable[[web.Request, str], Awaitable[web.StreamResponse]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def tell(request: web.Request) -> web.StreamResponse:
            return await handler(request, request.headers["Caller"])

        return tell

    app = web.Application(middlewares=middlewares(Settings()))
    app[GUARD] = counter.guard
    guards = {
        "guarded": once("what", "note", within_s=LONG_S),
        "short": once("what", "note", within_s=0.2),
        "by": once("what", by=lines, within_s=LONG_S),
    }
    app.router.add_route("*", "/bare/{what}", told(handle))
    for name, guard in guards.items():
        app.router.add_route("*", f"/{name}/{{what}}", told(guard(handle)))
    by_address = once("what", client_address=True, within_s=LONG_S)
    app.router.add_post("/address/{what}", by_address(handle_unknown))
    app.router.add_post("/pay/{token}", once("token", within_s=LONG_S)(handle_unknown))
    return app
