"""PostgreSQL is restarted, dies, stands still, refuses, or takes no writes, while people buy.

Whoever comes is told soon to come again; a payment that was made meanwhile is recorded when it is
back; and our process is not restarted.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import asyncpg
import pytest
import pytest_asyncio

from gateway.embedded import start_postgres
from gateway.ids import new_order_id
from gateway.migrate import migrate
from gateway.push.hub import Hub, Pace
from tests.conftest import database_named
from tests.rig import Rig, StartRig, until
from tests.trouble.doors import Visitors, hear_of_payment
from tests.trouble.judge import judge
from tests.trouble.servers import Breakable, breakable, frozen, killed, restarted
from tests.trouble.story import Merchant, is_ready
from tests.trouble.wire import wired
from tests.web.api import new_order

# So that a server that stands still is given up soon.
IMPATIENT: Final = 0.6
_numbers = itertools.count(1)
Trouble = Callable[[Breakable], AbstractAsyncContextManager[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_to_break(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Breakable]:
    async with breakable(start_postgres, tmp_path_factory.mktemp("postgres")) as server:
        await migrate(server.url)
        yield server


@pytest.fixture
async def own_url(postgres_to_break: Breakable) -> str:
    """A database of the test's own, on the server that may be broken."""
    name = f"test_{next(_numbers)}"
    conn = await asyncpg.connect(database_named(postgres_to_break.url, "template1"))
    try:
        await conn.execute(f"CREATE DATABASE {name} TEMPLATE payonce STRATEGY file_copy")
    finally:
        await conn.close()
    return database_named(postgres_to_break.url, name)


@pytest.mark.parametrize("trouble", [restarted, killed, frozen])
async def test_a_payment_made_while_postgresql_is_away_is_recorded_when_it_is_back(
    start_rig: StartRig, postgres_to_break: Breakable, own_url: str, trouble: Trouble
) -> None:
    rig = await start_rig(database_url=own_url, worker=True, database_timeout_s=IMPATIENT)
    visitors = Visitors(rig)
    await visitors.come()
    page = asyncio.create_task(hear_of_payment(rig, visitors.order.token))
    async with trouble(postgres_to_break):
        await visitors.are_told_to_come_again()
        await visitors.pay_in_vain()
        assert (await is_ready(rig))["postgresql"] == "unreachable"
    await visitors.are_served_after_all()
    await page
    await judge(rig)


async def test_whether_postgresql_stands_still_is_told_soon(
    start_rig: StartRig, postgres_to_break: Breakable, own_url: str
) -> None:
    """Sooner than a statement is given up: a load balancer does not ask for so long."""
    rig = await start_rig(database_url=own_url)
    async with frozen(postgres_to_break):
        assert (await is_ready(rig))["postgresql"] == "unreachable"
    assert await until_standing(rig, "ok")


async def test_nobody_waits_long_for_a_turn_to_read(redis_url: str, database_url: str) -> None:
    """Those who watch read a few at a time; while PostgreSQL stands still no turn comes."""
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool,
        pool.acquire(),
    ):
        hub = Hub(redis_url, pool, Pace(read_s=0.1))
        reads = (hub.read(new_order_id()) for _ in range(20))
        for failure in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(failure, TimeoutError)


@pytest.mark.parametrize("state", [b"57P03", b"53300", b"28000", b"3D000"])
async def test_a_postgresql_that_takes_nobody_is_gone_back_to_when_it_does(
    start_rig: StartRig, database_url: str, state: bytes
) -> None:
    """It is starting, has too many connections, does not know us yet, or is being restored."""
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        visitors = Visitors(rig)
        await visitors.come()
        wire.refuses = state
        wire.hang_up()
        await visitors.are_told_to_come_again()
        await visitors.pay_in_vain()
        wire.refuses = None
        await visitors.are_served_after_all()
        await judge(rig)


async def test_while_there_are_too_many_connections_those_that_are_there_serve(
    start_rig: StartRig, database_url: str
) -> None:
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url)
        order = await rig.order()
        wire.refuses = b"53300"
        merchant = Merchant(rig)
        reads = (merchant.once("GET", f"/v1/orders/{order.id}") for _ in range(20))
        statuses = [answer.status for answer in await asyncio.gather(*reads)]
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert (await merchant.once("GET", f"/v1/orders/{order.id}")).status == 200


