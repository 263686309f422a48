"""Publishing to the message queue: every event, in the log's order, whatever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.db import events
from gateway.db.events import Message
from gateway.embedded import start_valkey
from gateway.errors import QueueUnavailable
from gateway.together import end
from tests.rig import StartRig, until
from tests.workers.log import commit_event, number, numbered_events, the_log
from workers.publish import keep_publishing, publish_some
from workers.redis_stream import STREAM, RedisStream

KEPT = 1000
NEVER_S = 3600.0
Fields = dict[bytes, bytes]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[RedisStream]:
    queue = RedisStream(redis_url, KEPT)
    yield queue
    await queue.close()


async def entries(redis: Redis) -> list[Fields]:
    """Return what is on the stream, oldest first."""
    return [fields for _, fields in await redis.xrange(STREAM)]


async def on_stream(redis: Redis) -> list[str]:
    return [fields[b"id"].decode() for fields in await entries(redis)]


@asynccontextmanager
async def publishing(
    pool: asyncpg.Pool, queue: RedisStream, look_every_s: float = NEVER_S
) -> AsyncIterator[asyncio.Event]:
    """Publish for as long as the block runs; what is yielded says that there is more."""
    numbered = asyncio.Event()
    task = asyncio.create_task(keep_publishing(pool, queue, numbered, look_every_s))
    try:
        yield numbered
    finally:
        await end([task])


async def test_a_settled_payment_is_on_the_stream_as_the_webhook_says_it(
    start_rig: StartRig, redis: Redis
) -> None:
    rig = await start_rig(worker=True)
    order = await rig.order()
    await rig.apply(order)
    await rig.pay((await rig.read(order)).attempts[0].number)
    await rig.receiver.wait_for("order.paid", order.id)
    await until(lambda: on_stream(redis))
    (fields,) = await entries(redis)
    body, position = await rig.desk.pool.fetchrow("SELECT body, position FROM events") or ("", 0)
    assert fields == {
        b"id": rig.receiver.received[0].id.encode(),
        b"type": b"order.paid",
        b"merchant": b"demo",
        b"order": order.id.encode(),
        b"version": str(rig.receiver.received[0].version).encode(),
        b"position": str(position).encode(),
        b"body": body.encode(),
    }


class Dies(RedisStream):
    """A process that dies after it told the queue and before it marked that."""

    async def append(self, messages: Sequence[Message]) -> None:
        await super().append(messages)
        raise ConnectionResetError


async def test_a_crash_between_publish_and_mark_repeats_and_loses_nothing(
    pool: asyncpg.Pool, redis_url: str, redis: Redis, queue: RedisStream
) -> None:
    first = await numbered_events(pool, 2)
    assert await publish_some(pool, queue) == 2
    then = await numbered_events(pool, 3)
    dying = Dies(redis_url, KEPT)
    with pytest.raises(QueueUnavailable):
        await publish_some(pool, dying)
    await dying.close()
    assert await publish_some(pool, queue) == 3
    assert await publish_some(pool, queue) == 0
    assert await on_stream(redis) == [*first, *then, *then]


async def test_a_flushed_redis_gets_all_that_the_stream_had(
    pool: asyncpg.Pool, redis: Redis, queue: RedisStream
) -> None:
    before = await numbered_events(pool, 5)
    await publish_some(pool, queue)
    await redis.flushdb()
    async with publishing(pool, queue, look_every_s=0.05):  # nobody needs to commit anything
        await until(lambda: on_stream(redis))
    assert await on_stream(redis) == before


async def test_a_stream_that_lost_its_end_gets_it_again(
    pool: asyncpg.Pool, redis: Redis, queue: RedisStream
) -> None:
    """A failover to a replica that was behind: it is restored here from what it was."""
    log = await numbered_events(pool, 2)
    await publish_some(pool, queue)
    keys = await redis.keys()
    behind = {key: await redis.dump(key) for key in keys}
    log += await numbered_events(pool, 2)
    await publish_some(pool, queue)
    for key, dump in behind.items():
        await redis.restore(key, 0, dump, replace=True)
    assert await publish_some(pool, queue) == 2
    assert await on_stream(redis) == log


async def test_a_new_stream_begins_with_the_newest_and_the_length_is_bounded(
    pool: asyncpg.Pool, redis_url: str, redis: Redis
) -> None:
    log = await numbered_events(pool, 130)
    await events_are_published_up_to(pool, 130)
    small = RedisStream(redis_url, kept=100)
    while await publish_some(pool, small):
        pass
    await small.close()
    assert await on_stream(redis) == log[-100:]
    tiny = RedisStream(redis_url, kept=1)
    newest = await numbered_events(pool, 200)
    while await publish_some(pool, tiny):
        pass
    await tiny.close()
    left = await on_stream(redis)
    assert left == newest[-len(left) :]
    assert len(left) <= 200


async def events_are_published_up_to(pool: asyncpg.Pool, position: int) -> None:
    async with pool.acquire() as conn:
        await events.published(conn, position)


async def test_what_a_reader_deleted_stays_deleted(
    pool: asyncpg.Pool, redis: Redis, queue: RedisStream
) -> None:
    await numbered_events(pool, 2)
    await publish_some(pool, queue)
    await redis.xdel(STREAM, *[entry for entry, _ in await redis.xrange(STREAM)])
    assert await publish_some(pool, queue) == 0


class Waits(RedisStream):
    """A publisher that is stopped where it is about to tell the queue."""

    def __init__(self, url: str) -> None:
        super().__init__(url, KEPT)
        self.there, self.go_on = asyncio.Event(), asyncio.Event()

    async def append(self, messages: Sequence[Message]) -> None:
        self.there.set()
        await self.go_on.wait()
        await super().append(messages)


@pytest.mark.parametrize("locked", [True, pytest.param(False, id="control: without the lock")])
async def test_two_processes_take_turns(
    pool: asyncpg.Pool,
    redis_url: str,
    redis: Redis,
    queue: RedisStream,
    monkeypatch: pytest.MonkeyPatch,
    locked: bool,
) -> None:
    if not locked:
        unlocked = "SELECT published, (SELECT max(position) FROM events) FROM event_queue"
        monkeypatch.setattr(events, "_LOCK_QUEUE", unlocked)
    first = await numbered_events(pool, 2)
    slow = Waits(redis_url)
    publishing = asyncio.create_task(publish_some(pool, slow))
    await slow.there.wait()
    then = await numbered_events(pool, 2)
    if locked:
        with pytest.raises(asyncpg.LockNotAvailableError):
            await publish_some(pool, queue)
    else:
        await publish_some(pool, queue)
    slow.go_on.set()
    await publishing
    await slow.close()
    await publish_some(pool, queue)
    assert (await on_stream(redis) == first + then) == locked


async def test_concurrent_commits_and_two_publishers_keep_the_order(
    pool: asyncpg.Pool, redis_url: str, redis: Redis, queue: RedisStream
) -> None:
    other = RedisStream(redis_url, KEPT)

    async def commit(wake: Callable[[], None]) -> None:
        for _ in range(15):
            await commit_event(pool)
            await number(pool)
            wake()

    async with publishing(pool, queue, 0.05) as one, publishing(pool, other, 0.05) as two:
        await asyncio.gather(*(commit(wake) for wake in (one.set, two.set, one.set, two.set)))

        async def all_there() -> bool:
            return len(await on_stream(redis)) >= 60

        await until(all_there)
    await other.close()
    assert await on_stream(redis) == await the_log(pool)


async def test_a_dead_queue_is_said_once_hurts_nothing_and_gets_everything_when_it_is_back(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    valkey = await start_valkey(tmp_path)
    queue = RedisStream(valkey.url, KEPT)
    with capture_logs() as lines:
        async with publishing(pool, queue, 0.05):
            log = await numbered_events(pool, 1)
            await until(lambda: published_up_to(pool, 1))
            await valkey.stop()
            log += await numbered_events(pool, 3)
            await until(lambda: bool(lines))
            assert await published_up_to(pool, 1)
            back = await start_valkey(tmp_path, port=int(valkey.url.rpartition(":")[2][:-2]))
            await until(lambda: published_up_to(pool, 4), within_s=30)
    async with Redis.from_url(back.url) as redis:
        assert await on_stream(redis) == log
    await queue.close()
    await back.stop()
    assert [line["event"] for line in lines] == ["events_not_published", "events_published_again"]
    assert lines[0]["outage"] == "queue"


class Slow(RedisStream):
    """A queue that takes ten events in the time there is."""

    async def append(self, messages: Sequence[Message]) -> None:
        if len(messages) > 10:
            raise TimeoutError
        await super().append(messages)


async def test_a_slow_queue_gets_everything_in_smaller_parts(
    pool: asyncpg.Pool, redis_url: str, redis: Redis
) -> None:
    log = await numbered_events(pool, 40)
    queue = Slow(redis_url, KEPT)
    async with publishing(pool, queue):
        await until(lambda: published_up_to(pool, 40), within_s=30)
    await queue.close()
    assert await on_stream(redis) == log


async def published_up_to(pool: asyncpg.Pool, position: int) -> bool:
    return bool(await pool.fetchval("SELECT published = $1 FROM event_queue", position))
