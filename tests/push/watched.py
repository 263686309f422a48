"""Orders to watch, and the two things that happen to them: a commit, and its message."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from redis.asyncio import Redis

from gateway.ids import OrderId, new_checkout_token, new_order_id
from gateway.locks.claims import ORDERS_CHANNEL
from gateway.push.hub import Hub
from tests.rig import until


@asynccontextmanager
async def live(hub: Hub) -> AsyncIterator[Hub]:
    """Run a hub, and begin when its subscription is there and it has looked once."""
    async with hub.running():
        await until(lambda: hub.live)
        yield hub


async def open_order(pool: asyncpg.Pool, return_url: str | None = None) -> OrderId:
    order_id = new_order_id()
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO merchants (id, name, webhook_secrets) VALUES ('m', 'M', '')"
            " ON CONFLICT DO NOTHING"
        )
        await conn.execute(
            "INSERT INTO orders (id, merchant, merchant_order_no, amount, currency, subject, token,"
            " expires_at, return_url)"
            " VALUES ($1, 'm', $1, 100, 'CNY', 'tea', $2, now() + interval '1 hour', $3)",
            order_id,
            new_checkout_token(),
            return_url,
        )
    return order_id


async def change(pool: asyncpg.Pool, order_id: OrderId) -> int:
    """Commit a change; returns the version that it made."""
    async with pool.acquire() as conn:
        version: int = await conn.fetchval(
            "UPDATE orders SET version = version + 1 WHERE id = $1 RETURNING version", order_id
        )
    return version


async def publish(redis: Redis, order_id: OrderId, version: int) -> None:
    await redis.publish(ORDERS_CHANNEL, f"{order_id} {version}")
