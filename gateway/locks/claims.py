"""The order-level claim and the cached answer: one key an order, one Lua script a step, one round
trip each.

Losing any of it costs latency, never money: what a claim guards is guarded again by PostgreSQL. So
a Redis that does not answer in time is treated as "go ahead, PostgreSQL is the judge", and for a
moment after that it is not even asked, so that a dead Redis does not add its time-out to every
request.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway.ids import OrderId
from gateway.jobs import Job, enqueue
from gateway.telemetry import REDIS_ERRORS, log

ORDERS_CHANNEL: Final = b"payonce:orders"
LOG_CHANNEL: Final = b"payonce:log"
CLAIM_TTL_MS: Final = 10_000
RENEW_EVERY_S: Final = 3.0
LIVE_TTL_MS: Final = 10_000
QUIET_MS: Final = 10_000
FINAL_TTL_MS: Final = 24 * 3600 * 1000
_HUSH_DEADLINE_S: Final = 0.05
_DEADLINE_S: Final = 0.5
_REST_AFTER_FAILURE_S: Final = 1.0
_CONCLUDE_TRIES: Final = 2


class Said(StrEnum):
    CLAIMED = "claimed"
    LIVE = "live"  # the same request has a live answer
    FINAL = "final"  # the order is paid or closed
    BUSY = "busy"
    UNAVAILABLE = "unavailable"  # Redis is away: PostgreSQL alone decides


class Claim(Struct, frozen=True):
    """What asking for the claim said; `body` is the cached answer of LIVE and FINAL."""

    said: Said
    token: bytes = b""
    body: bytes = b""


class Run(Protocol):
    """`Redis.execute_command`, whose own signature says nothing."""

    def __call__(self, *words: object) -> Awaitable[object]: ...


class Script:
    """A Lua script by its digest, loaded when the server does not know it."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._run: Run = redis.execute_command
        self._text = (Path(__file__).parent / f"{name}.lua").read_text()
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: list[bytes], args: list[bytes]) -> object:
        try:
            return await self._run("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self._run("EVAL", self._text, len(keys), *keys, *args)

    def add_to(self, pipeline: Pipeline, keys: list[bytes], args: list[bytes]) -> None:
        pipeline.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)


