"""Calling the order service: Standard Webhooks, up to three tries at once, then a ladder of days.

What is sent are the stored bytes of the event, so every repeat has the same id and the same body.
An answer of 2xx within five seconds means received; nothing else does, a redirect included.
"""

import asyncio
import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
import asyncpg
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from msgspec import Struct
from redis.asyncio import Redis
from standardwebhooks.webhooks import Webhook
from yarl import URL

from gateway import __version__, jobs
from gateway.db import events, merchants
from gateway.db.events import Delivery
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.ids import EventId
from gateway.secrets import Cipher
from gateway.telemetry import WEBHOOKS, log
from gateway.together import Crew, together

SYNC_TRIES: Final = 3
_SYNC_PAUSE_S: Final = 0.5
_DEADLINE_S: Final = 5.0
# Longer than three tries with their pauses: nobody else sends the event meanwhile.
_LEASE_S: Final = 20.0
LADDER_S: Final = (15, 60, 300, 1800, 7200, 21600, 43200, 86400)
_GIVE_UP_AFTER: Final = timedelta(days=3)


class PublicOnlyResolver(AbstractResolver):
    """Resolves names, and refuses addresses that are not public.

    It is asked for every connection, so a name that changes its address between a check and the
    call (DNS rebinding) does not reach a private network either.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if ipaddress.ip_address(each["host"]).is_global]
        if not public:
            raise OSError(f"{host} is not a public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def webhook_session(*, allow_private: bool) -> aiohttp.ClientSession:
    """Make the session that webhooks are sent with."""
    resolver = None if allow_private else PublicOnlyResolver(ThreadedResolver())
    return aiohttp.ClientSession(
        # No queue in front of the network: the deadline is the order service's, not ours to spend.
        connector=aiohttp.TCPConnector(resolver=resolver, limit=0),
        timeout=aiohttp.ClientTimeout(total=_DEADLINE_S),
        headers={"User-Agent": f"PayOnce/{__version__}"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Failed(Struct, frozen=True):
    """Why a try did not count; it is shown to operators and never holds the merchant's answer."""

    why: str


class Webhooks:
    """Sends events to merchants and writes down how it went."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        redis: Redis,
        http: aiohttp.ClientSession,
        cipher: Cipher,
        *,
        allow_private: bool,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._http = http
        self._cipher = cipher
        self._allow_private = allow_private

    async def deliver_order(self, order_id: str) -> None:
        """Send what the order's last move put into the outbox: the synchronous notification."""
        async with self._pool.acquire() as conn:
            fresh = await events.undelivered_of(conn, order_id)
        for event, tries in fresh:
            await self.deliver(event, tries, SYNC_TRIES)

    async def deliver(self, event: EventId, tries: int, at_once: int = 1) -> None:
        """Send one event as it was after `tries` tries; does nothing where it has moved on."""
        async with self._pool.acquire() as conn:
            delivery = await events.claim(conn, event, tries, _LEASE_S)
        if delivery is not None:
            await self.send_claimed(delivery, at_once)

    async def deliver_overdue(self, limit: int, crew: Crew | None = None) -> int:
        """Send what is overdue, whoever lost it; returns how many were claimed.

        With a crew they are begun, not awaited, and merchants that keep it busy are left for later.
        """
        async with self._pool.acquire() as conn:
            crowded = crew.crowded() if crew else ()
            claimed = await events.claim_overdue(conn, limit, _LEASE_S, crowded)
        if crew is None:
            return await together("deliver", (self.send_claimed(each, 1) for each in claimed))
        for each in claimed:
            crew.begin(each.merchant, self.send_claimed(each, 1))
        return len(claimed)

    async def send_claimed(self, delivery: Delivery, at_once: int) -> None:
        failed: Failed | None = None
        for number in range(at_once):
            if number:
                await asyncio.sleep(_SYNC_PAUSE_S * number)
            failed = await self._send(delivery)
            WEBHOOKS.labels(result="failed" if failed else "delivered").inc()
            if failed is None:
                break
        async with self._pool.acquire() as conn:
            if failed is None:
                await events.delivered(conn, delivery.id)
                return
            again = await self._later(conn, delivery, failed)
        if again is not None:  # a Redis that does not answer keeps no connection busy
            await jobs.hand_in(self._redis, again)

    async def _later(self, conn: Connection, delivery: Delivery, failed: Failed) -> jobs.Job | None:
        """Write when it is tried again; None: it is given up."""
        age = datetime.now(UTC) - delivery.created_at
        log.warning("webhook_failed", event_id=delivery.id, tries=delivery.tries, error=failed.why)
        if age > _GIVE_UP_AFTER:
            await events.give_up(conn, delivery.id, failed.why)
            return None
        delay_s = LADDER_S[min(delivery.tries, len(LADDER_S)) - 1]
        await events.try_again(conn, delivery.id, delay_s, failed.why)
        return jobs.Job("deliver", delivery.id, delivery.tries, delay_s)

    async def _send(self, delivery: Delivery) -> Failed | None:
        try:
            headers = await self._signed(delivery)
        except (ConfigurationError, ValueError) as error:
            return Failed(f"cannot be signed: {error}")
        if not self._allow_private and _is_private_literal(delivery.url):
            return Failed("the notify URL is not a public address")
        try:
            async with self._http.post(
                delivery.url, data=delivery.body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                if 200 <= answer.status < 300:
                    return None
                return Failed(f"answered {answer.status}")
        except TimeoutError:
            return Failed("no answer within 5 s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(f"{type(error).__name__}: could not be reached")

    async def _signed(self, delivery: Delivery) -> dict[str, str]:
        """Sign with every secret that is good now, so that merchants can rotate."""
        async with self._pool.acquire() as conn:
            merchant = await merchants.read(conn, delivery.merchant)
        secrets = self._cipher.decrypt_list(merchant.webhook_secrets) if merchant else []
        if not secrets:
            raise ConfigurationError("the merchant has no webhook secret")
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(delivery.id, now, delivery.body) for secret in secrets
            ),
        }


def _is_private_literal(url: str) -> bool:
    """Addresses written as numbers never reach the resolver."""
    host = URL(url).host or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
