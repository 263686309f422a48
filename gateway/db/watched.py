"""Which of the orders that somebody watches have moved on: one statement for many orders."""

from collections.abc import Sequence
from typing import Final

from gateway.db.orders import Connection
from gateway.ids import OrderId

_NEWER: Final = """
    SELECT o.id FROM unnest($1::text[], $2::bigint[]) AS seen (id, version)
    JOIN orders o ON o.id = seen.id
    WHERE o.version > seen.version
"""


async def newer(
    conn: Connection, order_ids: Sequence[OrderId], versions: Sequence[int]
) -> list[OrderId]:
    """Return those of the orders whose version is above the one given at the same position."""
    return [OrderId(row[0]) for row in await conn.fetch(_NEWER, order_ids, versions)]
