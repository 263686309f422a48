"""Redis is restarted, dies, stands still, forgets, refuses, or has become a replica.

Nobody notices but by the clock: orders are opened, paid, refunded and announced as ever, and no
call is refused. When it is back it saves time again, without a restart of ours: claims are taken,
pages are woken, jobs are run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final

import pytest
import pytest_asyncio
from arq.constants import job_key_prefix
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ReadOnlyError

from gateway import jobs
from gateway.db.events import Message
from gateway.embedded import start_valkey
from gateway.ids import AttemptId, EventId, new_attempt_id, new_order_id
from gateway.locks.claims import ORDERS_CHANNEL, Said
from gateway.ports import free_port
from tests.rig import Rig, StartRig, until
from tests.trouble.doors import Visitors, hear_of_payment
from tests.trouble.judge import judge
from tests.trouble.servers import Breakable, breakable, frozen, killed, restarted
from tests.trouble.story import buy, is_ready
from workers.redis_stream import RedisStream

_WITHIN_S: Final = 30.0
Trouble = Callable[[Breakable], AbstractAsyncContextManager[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def valkey_to_break(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Breakable]:
    async with breakable(start_valkey, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@asynccontextmanager
async def forgetful(server: Breakable) -> AsyncIterator[None]:
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        yield


@asynccontextmanager
async def without_scripts(server: Breakable) -> AsyncIterator[None]:
    async with Redis.from_url(server.url) as redis:
        await redis.script_flush()
        yield


@asynccontextmanager
async def hanging_up(server: Breakable) -> AsyncIterator[None]:
    """Everybody's connection is closed: of the pool, of the hub, of the worker."""
    async with Redis.from_url(server.url) as redis:
        await _hang_up(redis)
        yield


@asynccontextmanager
async def full_of_clients(server: Breakable) -> AsyncIterator[None]:
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("maxclients", 1)
        await _hang_up(redis)
        yield
        await redis.config_set("maxclients", 1000)


@asynccontextmanager
async def without_memory(server: Breakable) -> AsyncIterator[None]:
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("maxmemory", 1)
        yield
        await redis.config_set("maxmemory", 0)


@asynccontextmanager
async def demoted(server: Breakable) -> AsyncIterator[None]:
    """It has become a replica, of a master that is not there; its connections stay open."""
    async with Redis.from_url(server.url) as redis:
        await redis.replicaof("127.0.0.1", str(free_port()))
        yield
        await redis.replicaof("NO", "ONE")


@asynccontextmanager
async def loading(server: Breakable) -> AsyncIterator[None]:
    """It was restarted, and reads its file for as long as this lasts."""
    await server.stop()
    reading = await asyncio.start_server(_say_loading, "127.0.0.1", server.port)
    try:
        yield
    finally:
        reading.close()
        await server.start()


async def _say_loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each command, an array of strings, with the same error."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while line := await reader.readline():
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                await reader.readexactly(length + 2)
            writer.write(b"-LOADING Valkey is loading the dataset in memory\r\n")
    writer.close()


async def _hang_up(redis: Redis) -> None:
    for kind in ("normal", "pubsub"):
        await redis.client_kill_filter(_type=kind, skipme=True)


TROUBLES: Final[list[tuple[Trouble, str]]] = [
    (restarted, "unreachable"),
    (killed, "unreachable"),
    (frozen, "unreachable"),
    (loading, "unreachable"),
    (full_of_clients, "unreachable"),
    (without_memory, "read_only"),
    (demoted, "read_only"),
    (forgetful, "ok"),
    (without_scripts, "ok"),
    (hanging_up, "ok"),
]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [pytest.param(trouble, said, id=trouble.__name__) for trouble, said in TROUBLES],
)
async def test_without_redis_people_buy_as_ever_and_with_it_it_helps_again(
    start_rig: StartRig, valkey_to_break: Breakable, trouble: Trouble, said: str
) -> None:
    rig = await start_rig(redis_url=valkey_to_break.url, worker=True)
    visitors = Visitors(rig)
    await visitors.come()
    page = asyncio.create_task(hear_of_payment(rig, visitors.order.token))
    async with trouble(valkey_to_break):
        ready = await is_ready(rig)
        assert (ready["postgresql"], ready["redis"]) == ("ok", said)
        merchant = await buy(rig)
        assert not merchant.told
        assert (await visitors.buyer.get()).status == 200
        await rig.pay(str(visitors.attempt.json["number"]))
        await visitors.merchant.until_paid(visitors.order.id)
    await page
    await helps_again(rig)
    assert not visitors.merchant.told
    await judge(rig)


