"""A device that is added just as its order ends hears of it, whichever commits first; and who tells
devices never stands in the way of who settles.
"""

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest

from gateway.db import devices
from gateway.db.devices import NewDevice
from gateway.db.orders import Connection
from gateway.ids import OrderId
from tests.rig import Rig, StartRig, until

_CLOSE = """
    WITH closed AS (
        UPDATE orders SET state = 'closed', closed_at = now(), close_reason = 'merchant',
            due_at = NULL, version = version + 1
        WHERE id = $1 RETURNING id, merchant, version
    )
    INSERT INTO events (id, merchant, type, order_id, version, body)
    SELECT id, merchant, 'order.closed', id, version, '{}' FROM closed
"""
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

GUARDS = [
    pytest.param(True, id="as shipped"),
    pytest.param(False, id="control: the order is not locked"),
]


@pytest.fixture
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(devices, "_ADD", devices._ADD.replace("FOR SHARE", ""))
    return bool(request.param)


@pytest.mark.parametrize("guarded", GUARDS, indirect=True)
async def test_the_order_ends_while_the_device_is_added(start_rig: StartRig, guarded: bool) -> None:
    rig = await start_rig()
    order = (await rig.order()).id
    async with rig.desk.pool.acquire() as first, first.transaction():
        await add(first, order)
        second = asyncio.create_task(close(rig, order))
        await waits_or_is_done(rig, second)
    await second
    assert await told(rig) is guarded


@pytest.mark.parametrize("guarded", GUARDS, indirect=True)
async def test_the_device_is_added_while_the_order_ends(start_rig: StartRig, guarded: bool) -> None:
    rig = await start_rig()
    order = (await rig.order()).id
    async with rig.desk.pool.acquire() as first, first.transaction():
        await first.execute(_CLOSE, order)
        second = asyncio.create_task(add_by_itself(rig, order))
        await waits_or_is_done(rig, second)
    await second
    assert await told(rig) is guarded


@pytest.mark.parametrize("skips", [True, False], ids=["as shipped", "control: it waits for rows"])
async def test_who_tells_devices_and_who_settles_never_wait_for_each_other(
    start_rig: StartRig, monkeypatch: pytest.MonkeyPatch, skips: bool
) -> None:
    """The trigger's one statement is taken apart here, and meets the newer device first."""
    if not skips:
        waits = devices._CLAIM_OF_ORDER.replace("SKIP LOCKED", "")
        monkeypatch.setattr(devices, "_CLAIM_OF_ORDER", waits)
    rig = await start_rig()
    order = (await rig.order()).id
    async with rig.desk.pool.acquire() as conn:
        for digest in (b"1", b"2"):
            await add(conn, order, digest)
        await conn.execute("UPDATE devices SET due_at = now()")

    async def settle(conn: Connection, digest: bytes) -> None:
        await conn.execute("UPDATE devices SET due_at = now(), tries = 0 WHERE digest = $1", digest)

    async def claim() -> None:
        async with rig.desk.pool.acquire() as conn:
            await devices.claim_of_order(conn, order, 30, ["jpush"])

    async with rig.desk.pool.acquire() as settling:
        transaction = settling.transaction()
        await transaction.start()
        await settle(settling, b"2")
        claiming = asyncio.create_task(claim())
        await waits_or_is_done(rig, claiming)
        settled = await is_through(settle(settling, b"1"))
        await transaction.rollback()
    claimed = await is_through(claiming)
    assert (settled and claimed) is skips


async def is_through(work: Awaitable[None]) -> bool:
    """Did it get through, or did PostgreSQL end it as one of two that waited for each other?"""
    try:
        await work
    except asyncpg.DeadlockDetectedError:
        return False
    return True


async def add(conn: Connection, order: OrderId, digest: bytes = b"digest") -> None:
    await devices.add(conn, NewDevice(order, digest, "jpush", b"sealed", "en"), 5)


async def add_by_itself(rig: Rig, order: OrderId) -> None:
    async with rig.desk.pool.acquire() as conn:
        await add(conn, order)


async def close(rig: Rig, order: OrderId) -> None:
    await rig.desk.pool.execute(_CLOSE, order)


async def waits_or_is_done(rig: Rig, task: "asyncio.Task[None]") -> None:
    async def look() -> bool:
        return task.done() or bool(await rig.desk.pool.fetchval(_WAITING))

    await until(look)


async def told(rig: Rig) -> bool:
    """Is the device due to be told?"""
    return bool(await rig.desk.pool.fetchval("SELECT due_at IS NOT NULL FROM devices"))
