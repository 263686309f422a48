"""Inserting an order, unless the same purchase was made within the window."""

import struct
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import OrderId
from gateway.model import NewOrder

_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_TWIN: Final = """
    SELECT id, token FROM orders
    WHERE fingerprint = $1 AND created_at > now() - $2 * interval '1 second'
        AND merchant_order_no <> $3
    ORDER BY created_at LIMIT 1
"""
_INSERT: Final = """
    INSERT INTO orders (id, merchant, token, fingerprint, merchant_order_no, amount, currency,
    subject,
        buyer_id, items, notify_url, return_url, metadata, expires_at, due_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
        now() + $14 * interval '1 second', now() + $14 * interval '1 second')
"""


class Row(Struct, frozen=True):
    """What we add to the request."""

    id: OrderId
    merchant: str
    token: str
    fingerprint: bytes | None


class Twin(Struct, frozen=True):
    """The order that the same purchase made a moment ago."""

    id: OrderId
    token: str


async def insert(conn: Connection, row: Row, new: NewOrder, window_s: int) -> Twin | None:
    """Insert an order; returns its twin instead, where there is one within the window.

    The advisory lock on the fingerprint makes two requests at once take turns. Raises
    asyncpg.UniqueViolationError where the merchant's number is taken.
    """
    if row.fingerprint is None or window_s == 0:
        await _insert(conn, row, new)
        return None
    async with conn.transaction():
        await conn.execute(_LOCK, struct.unpack("!q", row.fingerprint[:8])[0])
        twin = await conn.fetchrow(_TWIN, row.fingerprint, window_s, new.merchant_order_no)
        if twin is not None:
            return Twin(*twin)
        await _insert(conn, row, new)
    return None


async def _insert(conn: Connection, row: Row, new: NewOrder) -> None:
    await conn.execute(
        _INSERT,
        row.id,
        row.merchant,
        row.token,
        row.fingerprint,
        new.merchant_order_no,
        new.amount,
        new.currency,
        new.subject,
        new.buyer_id,
        new.items,
        new.notify_url,
        new.return_url,
        new.metadata,
        new.expires_in_s,
    )
