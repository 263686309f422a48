"""What a process holds while it runs, in start order; the gateway and the worker enter the same
list.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
from aiohttp import web
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolAcquireContext, PoolConnectionProxy
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from gateway import __version__
from gateway.after import After
from gateway.devices.platforms import platforms_for
from gateway.devices.telling import Devices
from gateway.errors import ConfigurationError
from gateway.locks.claims import Claims
from gateway.locks.once import GUARD, Guard
from gateway.payments.accounts import Accounts
from gateway.payments.desk import Desk, Errands
from gateway.push.hub import Hub
from gateway.redis_connections import tell_their_end
from gateway.secrets import Cipher
from gateway.settings import Settings, read_settings
from gateway.telemetry import log, tracing
from gateway.web.keys import DESK, HUB
from gateway.webhooks import Webhooks, webhook_session
from workers.main import working

_FINISH_WITHIN_S: Final = 10.0
# Until a statement that was given up is cancelled at the server, or else its connection is cut.
_CANCEL_WITHIN_S: Final = 1.0
_SETTINGS_FILE: Final = Path("payonce.toml")


class PlainConnection(asyncpg.Connection):
    """A connection that is not reset when it goes back to the pool.

    Nothing here sets session state, holds a cursor or listens, so the reset would be a round trip
    for nothing after every statement.
    """

    def get_reset_query(self) -> str:
        return ""


CleanupContext = Callable[[web.Application], AsyncIterator[None]]


def settings_from_environment() -> Settings:
    return read_settings(os.environ, _SETTINGS_FILE)


class PatientPool(asyncpg.Pool):
    """A pool that nobody waits for without end: TimeoutError, which is a 503 to a caller."""

    patience_s = 5.0

    def acquire(self, *, timeout: float | None = None) -> "PoolAcquireContext[asyncpg.Record]":
        # A timer costs something, so it is set only where there is something to wait for.
        if timeout is None and self._queue.empty():  # type: ignore[attr-defined]
            timeout = self.patience_s
        return super().acquire(timeout=timeout)

    async def release(
        self,
        connection: "PoolConnectionProxy[asyncpg.Record]",
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's own
    ) -> None:
        """Take a connection back. A server that stands still does not hold up who gave up on it."""
        with suppress(TimeoutError):  # then the connection was cut, and is back all the same
            await super().release(connection, timeout=_CANCEL_WITHIN_S)


@asynccontextmanager
async def pool_for(settings: Settings) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """Open the pool; every statement, lock and forgotten transaction has a limit.

    Of several hosts in the URL it takes the one that can be written to, so a standby that answers
    while a failover is under way is passed over.
    """
    if settings.database_url is None:
        raise ConfigurationError("PAYONCE_DATABASE_URL (database_url): is not set")
    statement_s = settings.database_timeout_s
    pool = PatientPool(
        settings.database_url,
        min_size=2,
        max_size=settings.pool_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300,
        setup=None,
        init=None,
        loop=None,
        timeout=statement_s / 2,
        command_timeout=statement_s * 1.5,  # after the server had its time to say so itself
        target_session_attrs=SessionAttribute.primary,
        connection_class=PlainConnection,
        record_class=asyncpg.Record,
        server_settings={
            "application_name": f"payonce {__version__}",
            "jit": "off",
            "lock_timeout": f"{statement_s * 500:.0f}ms",
            "statement_timeout": f"{statement_s * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": "10s",
        },
    )
    pool.patience_s = statement_s / 2
    async with pool:
        try:
            yield pool
        finally:
            await _close(pool)


async def _close(pool: PatientPool) -> None:
    """Close it when its connections are back; one that does not come back is cut."""
    try:
        async with asyncio.timeout(pool.patience_s):
            await pool.close()
    except TimeoutError:
        log.warning("database_connections_cut", why="they were not given back in time")
        pool.terminate()


@asynccontextmanager
async def desk_for(settings: Settings) -> AsyncIterator[Desk]:
    """Build the desk, and take it apart when the errands are done."""
    if settings.redis_url is None:
        raise ConfigurationError("PAYONCE_REDIS_URL (redis_url): is not set")
    cipher = Cipher(settings.secret_keys)
    # Who finds every connection in use waits for one, rather than taking Redis for dead.
    connections = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=64,
        timeout=1,
        socket_connect_timeout=0.5,
        socket_timeout=5,
        # Nothing is tried twice; but a master that became a replica is left, and found anew.
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[ReadOnlyError],
    )
    tell_their_end(connections)
    redis = Redis(connection_pool=connections)
    with tracing(settings.otlp_endpoint):
        async with (
            pool_for(settings) as pool,
            _channels_session() as channels_http,
            webhook_session(allow_private=settings.allow_private_webhooks) as webhooks_http,
            platforms_for(settings) as platforms,
        ):
            claims = Claims(redis)
            webhooks = Webhooks(
                pool, redis, webhooks_http, cipher, allow_private=settings.allow_private_webhooks
            )
            devices = Devices(pool, cipher, platforms)
            desk = Desk(
                pool=pool,
                redis=redis,
                claims=claims,
                accounts=Accounts(pool, cipher, channels_http),
                webhooks=webhooks,
                devices=devices,
                after=After(claims, webhooks, devices),
                errands=Errands(),
                settings=settings,
            )
            try:
                yield desk
            finally:
                await desk.errands.finish(_FINISH_WITHIN_S)
                await connections.disconnect()


def _channels_session() -> aiohttp.ClientSession:
    # Idle connections end before the channel ends them, so that none is used while it dies.
    connector = aiohttp.TCPConnector(limit=200, keepalive_timeout=15)
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": f"PayOnce/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def hold(settings: Settings, *, worker: bool) -> list[CleanupContext]:
    """Return the application's cleanup contexts, in start order."""

    async def keep_desk(app: web.Application) -> AsyncIterator[None]:
        async with desk_for(settings) as desk:
            app[DESK] = desk
            app[GUARD] = Guard(desk.claims, desk.pool)
            yield

    async def keep_hub(app: web.Application) -> AsyncIterator[None]:
        assert settings.redis_url is not None
        hub = Hub(settings.redis_url, app[DESK].pool)
        async with hub.running():
            app[HUB] = hub
            yield

    async def keep_worker(app: web.Application) -> AsyncIterator[None]:
        assert settings.redis_url is not None
        async with working(app[DESK], settings.redis_url):
            yield

    return [keep_desk, keep_hub, *([keep_worker] if worker else [])]
