"""Devices of buyers, by order: what of their news is due, claimed under a lease, and when they are
forgotten.

A trigger of the schema makes news due with the event that it is about, also while a device is being
told of the last one; `tries` is then 0 again, and ending that push leaves the mark where it is.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import OrderId

# The order is locked, so that a payment that commits meanwhile is seen here, or sees the row.
_ADD: Final = """
    WITH standing AS MATERIALIZED (
        SELECT id, state, expires_at FROM orders WHERE id = $1 FOR SHARE
    ), older AS (
        DELETE FROM devices WHERE order_id = $1 AND digest IN (
            SELECT digest FROM devices WHERE order_id = $1 AND digest <> $2
            ORDER BY created_at DESC, digest OFFSET $6 - 1
        )
    )
    INSERT INTO devices (order_id, digest, platform, token, language, due_at, forget_at)
    SELECT id, $2, $3, $4, $5, CASE WHEN state <> 'open' THEN now() END,
        expires_at + interval '7 days'
    FROM standing
    ON CONFLICT (order_id, digest) DO NOTHING
"""
_DUE: Final = "due_at <= now() AND (leased_until IS NULL OR leased_until <= now())"
_LEASE: Final = "SET leased_until = now() + $2 * interval '1 second', tries = d.tries + 1"
_LEASED: Final = """
    RETURNING d.order_id, d.digest, d.platform, d.token, d.language, d.told, d.reference, d.tries,
        d.leased_until
"""
# Neither waits for a row: who settles locks the order's devices in some order of its own, and two
# who wait for each other would cost it the settling.
_CLAIM_OF_ORDER: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT order_id, digest FROM devices
        WHERE order_id = $1 AND platform = ANY($3::text []) AND {_DUE}
        FOR UPDATE SKIP LOCKED
    )
    UPDATE devices d {_LEASE}
    FROM due WHERE d.order_id = due.order_id AND d.digest = due.digest
    {_LEASED}
"""
_CLAIM_OVERDUE: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT order_id, digest FROM devices WHERE platform = ANY($3::text []) AND {_DUE}
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE devices d {_LEASE}
    FROM due WHERE d.order_id = due.order_id AND d.digest = due.digest
    {_LEASED}
"""
_END: Final = """
    UPDATE devices SET told = $4, reference = $5, leased_until = NULL,
        due_at = CASE WHEN tries = 0 THEN due_at ELSE now() + $6 * interval '1 second' END
    WHERE order_id = $1 AND digest = $2 AND leased_until = $3
"""
_FORGET: Final = "DELETE FROM devices WHERE order_id = $1 AND digest = $2"
_FORGET_OLD: Final = """
    DELETE FROM devices WHERE forget_at <= now() AND (order_id, digest) IN (
        SELECT d.order_id, d.digest FROM devices d JOIN orders o ON o.id = d.order_id
        WHERE d.forget_at <= now() AND o.state <> 'open' ORDER BY d.forget_at LIMIT $1
    )
"""


class NewDevice(Struct, frozen=True):
    """A device to be told of an order; `token` is encrypted."""

    order_id: OrderId
    digest: bytes
    platform: str
    token: bytes
    language: str


class Due(Struct, frozen=True):
    """A device that is ours to tell now: nobody else does until our lease ends."""

    order_id: OrderId
    digest: bytes
    platform: str
    token: bytes  # encrypted
    language: str
    told: str  # the news that it was told last
    reference: str  # the platform's own id of that
    tries: int  # this one included
    leased_until: datetime


async def add(conn: Connection, device: NewDevice, most: int) -> None:
    """Remember a device; of an order's the `most` newest are kept."""
    await conn.execute(
        _ADD,
        device.order_id,
        device.digest,
        device.platform,
        device.token,
        device.language,
        most,
    )


async def claim_of_order(
    conn: Connection, order: OrderId, lease_s: float, platforms: Sequence[str]
) -> list[Due]:
    """Claim the order's devices that have news to be told now."""
    rows = await conn.fetch(_CLAIM_OF_ORDER, order, lease_s, list(platforms))
    return [Due(*row) for row in rows]


async def claim_overdue(
    conn: Connection, limit: int, lease_s: float, platforms: Sequence[str]
) -> list[Due]:
    """Claim what is overdue on those platforms, whoever lost it."""
    rows = await conn.fetch(_CLAIM_OVERDUE, limit, lease_s, list(platforms))
    return [Due(*row) for row in rows]


async def end(
    conn: Connection, due: Due, told: str, reference: str, again_in_s: float | None
) -> None:
    """End a push: what the device knows now, and when it is tried again; None: never for this
    news. News that came meanwhile stays due.
    """
    await conn.execute(
        _END, due.order_id, due.digest, due.leased_until, told, reference, again_in_s
    )


async def forget(conn: Connection, due: Due) -> None:
    await conn.execute(_FORGET, due.order_id, due.digest)


async def forget_old(conn: Connection, limit: int) -> int:
    """Delete devices whose orders ended a week ago; returns how many."""
    return int((await conn.execute(_FORGET_OLD, limit)).removeprefix("DELETE "))
