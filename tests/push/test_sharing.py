"""Who may share a read: only those who came before it looked at the database."""

import asyncio

import asyncpg
import pytest

from gateway.db import orders
from gateway.db.orders import Connection, Reading
from gateway.ids import OrderId
from gateway.push.hub import Hub
from tests.push.watched import change, open_order


class SharingToTheEnd(Hub):
    """As it would be if everybody shared a read until it is over."""

    async def _read(self, order_id: OrderId) -> Reading:
        async with self._reads, self._pool.acquire() as conn:
            reading = await orders.read(conn, order_id)
        assert reading is not None
        return reading


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        pytest.param(Hub, 2, id="as shipped"),
        pytest.param(SharingToTheEnd, 1, id="control: shared to the end"),
    ],
)
async def test_a_read_that_began_before_a_commit_is_not_shared_with_who_comes_after_it(
    redis_url: str,
    pool: asyncpg.Pool,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Hub],
    version: int,
) -> None:
    """Nobody was woken yet, and whoever reads now must see what is committed all the same."""
    order_id = await open_order(pool)
    hub = kind(redis_url, pool)
    has_read, goes_on = asyncio.Event(), asyncio.Event()
    read = orders.read

    async def read_slowly(conn: Connection, order_id: OrderId) -> Reading | None:
        """The first reading is made, and still on its way to us when others come."""
        reading = await read(conn, order_id)
        if not has_read.is_set():
            has_read.set()
            await goes_on.wait()
        return reading

    monkeypatch.setattr(orders, "read", read_slowly)
    early = asyncio.create_task(hub.read(order_id))
    await has_read.wait()
    await change(pool, order_id)
    late = asyncio.create_task(hub.read(order_id))  # it runs before what the next line wakes
    goes_on.set()
    assert (await late)[0].version == version
    assert (await early)[0].version == 1