class Claims:
    """The scripts, and what to do when Redis does not answer."""

    def __init__(self, redis: Redis, claim_ttl_ms: int = CLAIM_TTL_MS) -> None:
        self._redis = redis
        self._ttl = str(claim_ttl_ms).encode()
        self._claim = Script(redis, "claim")
        self._remember = Script(redis, "remember")
        self._release = Script(redis, "release")
        self._renew = Script(redis, "renew")
        self._hush = Script(redis, "hush")
        self._conclude = Script(redis, "conclude")
        self._submit = Script(redis, "submit")
        self._rests_until = 0.0

    async def claim(self, order: OrderId, same: str) -> Claim:
        """Take the claim, or learn what is there instead of it."""
        if time.monotonic() < self._rests_until:
            return Claim(Said.UNAVAILABLE)
        token = secrets.token_bytes(12)
        answer = await self._ask(
            lambda: self._claim(_keys(order), [token, self._ttl, same.encode()])
        )
        if not isinstance(answer, list):
            return Claim(Said.UNAVAILABLE, token)  # it may have been taken, and its answer lost
        said = Said(answer[0].decode())
        body = answer[1] if len(answer) > 1 else b""
        return Claim(said, token if said is Said.CLAIMED else b"", body)

    async def renew(self, order: OrderId, claim: Claim) -> None:
        await self._ask(lambda: self._renew(_keys(order)[1:2], [claim.token, self._ttl]))

    async def remember(
        self, order: OrderId, claim: Claim, same: str, body: bytes, job: Job | None
    ) -> None:
        """Cache the live answer, release the claim and enqueue the first poll, in one round
        trip.
        """
        arguments = [claim.token, same.encode(), body, str(LIVE_TTL_MS).encode()]
        if claim.token:
            await self._ask(
                lambda: self._remember_and_enqueue(_keys(order), arguments, job), rests=False
            )

    async def _remember_and_enqueue(
        self, keys: list[bytes], arguments: list[bytes], job: Job | None
    ) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            self._remember.add_to(pipeline, keys, arguments)
            if job is not None:
                enqueue(pipeline, job)
            answers = await pipeline.execute(raise_on_error=False)
        if isinstance(answers[0], NoScriptError):
            await self._remember(keys, arguments)

    async def release(self, order: OrderId, claim: Claim) -> None:
        # Also where Redis did not answer the claim: it may have been taken all the same.
        if claim.token:
            await self._ask(lambda: self._release(_keys(order)[1:2], [claim.token]), rests=False)

    async def hush(self, order: OrderId, version: int) -> None:
        """The callback's lock: it never waits, and its failure is ignored.

        `version` is the order's before the write that it is for.
        """
        arguments = [str(QUIET_MS).encode(), str(version).encode()]
        await self._ask(lambda: self._hush(_keys(order), arguments), _HUSH_DEADLINE_S)

    async def conclude(self, order: OrderId, version: int, final: bytes) -> None:
        """Cache what is final (empty: the order is open), lift the hush, wake the pages.

        Nobody waits for it, so it is tried though Redis did not answer a moment ago: a hush that
        failed may have left an answer that this takes away.
        """
        news = f"{order} {version}".encode()
        lived = str(FINAL_TTL_MS).encode()
        arguments = [final, lived, ORDERS_CHANNEL, news, str(version).encode()]
        for _ in range(_CONCLUDE_TRIES):
            if (
                await self._ask(lambda: self._conclude_or_wake(order, arguments, news), rests=False)
                is not None
            ):
                return

    async def _conclude_or_wake(
        self, order: OrderId, arguments: list[bytes], news: bytes
    ) -> object:
        try:
            return await self._conclude(_keys(order), arguments)
        except ResponseError:
            # A replica, or no memory is left: the pages can be woken all the same.
            await self._redis.publish(ORDERS_CHANNEL, news)
            raise

    async def tell_pages(self, order: OrderId, version: int) -> None:
        await self._ask(lambda: self._redis.publish(ORDERS_CHANNEL, f"{order} {version}"))

    async def tell_feeds(self, merchants: Iterable[str]) -> None:
        """Say whose logs have grown."""
        await self._ask(lambda: self._redis.publish(LOG_CHANNEL, " ".join(merchants)))

    async def submit(self, key: bytes, token: bytes, window_ms: int) -> int:
        """Open the window of a submission; returns for how many ms somebody else's is open.

        0 says that it is ours, or that Redis does not know.
        """
        arguments = [token, str(window_ms).encode()]
        left_ms = await self._ask(lambda: self._submit([key], arguments))
        return left_ms if isinstance(left_ms, int) else 0

    async def withdraw(self, key: bytes, token: bytes) -> None:
        """Close the window of a submission, if it is still ours."""
        await self._ask(lambda: self._release([key], [token]), rests=False)

    async def _ask(
        self,
        call: Callable[[], Awaitable[object]],
        deadline_s: float = _DEADLINE_S,
        *,
        rests: bool = True,
    ) -> object:
        if rests and time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(deadline_s):
                return await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = time.monotonic() + _REST_AFTER_FAILURE_S
            REDIS_ERRORS.inc()
            log.warning("redis_unavailable", outage="redis", error=type(error).__name__)
            return None


def _keys(order: OrderId) -> list[bytes]:
    """Every key of an order has the order as its hash tag, so that one cluster slot holds them
    all.
    """
    tag = f"payonce:{{{order}}}:"
    return [f"{tag}answer".encode(), f"{tag}claim".encode(), f"{tag}quiet".encode()]
