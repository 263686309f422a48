"""`payonce doctor`: what does not work, and what to do about it, each in a sentence."""

import asyncio
from datetime import UTC, datetime

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.db import accounts
from gateway.errors import ConfigurationError, PayOnceError
from gateway.lifespan import desk_for, pool_for
from gateway.migrate import pending
from gateway.secrets import Cipher
from gateway.settings import Settings
from workers.publish import queue_of

_CLOCK_MAY_DIFFER_S = 5.0
_NOBODY = "PAYONCEDOCTOR0000000000000"


class Finding(Struct, frozen=True):
    what: str
    ok: bool
    says: str


async def examine(settings: Settings) -> list[Finding]:
    """Check the secret keys, PostgreSQL, its migrations and clock, Redis, the message queue, and
    every channel account.
    """
    findings = [_secret_keys(settings), *await _postgresql(settings), await _redis(settings)]
    if settings.events_url is not None:
        findings.append(await _message_queue(settings))
    if all(finding.ok for finding in findings):
        findings += await _channels(settings)
    return findings


def _secret_keys(settings: Settings) -> Finding:
    try:
        Cipher(settings.secret_keys)
    except ConfigurationError as error:
        return Finding("secret keys", False, str(error))
    return Finding("secret keys", True, f"{len(settings.secret_keys)} usable")


async def _postgresql(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        says = "PAYONCE_DATABASE_URL is not set; `payonce up` or `serve` would run an embedded one"
        return [Finding("PostgreSQL", False, says)]
    try:
        async with asyncio.timeout(5), pool_for(settings) as pool, pool.acquire() as conn:
            version = str(await conn.fetchval("SELECT version()"))
            now: datetime = await conn.fetchval("SELECT clock_timestamp()")
        waiting = await pending(settings.database_url)
    except (asyncpg.PostgresError, OSError, PayOnceError) as error:
        return [Finding("PostgreSQL", False, f"{type(error).__name__}: {error}")]
    off_s = abs((datetime.now(UTC) - now).total_seconds())
    return [
        Finding("PostgreSQL", True, version.partition(" on ")[0]),
        Finding("migrations", not waiting, f"run `payonce migrate` for {', '.join(waiting)}")
        if waiting
        else Finding("migrations", True, "all applied"),
        Finding(
            "clock",
            off_s < _CLOCK_MAY_DIFFER_S,
            f"differs from PostgreSQL's by {off_s:.1f} s"
            + ("" if off_s < _CLOCK_MAY_DIFFER_S else "; channels refuse signatures 5 minutes off"),
        ),
    ]


async def _redis(settings: Settings) -> Finding:
    if settings.redis_url is None:
        return Finding("Redis", False, "PAYONCE_REDIS_URL is not set")
    redis = Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        return Finding("Redis", False, f"{type(error).__name__}: payments work, slower, without it")
    finally:
        await redis.aclose()
    return Finding("Redis", True, "answers")


async def _message_queue(settings: Settings) -> Finding:
    queue = queue_of(settings)
    try:
        async with asyncio.timeout(5):
            await queue.ends_at(0)
    except Exception as error:  # noqa: BLE001 - whatever its client raises is what is to be said
        says = f"{type(error).__name__}: PAYONCE_EVENTS_URL does not answer; events wait for it"
        return Finding("message queue", False, says)
    finally:
        await queue.close()
    return Finding("message queue", True, "answers")


async def _channels(settings: Settings) -> list[Finding]:
    """Query a number that no channel can know: a signed "not found" proves keys and clock."""
    async with desk_for(settings) as desk:
        async with desk.pool.acquire() as conn:
            rows = await accounts.read_all(conn)
        findings = []
        for row in rows:
            account = await desk.accounts.by_id(row.id)
            if account is None:
                says = "its settings cannot work; the log says why"
                findings.append(Finding(f"channel {row.id}", False, says))
                continue
            try:
                report = await account.adapter.query(_NOBODY)
            except PayOnceError as error:
                findings.append(Finding(f"channel {row.id}", False, str(error)))
            else:
                findings.append(Finding(f"channel {row.id}", True, f"answers {report.outcome}"))
    return findings
