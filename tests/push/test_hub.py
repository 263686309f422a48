"""The hub against real servers: nobody who watches misses what was committed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.db.orders import Connection
from gateway.embedded import start_valkey
from gateway.errors import NotFound
from gateway.ids import new_order_id
from gateway.locks.claims import ORDERS_CHANNEL
from gateway.ports import free_port
from gateway.push.hub import Hub, Pace
from tests.push.watched import change, live, open_order, publish
from tests.rig import until

NEVER_S = 3600.0
SOON_S = 5.0
# Nobody is woken but by a message, or because a subscription was made.
BY_MESSAGE = Pace(look_s=NEVER_S, look_alone_s=NEVER_S, reconnect_s=0.01, reconnect_most_s=0.05)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
async def hub(redis_url: str, pool: asyncpg.Pool) -> AsyncIterator[Hub]:
    async with live(Hub(redis_url, pool, BY_MESSAGE)) as hub:
        yield hub


async def test_the_watchers_of_every_process_are_woken(
    redis_url: str, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    async with (
        live(Hub(redis_url, pool, BY_MESSAGE)) as one,
        live(Hub(redis_url, pool, BY_MESSAGE)) as other,
    ):
        with (
            one.watch(order_id) as here,
            other.watch(order_id) as there,
            one.watch(order_id) as too,
        ):
            for watch in (here, there, too):
                assert (await watch.read())[0].version == 1
            await publish(redis, order_id, await change(pool, order_id))
            for watch in (here, there, too):
                assert await watch.changed(SOON_S)
                assert (await watch.read())[0].version == 2


async def test_a_watcher_of_another_order_sleeps_on(
    hub: Hub, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id, other_id = await open_order(pool), await open_order(pool)
    with hub.watch(order_id) as watch, hub.watch(other_id) as other:
        await watch.read()
        await other.read()
        await publish(redis, order_id, await change(pool, order_id))
        assert await watch.changed(SOON_S)
        assert not await other.changed(0)


async def test_a_change_between_watching_and_reading_is_not_missed(
    hub: Hub, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        await publish(redis, order_id, await change(pool, order_id))
        order, _now = await watch.newer(1, SOON_S)
        assert order.version == 2


async def test_control_reading_first_and_watching_then_misses_it(
    hub: Hub, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id, next_id = await open_order(pool), await open_order(pool)
    order, _now = await hub.read(order_id)
    with hub.watch(next_id) as marker:
        await publish(redis, order_id, await change(pool, order_id))
        await publish(redis, next_id, 2)
        assert await marker.changed(SOON_S)  # so the one before has been heard
    with hub.watch(order_id) as watch:
        assert order.version == 1
        assert not await watch.changed(0)


async def test_a_change_while_it_is_being_read_wakes_again(
    hub: Hub, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        async with pool.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            await conn.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(watch.read())
            await until_one_waits_for_a_lock(conn)
            await publish(redis, order_id, 2)
            assert await watch.changed(SOON_S)
            await transaction.rollback()
        assert (await reading)[0].version == 1


async def test_what_was_being_read_before_a_wake_is_not_shared_after_it(
    hub: Hub, redis: Redis, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        async with pool.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            await conn.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            before = asyncio.create_task(watch.read())
            await until_one_waits_for_a_lock(conn)
            await publish(redis, order_id, 2)
            assert await watch.changed(SOON_S)
            after = asyncio.create_task(watch.read())
            await until_one_waits_for_a_lock(conn, readers=2)
            await transaction.rollback()
        await asyncio.gather(before, after)


async def test_watchers_who_wake_together_share_one_read(
    redis_url: str, redis: Redis, database_url: str, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    reads: list[str] = []

    async def count(conn: "PoolConnectionProxy[asyncpg.Record]") -> None:
        conn.add_query_logger(lambda query: reads.append(query.query))

    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1, setup=count) as counted,
        live(Hub(redis_url, counted, BY_MESSAGE)) as hub,
    ):
        watches = [hub.watch(order_id) for _ in range(50)]
        woken = [watch.__enter__() for watch in watches]
        await publish(redis, order_id, await change(pool, order_id))
        assert all(await asyncio.gather(*(watch.changed(SOON_S) for watch in woken)))
        reads.clear()
        readings = await asyncio.gather(*(watch.read() for watch in woken))
        assert {order.version for order, _now in readings} == {2}
        assert len([query for query in reads if "WHERE o.id = $1" in query]) == 1
        for watch in watches:
            watch.__exit__(None, None, None)


async def test_when_redis_comes_back_everybody_learns_what_was_missed(
    tmp_path: Path, pool: asyncpg.Pool
) -> None:
    port = free_port()
    valkey = await start_valkey(tmp_path, port)
    order_id, quiet_id = await open_order(pool), await open_order(pool)
    async with live(Hub(valkey.url, pool, BY_MESSAGE)) as hub:
        with hub.watch(order_id) as watch, hub.watch(quiet_id) as quiet:
            await watch.read()
            await quiet.read()
            await change(pool, order_id)  # and its message is lost
            await valkey.stop()
            assert await watch.changed(SOON_S)
            assert (await watch.read())[0].version == 2
            assert not hub.live
            await change(pool, order_id)
            assert not await watch.changed(0)
            valkey = await start_valkey(tmp_path, port)
            assert await watch.changed(SOON_S)
            assert (await watch.read())[0].version == 3
            assert not await quiet.changed(0)
    await valkey.stop()


async def test_while_redis_is_away_everybody_still_learns(
    tmp_path: Path, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    hub = Hub(nowhere, pool, replace(BY_MESSAGE, look_alone_s=0.02))
    async with hub.running():
        with hub.watch(order_id) as watch:
            await watch.read()
            await change(pool, order_id)
            order, _now = await watch.newer(1, SOON_S)
            assert order.version == 2
            assert not hub.live


async def test_a_redis_that_stopped_answering_is_noticed_and_so_is_its_return(
    tmp_path: Path, pool: asyncpg.Pool
) -> None:
    valkey = await start_valkey(tmp_path)
    order_id = await open_order(pool)
    pace = replace(BY_MESSAGE, silence_s=0.05)
    async with live(Hub(valkey.url, pool, pace)) as hub:
        with hub.watch(order_id) as watch:
            await watch.read()
            os.kill(valkey.pid, signal.SIGSTOP)
            await until(lambda: not hub.live)
            await change(pool, order_id)
            os.kill(valkey.pid, signal.SIGCONT)
            assert await watch.changed(SOON_S)
    await valkey.stop()


async def test_a_process_that_died_between_its_commit_and_its_message_is_made_up_for(
    redis_url: str, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    async with live(Hub(redis_url, pool, replace(BY_MESSAGE, look_s=0.02))) as hub:
        with hub.watch(order_id) as watch:
            await watch.read()
            await change(pool, order_id)
            assert (await watch.newer(1, SOON_S))[0].version == 2


async def test_a_database_that_was_away_is_looked_at_again(
    redis_url: str, database_url: str, pool: asyncpg.Pool
) -> None:
    order_id = await open_order(pool)
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as broken,
        live(Hub(redis_url, broken, replace(BY_MESSAGE, look_s=0.02))) as hub,
    ):
        with hub.watch(order_id) as watch:
            await watch.read()
            async with pool.acquire() as conn:
                for _ in range(5):
                    await conn.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
            await change(pool, order_id)
            assert await watch.changed(SOON_S)


@pytest.mark.parametrize("text", ["", " ", "nonsense", "ord_1 2 3", "ord_1 -1", b"\xff\xfe 2"])
async def test_a_message_that_says_nothing_is_passed_over(
    hub: Hub, redis: Redis, pool: asyncpg.Pool, text: str | bytes
) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        await watch.read()
        await redis.publish(ORDERS_CHANNEL, text)
        await publish(redis, order_id, await change(pool, order_id))
        assert await watch.changed(SOON_S)


async def test_old_news_wakes_nobody(hub: Hub, redis: Redis, pool: asyncpg.Pool) -> None:
    order_id, next_id = await open_order(pool), await open_order(pool)
    version = await change(pool, order_id)
    with hub.watch(order_id) as watch, hub.watch(next_id) as marker:
        await watch.read()
        await publish(redis, order_id, version)
        await publish(redis, next_id, 1)
        assert await marker.changed(SOON_S)  # so the one before has been heard
        assert not await watch.changed(0)


async def test_waiting_ends_when_the_time_is_over(hub: Hub, pool: asyncpg.Pool) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        order, _now = await watch.newer(1, 0.05)
        assert order.version == 1


async def test_who_waits_is_sent_home_when_the_process_stops(hub: Hub, pool: asyncpg.Pool) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        waiting = asyncio.create_task(watch.newer(1, NEVER_S))
        await until(lambda: watch.seen == 1)
        hub.let_go()
        assert (await waiting)[0].version == 1


async def test_nothing_is_kept_of_those_who_left(hub: Hub, pool: asyncpg.Pool) -> None:
    order_id = await open_order(pool)
    with hub.watch(order_id) as watch:
        await watch.read()
        assert hub.watchers(order_id) == 1
    assert hub.watchers(order_id) == 0


async def test_an_order_that_is_not_there_cannot_be_read(hub: Hub) -> None:
    with hub.watch(new_order_id()) as watch, pytest.raises(NotFound):
        await watch.read()


async def until_one_waits_for_a_lock(conn: Connection, readers: int = 1) -> None:
    async def look() -> bool:
        waiting: int = await conn.fetchval(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE NOT l.granted AND d.datname = current_database()"
        )
        return waiting >= readers

    await until(look)