async def test_of_two_servers_the_one_that_can_be_written_to_is_found(
    start_rig: StartRig, database_url: str
) -> None:
    """A failover: the first becomes a standby, and a moment later the second is promoted."""
    async with wired(database_url) as first, wired(database_url) as second:
        second.is_standby = True
        both = first.url.replace(f":{first.port}", f":{first.port},127.0.0.1:{second.port}")
        rig = await start_rig(database_url=both, worker=True)
        visitors = Visitors(rig)
        await visitors.come()
        first.is_standby = True
        first.hang_up()
        await visitors.are_told_to_come_again()
        await visitors.pay_in_vain()
        second.is_standby = False
        await visitors.are_served_after_all()
        await judge(rig)


@pytest.mark.parametrize(
    "state", ["53100", "53200", "58030", "40001", "40P01", "55P03", "57014", "57P01", "25006"]
)
async def test_a_statement_that_postgresql_refuses_for_now_leaves_nothing_half_done(
    start_rig: StartRig, database_url: str, state: str
) -> None:
    """A full disk, no memory, a deadlock, a time-out, a standby: all or nothing, and a 503."""
    rig = await start_rig(worker=True)
    visitors = Visitors(rig)
    await visitors.come()
    async with refusing(database_url, state):
        await visitors.cannot_buy()
        await visitors.pay_in_vain()
        order = await rig.read(visitors.order)
        assert (order.state, order.version) == ("open", 3)
    await visitors.are_served_after_all()
    await judge(rig)


async def test_who_holds_a_row_for_long_holds_nobody_up_for_long(
    start_rig: StartRig, database_url: str
) -> None:
    rig = await start_rig(worker=True, database_timeout_s=IMPATIENT)
    visitors = Visitors(rig)
    await visitors.come()
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool,
        pool.acquire() as conn,
        conn.transaction(),
    ):
        await conn.execute("SELECT FROM orders FOR UPDATE")
        await visitors.cannot_buy()
        await visitors.pay_in_vain()
    await visitors.are_served_after_all()
    await judge(rig)


async def test_a_postgresql_that_was_made_read_only_is_said_to_be_so(
    start_rig: StartRig, postgres_to_break: Breakable, own_url: str
) -> None:
    """Hosted databases do that when the disk is nearly full."""
    rig = await start_rig(database_url=own_url, worker=True)
    visitors = Visitors(rig)
    await visitors.come()
    async with read_only(postgres_to_break):
        assert await until_standing(rig, "read_only")
        await visitors.cannot_buy()
        await visitors.pay_in_vain()
    await visitors.are_served_after_all()
    await judge(rig)


async def test_a_key_is_free_again_soon_after_the_request_that_held_it_failed(
    start_rig: StartRig, database_url: str
) -> None:
    """Also where PostgreSQL was away when it should have been given back."""
    merchant = Merchant(await start_rig())
    body = new_order()
    async with refusing(database_url, "57P01", "INSERT ON orders", "DELETE ON idempotency_keys"):
        assert (await merchant.once("POST", "/v1/orders", body, "key")).status == 503
        answer = await merchant.once("POST", "/v1/orders", body, "key")
        assert (answer.status, answer.code) == (409, "request_in_progress")

    async def opened() -> bool:
        return (await merchant.once("POST", "/v1/orders", body, "key")).status == 201

    await until(opened)


@asynccontextmanager
async def refusing(database_url: str, state: str, *what: str) -> AsyncIterator[None]:
    """Let what is done (every change of an order, else what is said) fail with that SQLSTATE."""
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END $$
            """
        )
        for each in what or ("UPDATE ON orders",):
            await conn.execute(f"CREATE TRIGGER refuse BEFORE {each} EXECUTE FUNCTION refuse()")
        yield
        await conn.execute("DROP FUNCTION refuse CASCADE")
    finally:
        await conn.close()


@asynccontextmanager
async def read_only(server: Breakable) -> AsyncIterator[None]:
    """Let the whole server take no writes; who is connected is told, too."""
    conn = await asyncpg.connect(server.url)
    try:
        await conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await conn.execute("SELECT pg_reload_conf()")
        yield
        await conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await conn.execute("SELECT pg_reload_conf()")
    finally:
        await conn.close()


async def until_standing(rig: Rig, standing: str) -> bool:
    async def stands() -> bool:
        return (await is_ready(rig))["postgresql"] == standing

    return await until(stands)
