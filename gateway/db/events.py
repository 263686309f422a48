"""The outbox and event log: due webhooks, positions in commit order, the merchant's pages, and how
far the message queue was told.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.errors import NotFound
from gateway.ids import EventId

_CLAIMED: Final = "RETURNING e.id, e.merchant, e.url, e.body, e.tries, e.created_at"
_CLAIM: Final = f"""
    UPDATE events e SET deliver_at = now() + $3 * interval '1 second', tries = tries + 1
    WHERE e.id = $1 AND e.tries = $2 AND e.deliver_at IS NOT NULL
    {_CLAIMED}
"""
_CLAIM_OVERDUE: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM events WHERE deliver_at <= now() AND merchant <> ALL($3::text [])
        ORDER BY deliver_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE events e SET deliver_at = now() + $2 * interval '1 second', tries = tries + 1
    FROM due WHERE e.id = due.id
    {_CLAIMED}
"""
_UNDELIVERED_OF_ORDER: Final = """
    SELECT id, tries FROM events WHERE order_id = $1 AND deliver_at IS NOT NULL AND tries = 0
    ORDER BY id
"""
_DELIVERED: Final = """
    UPDATE events SET delivered_at = now(), deliver_at = NULL, given_up_at = NULL, last_error = NULL
    WHERE id = $1 AND delivered_at IS NULL
"""
_TRY_AGAIN: Final = """
    UPDATE events SET deliver_at = now() + $2 * interval '1 second', last_error = $3
    WHERE id = $1 AND delivered_at IS NULL RETURNING deliver_at
"""
_GIVE_UP: Final = """
    UPDATE events SET deliver_at = NULL, given_up_at = now(), last_error = $2
    WHERE id = $1 AND delivered_at IS NULL
"""
_ANY_FRESH: Final = "SELECT EXISTS (SELECT FROM events WHERE position IS NULL)"
_LOCK_NUMBERER: Final = "SELECT pg_advisory_xact_lock(7305881)"
_NUMBER_FRESH: Final = """
    UPDATE events e SET position = f.position
    FROM (
        SELECT fresh.id, nextval('event_positions') AS position
        FROM (SELECT id FROM events WHERE position IS NULL
            ORDER BY created_at, id LIMIT $1) fresh
    ) f
    WHERE e.id = f.id
    RETURNING e.id, e.merchant, e.position
"""
_POSITION: Final = "SELECT position FROM events WHERE merchant = $1 AND id = $2"
_PAGE: Final = """
    SELECT position, body FROM events WHERE merchant = $1 AND position > $2
    ORDER BY position LIMIT $3
"""
_LOCK_QUEUE: Final = """
    SELECT published, (SELECT coalesce(max(position), 0) FROM events) FROM event_queue
    FOR UPDATE OF event_queue NOWAIT
"""
_READ_AFTER: Final = """
    SELECT position, id, type, merchant, order_id, version, body FROM events
    WHERE position > $1 ORDER BY position LIMIT $2
"""
_PUBLISHED: Final = "UPDATE event_queue SET published = $1"
_REDELIVER: Final = """
    UPDATE events SET deliver_at = now(), delivered_at = NULL, given_up_at = NULL, tries = 0
    WHERE merchant = $1 AND id = $2 AND url IS NOT NULL RETURNING id
"""


class Delivery(Struct, frozen=True):
    """A webhook that is ours to send now: nobody else tries it until our lease ends."""

    id: EventId
    merchant: str
    url: str
    body: str
    tries: int  # this one included
    created_at: datetime


class Numbered(Struct, frozen=True):
    id: EventId
    merchant: str
    position: int


class Entry(Struct, frozen=True):
    """An event where a merchant's log has it."""

    position: int
    body: str


class Message(Struct, frozen=True):
    """An event as the message queue carries it: the stored bytes, and what readers choose by."""

    position: int
    id: EventId
    type: str
    merchant: str
    order: str
    version: int
    body: str


async def claim(conn: Connection, event: EventId, tries: int, lease_s: float) -> Delivery | None:
    """Claim one webhook as it was after `tries` tries; None: it is delivered, or somebody's."""
    row = await conn.fetchrow(_CLAIM, event, tries, lease_s)
    return Delivery(*row) if row else None


async def claim_overdue(
    conn: Connection, limit: int, lease_s: float, without: Sequence[str] = ()
) -> list[Delivery]:
    """Claim what is overdue, but for the merchants `without`."""
    rows = await conn.fetch(_CLAIM_OVERDUE, limit, lease_s, list(without))
    return [Delivery(*row) for row in rows]


async def undelivered_of(conn: Connection, order_id: str) -> list[tuple[EventId, int]]:
    """Return the order's webhooks that nobody has tried yet."""
    return [(EventId(row[0]), row[1]) for row in await conn.fetch(_UNDELIVERED_OF_ORDER, order_id)]


async def delivered(conn: Connection, event: EventId) -> None:
    await conn.execute(_DELIVERED, event)


async def try_again(conn: Connection, event: EventId, in_s: float, error: str) -> None:
    await conn.fetchval(_TRY_AGAIN, event, in_s, error)


async def give_up(conn: Connection, event: EventId, error: str) -> None:
    """Stop trying; the event waits in the queue of given-up webhooks for an operator."""
    await conn.execute(_GIVE_UP, event, error)


async def number_fresh(conn: Connection, limit: int) -> list[Numbered]:
    """Give positions to committed events. One numberer at a time, so no reader can skip a late
    commit.
    """
    if not await conn.fetchval(_ANY_FRESH):
        return []
    async with conn.transaction():
        await conn.execute(_LOCK_NUMBERER)
        rows = await conn.fetch(_NUMBER_FRESH, limit)
    return sorted((Numbered(*row) for row in rows), key=lambda event: event.position)


async def page(conn: Connection, merchant: str, after: EventId | None, limit: int) -> list[str]:
    """Return the JSON of a merchant's events in commit order, those after `after`."""
    position = await position_of(conn, merchant, after)
    return [entry.body for entry in await entries(conn, merchant, position, limit)]


async def position_of(conn: Connection, merchant: str, event: EventId | None) -> int:
    """Return where an event stands in its merchant's log, 0 for None. Raises NotFound."""
    if event is None:
        return 0
    position: int | None = await conn.fetchval(_POSITION, merchant, event)
    if position is None:
        raise NotFound(
            f"There is no event {event} in your log. One that you were told of just now is there "
            "in a second: ask again; otherwise begin without `after`."
        )
    return position


async def entries(conn: Connection, merchant: str, position: int, limit: int) -> list[Entry]:
    """Return a merchant's events in commit order, those after `position`."""
    return [Entry(*row) for row in await conn.fetch(_PAGE, merchant, position, limit)]


async def lock_queue(conn: Connection) -> tuple[int, int]:
    """Become the one who publishes, until the transaction ends; returns the position up to which
    the message queue was told, and the newest. Raises LockNotAvailableError where another
    publishes.
    """
    row = await conn.fetchrow(_LOCK_QUEUE)
    assert row is not None
    return row[0], row[1]


async def messages(conn: Connection, position: int, limit: int) -> list[Message]:
    """Return the events of all merchants in commit order, those after `position`."""
    return [Message(*row) for row in await conn.fetch(_READ_AFTER, position, limit)]


async def published(conn: Connection, position: int) -> None:
    await conn.execute(_PUBLISHED, position)


async def redeliver(conn: Connection, merchant: str, event: EventId) -> bool:
    """Make a webhook due again, from its first try; False: no such event, or it has no URL."""
    return bool(await conn.fetchval(_REDELIVER, merchant, event))
