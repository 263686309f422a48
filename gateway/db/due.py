"""What is overdue, claimed in small batches with `FOR UPDATE SKIP LOCKED` and no lower time
bound.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import OrderId

_CLAIM_EXPIRED: Final = """
    WITH due AS MATERIALIZED (
        SELECT id FROM orders WHERE due_at <= now()
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE orders o SET due_at = now() + $2 * interval '1 second'
    FROM due WHERE o.id = due.id
    RETURNING o.id
"""
_CLAIM_UNKNOWN_CALLBACKS: Final = """
    WITH due AS MATERIALIZED (
        SELECT id FROM callbacks WHERE retry_at <= now()
        ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE callbacks c SET retry_at = CASE
        WHEN c.received_at > now() - interval '24 hours' THEN now() + interval '1 minute'
    END
    FROM due WHERE c.id = due.id
    RETURNING c.account, c.notification_id, c.number, c.headers, c.body, c.received_at
"""


class UnknownCallback(Struct, frozen=True):
    """A verified callback for a number that we had no attempt for."""

    account: str
    notification_id: str
    number: str
    headers: str  # JSON
    body: bytes
    received_at: datetime


async def claim_expired(conn: Connection, limit: int, lease_s: float) -> list[OrderId]:
    """Claim open orders whose expiry is due to be looked at."""
    return [OrderId(row[0]) for row in await conn.fetch(_CLAIM_EXPIRED, limit, lease_s)]


async def claim_unknown_callbacks(conn: Connection, limit: int) -> list[UnknownCallback]:
    """Claim kept callbacks to be tried again; after 24 hours they wait for a person instead."""
    return [UnknownCallback(*row) for row in await conn.fetch(_CLAIM_UNKNOWN_CALLBACKS, limit)]
