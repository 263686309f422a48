"""Publishing: every event of the log to the message queue, in its order, at least once.

PostgreSQL remembers up to where the queue was told, in one row. Who publishes holds that row's lock
while the queue is called, so that processes take turns and never mix their events; a process that
dies lets go of it. What was sent and not marked is sent again, in the same order.

It has a loop of its own: a queue that is away or slow holds up neither the log nor anything else.
"""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

import asyncpg

from gateway.db import events
from gateway.db.events import Message
from gateway.errors import QueueUnavailable
from gateway.outages import missing, tell
from gateway.settings import AMQP, Settings
from gateway.telemetry import EVENTS_PUBLISHED, EVENTS_WAITING, log
from workers.redis_stream import RedisStream

BATCH: Final = 100
# Below idle_in_transaction_session_timeout: the lock is ours as long as we speak to the queue.
_DEADLINE_S: Final = 3.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0

Said = TypeVar("Said")


class Queue(Protocol):
    """A message queue. Its methods raise whatever its client raises when it is away."""

    async def ends_at(self, published: int) -> int:
        """Return after which position events are wanted: `published`, or before where it lost
        some.
        """

    async def append(self, messages: Sequence[Message]) -> None: ...

    async def close(self) -> None: ...


def queue_of(settings: Settings) -> Queue:
    """Return the queue at `events_url`, which is the Redis of everything else where it is unset."""
    url = settings.events_url or settings.redis_url
    assert url is not None
    if url.startswith(AMQP):
        from workers.amqp_exchange import AmqpExchange  # noqa: PLC0415 - its client is an extra

        return AmqpExchange(url)
    return RedisStream(url, settings.events_kept)


async def keep_publishing(
    pool: "asyncpg.Pool[asyncpg.Record]", queue: Queue, numbered: asyncio.Event, look_every_s: float
) -> None:
    """Publish until cancelled: at once when `numbered` is set, and now and then what another
    process left, or the queue lost.
    """
    failures, pause_s, batch = 0, _FIRST_PAUSE_S, BATCH
    while True:
        numbered.clear()
        try:
            while await publish_some(pool, queue, batch) == batch:  # there is more
                pause_s, batch = _FIRST_PAUSE_S, min(2 * batch, BATCH)
        except asyncpg.LockNotAvailableError:
            pass  # another process publishes; whether it saw our events too is looked at soon
        except Exception as error:  # noqa: BLE001 - whatever it was, the queue is tried again
            failures += 1
            batch = max(batch // 2, 1)  # a slow queue takes so many in time
            if failures == 1 or missing(error) is None:  # one line for as long as an outage lasts
                tell("events_not_published", error)
        else:
            if failures:
                log.info("events_published_again", failures=failures)
            failures, pause_s = 0, _FIRST_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(look_every_s * random.uniform(0.75, 1.25)):
                    await numbered.wait()
            continue
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def publish_some(
    pool: "asyncpg.Pool[asyncpg.Record]", queue: Queue, limit: int = BATCH
) -> int:
    """Publish what comes next; returns how many. Raises LockNotAvailableError, where another
    publishes, and QueueUnavailable: then they are published again.
    """
    async with pool.acquire() as conn, conn.transaction():
        published, newest = await events.lock_queue(conn)
        EVENTS_WAITING.set(newest - published)
        ends_at = await _within_deadline(queue.ends_at(published))
        batch = await events.messages(conn, ends_at, limit)
        if batch:
            await _within_deadline(queue.append(batch))
            await events.published(conn, batch[-1].position)
            EVENTS_WAITING.set(newest - batch[-1].position)
            EVENTS_PUBLISHED.inc(len(batch))
    return len(batch)


async def _within_deadline(said: Awaitable[Said]) -> Said:
    """Speak to the queue. Raises QueueUnavailable, whatever its client raises."""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return await said
    except Exception as error:
        raise QueueUnavailable(type(error).__name__) from error