@pytest.mark.parametrize("trouble", [without_memory, demoted])
async def test_a_redis_that_takes_no_writes_still_wakes_the_pages(
    start_rig: StartRig, valkey_to_break: Breakable, trouble: Trouble
) -> None:
    rig = await start_rig(redis_url=valkey_to_break.url)
    order = new_order_id()
    async with rig.desk.redis.pubsub() as page, trouble(valkey_to_break):
        await page.subscribe(ORDERS_CHANNEL)
        assert (await _next_message(page))["type"] == "subscribe"
        await rig.desk.claims.conclude(order, 2, b"{}")
        assert (await _next_message(page))["data"] == f"{order} 2".encode()


async def test_a_connection_to_a_redis_that_became_a_replica_is_left(
    start_rig: StartRig, valkey_to_break: Breakable
) -> None:
    """The address leads to the new master by now, but not for who stays connected."""
    rig = await start_rig(redis_url=valkey_to_break.url)
    async with demoted(valkey_to_break):
        before = await rig.desk.redis.client_id()
        claim = await rig.desk.claims.claim(new_order_id(), "same")
        assert claim.said is Said.UNAVAILABLE
        assert await rig.desk.redis.client_id() != before


async def test_the_message_queue_leaves_a_redis_that_became_a_replica(
    valkey_to_break: Breakable,
) -> None:
    queue = RedisStream(valkey_to_break.url, kept=1000)
    event = Message(1, EventId("evt_1"), "order.paid", "demo", "ord_1", 1, "{}")
    async with demoted(valkey_to_break), Redis.from_url(valkey_to_break.url) as redis:
        assert await queue.ends_at(0) == 0
        connected = {client["id"] for client in await redis.client_list()}
        with pytest.raises(ReadOnlyError):
            await queue.append([event])
        await queue.ends_at(0)
        assert not connected <= {client["id"] for client in await redis.client_list()}
    await queue.append([event])
    await queue.close()


async def _next_message(page: PubSub) -> dict[str, object]:
    async def heard() -> dict[str, object] | None:
        message: dict[str, object] | None = await page.get_message()
        return message

    return await until(heard)


async def helps_again(rig: Rig) -> None:
    """Redis takes claims, wakes pages, and has its jobs run."""

    async def ready() -> bool:
        return (await is_ready(rig))["redis"] == "ok"

    async def claimed() -> bool:
        return (await rig.desk.claims.claim(new_order_id(), "same")).said is Said.CLAIMED

    async def listened_to() -> bool:
        return (ORDERS_CHANNEL, 1) in await rig.desk.redis.pubsub_numsub(ORDERS_CHANNEL)

    await until(ready, _WITHIN_S)
    await until(claimed, _WITHIN_S)
    await until(listened_to, _WITHIN_S)
    await _a_job_is_run(rig, new_attempt_id())


async def _a_job_is_run(rig: Rig, nobody: AttemptId) -> None:
    """A job about nothing: it does nothing, and is taken away once it was run."""
    job = jobs.Job("ask", nobody, 0, 0)
    await jobs.hand_in(rig.desk.redis, job)

    async def taken() -> bool:
        return not bool(await rig.desk.redis.exists(job_key_prefix + job.id))

    await until(taken, _WITHIN_S)
