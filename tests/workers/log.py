"""Events without the payments behind them, for tests that need many."""

import asyncpg

from gateway.db import events
from gateway.db.orders import Connection
from gateway.ids import EventId, OrderId, new_event_id
from tests.push.watched import open_order

MERCHANT = "m"


async def commit_event(pool: asyncpg.Pool) -> EventId:
    """Commit an event of a merchant's order, as a settled payment does."""
    return await insert_event(pool, await open_order(pool))


async def insert_event(conn: "Connection | asyncpg.Pool", order: OrderId) -> EventId:
    event = new_event_id()
    await conn.execute(
        "INSERT INTO events (id, merchant, type, order_id, version, body)"
        " VALUES ($1, $2, 'order.paid', $3, 2, $4)",
        event,
        MERCHANT,
        order,
        f'{{"id":"{event}"}}',
    )
    return event


async def number(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        while await events.number_fresh(conn, 100):
            pass


async def numbered_events(pool: asyncpg.Pool, count: int) -> list[EventId]:
    """Commit so many and number them; returns them in the log's order."""
    for _ in range(count):
        await commit_event(pool)
    await number(pool)
    return (await the_log(pool))[-count:]


async def the_log(pool: asyncpg.Pool) -> list[EventId]:
    """Return all events by their positions."""
    return [EventId(row[0]) for row in await pool.fetch("SELECT id FROM events ORDER BY position")]
