"""`payonce doctor`: what does not work, and what to do about it, each in a sentence."""

import asyncio
from datetime import UTC, datetime

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.channel_check import check_all
from gateway.db import accounts
from gateway.errors import ConfigurationError, PayOnceError
from gateway.lifespan import pool_for
from gateway.migrate import pending
from gateway.secret_rotation import Rotated, look
from gateway.secrets import Cipher
from gateway.settings import Settings
from workers.publish import queue_of

_CLOCK_MAY_DIFFER_S = 5.0


class Finding(Struct, frozen=True):
    what: str
    ok: bool
    says: str


async def examine(settings: Settings) -> list[Finding]:
    """Check the secret keys and what they encrypt, PostgreSQL, its migrations and clock, Redis, the
    message queue, and every enabled channel account.
    """
    needed = [_secret_keys(settings), *await _postgresql(settings)]
    findings = [*needed, await _redis(settings)]
    if settings.events_url is not None:
        findings.append(await _message_queue(settings))
    if all(finding.ok for finding in needed):
        findings += await _kept(settings)
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


async def _kept(settings: Settings) -> list[Finding]:
    """Look at what is encrypted, and at every enabled account."""
    cipher = Cipher(settings.secret_keys)
    async with pool_for(settings) as pool, pool.acquire() as conn:
        kept = await look(conn, cipher)
        rows = [row for row in await accounts.read_all(conn) if row.enabled]
    checked = await check_all(rows, cipher)
    findings = [Finding(f"channel {each.account}", each.ok, each.says) for each in checked]
    return [_of_rotation(kept), *findings]


def _of_rotation(kept: list[Rotated]) -> Finding:
    lost = [f"{each.holds} ({', '.join(each.unreadable[:10])})" for each in kept if each.unreadable]
    old = [f"{each.holds} ({each.rewritten})" for each in kept if each.rewritten]
    if lost:
        says = f"no key of PAYONCE_SECRET_KEYS decrypts those of {', '.join(lost)}"
        return Finding("secrets", False, f"{says}; add the key that they were written with")
    if old:
        says = f"{', '.join(old)} still need an older key; run `payonce secrets rotate`"
        return Finding("secrets", True, says)
    return Finding("secrets", True, "all encrypted with the first key")
