"""Orders and attempts by the thousand, written straight into the databases before the clock runs.

The product's are copies of an order that was made, and of an attempt that was applied for, through
its API, so that they have all that such rows have.
"""

from typing import Final, TypeAlias

import aiohttp
import asyncpg
import msgspec
from msgspec import Struct

from benchmarks.place import HOST
from benchmarks.wechat import CURRENCY, PRICE
from gateway.ids import new_attempt_id, new_checkout_token, new_order_id, number_of

Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_COLUMNS: Final = """
    SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'
"""
_COPY_ORDERS: Final = """
    WITH copy AS (
        SELECT r.* FROM orders o, unnest($2::text [], $3::text []) AS n (id, token),
            LATERAL jsonb_populate_record(
                o, jsonb_build_object('id', n.id, 'token', n.token, 'merchant_order_no', n.id)
            ) AS r
        WHERE o.id = $1
    )
    INSERT INTO orders ({columns}) SELECT {columns} FROM copy
"""
# An attempt is born `created`, as the journal wants it, and then moved.
_COPY_ATTEMPTS: Final = """
    WITH copy AS (
        SELECT r.*
        FROM attempts a, unnest($2::text [], $3::text [], $4::text []) AS n (id, order_id, number),
            LATERAL jsonb_populate_record(a, jsonb_build_object(
                'id', n.id, 'order_id', n.order_id, 'number', n.number, 'state', 'created'
            )) AS r
        WHERE a.id = $1
    )
    INSERT INTO attempts ({columns}) SELECT {columns} FROM copy
"""
_MOVE: Final = "UPDATE attempts SET state = 'paying' WHERE id = any($1::text [])"
_FLOOR_ORDERS: Final = f"INSERT INTO orders (id, amount) SELECT unnest($1::text []), {PRICE}"
_FLOOR_ATTEMPTS: Final = """
    INSERT INTO attempts (number, order_id, state, next_action, ask_at)
    SELECT n.number, n.order_id, 'paying', '{}', now()
    FROM unnest($1::text [], $2::text []) AS n (number, order_id)
"""


class Template(Struct, frozen=True):
    """What is copied: an order as it was made, and one with the attempt that was applied for."""

    fresh_order: str
    paying_order: str
    attempt: str


class _Made(Struct):
    id: str


async def make_template(port: int, api_key: str, channel: str) -> Template:
    """Make two orders through the product's API, and apply for the payment of one."""
    headers = {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.ClientSession(f"http://{HOST}:{port}", headers=headers) as api:

        async def made(path: str, body: dict[str, str | int]) -> str:
            async with api.post(path, json=body) as answer:
                said = await answer.read()
                if answer.status != 201:
                    raise RuntimeError(f"{path} answered {answer.status}: {said.decode()}")
                return msgspec.json.decode(said, type=_Made).id

        orders = [
            await made(
                "/v1/orders",
                {
                    "merchant_order_no": number,
                    "amount": PRICE,
                    "currency": CURRENCY,
                    "subject": f"tea {number}",
                    "expires_in": 24 * 3600,
                },
            )
            for number in ("fresh", "paying")
        ]
        wish: dict[str, str | int] = {"channel": channel, "terminal": "pc"}
        attempt = await made(f"/v1/orders/{orders[1]}/attempts", wish)
    return Template(orders[0], orders[1], attempt)


async def add_orders(db: Database, template: Template, count: int) -> list[str]:
    """Add open orders without attempts to the product; returns their ids."""
    ids = await _add_orders(db, template.fresh_order, count)
    await db.execute("ANALYZE orders")
    return ids


async def add_paying(db: Database, template: Template, count: int) -> list[str]:
    """Add orders with an attempt that is being paid to the product; returns its numbers."""
    orders = await _add_orders(db, template.paying_order, count)
    ids = [new_attempt_id() for _ in orders]
    numbers = [number_of(attempt) for attempt in ids]
    columns = await db.fetchval(_COLUMNS, "attempts")
    copy = _COPY_ATTEMPTS.format(columns=columns)
    await db.execute(copy, template.attempt, ids, orders, numbers)
    await db.execute(_MOVE, ids)
    await db.execute("ANALYZE orders, attempts")
    return numbers


async def add_paying_to_floor(db: Database, count: int) -> list[str]:
    """Add the same to the floors' database; returns the numbers."""
    orders = [new_order_id() for _ in range(count)]
    numbers = [number_of(new_attempt_id()) for _ in orders]
    await db.execute(_FLOOR_ORDERS, orders)
    await db.execute(_FLOOR_ATTEMPTS, numbers, orders)
    await db.execute("ANALYZE orders, attempts")
    return numbers


async def _add_orders(db: Database, like: str, count: int) -> list[str]:
    ids: list[str] = [new_order_id() for _ in range(count)]
    columns = await db.fetchval(_COLUMNS, "orders")
    copy = _COPY_ORDERS.format(columns=columns)
    await db.execute(copy, like, ids, [new_checkout_token() for _ in ids])
    return ids
