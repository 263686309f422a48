"""The journal: every move of an order, its attempts and its refunds, written by triggers."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import OrderId

_TIMELINE: Final = """
    SELECT noun, noun_id, from_state, to_state, cause, evidence, at
    FROM journal WHERE order_id = $1 ORDER BY id
"""


class Move(Struct, frozen=True):
    noun: str
    noun_id: str
    from_state: str
    to_state: str
    cause: str
    evidence: int | None  # the callback that it rests on
    at: datetime


async def timeline(conn: Connection, order: OrderId) -> list[Move]:
    return [Move(*row) for row in await conn.fetch(_TIMELINE, order)]
