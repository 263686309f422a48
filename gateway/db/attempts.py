"""What is written about attempts beside their state: who may call the channel, and when it is asked
next.

None of this moves a state, so none of it raises the order's version; each names what it found
instead.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import AttemptId

_LEASE: Final = """
    UPDATE attempts SET calling_until = $2
    WHERE id = $1 AND state IN ('created', 'paying') AND (calling_until IS NULL OR calling_until <=
    now()) RETURNING id
"""
_END_LEASE: Final = """
    UPDATE attempts SET calling_until = NULL WHERE id = $1 AND calling_until = $2
"""
_CLAIMED: Final = """
    RETURNING a.id, a.order_id, a.account, a.channel, a.number, a.channel_ref, a.superseded, a.asks,
        a.ask_at, now()
"""
_CLAIM_ASK: Final = f"""
    UPDATE attempts a SET ask_at = now() + $3 * interval '1 second', asks = a.asks + 1
    WHERE a.id = $1 AND a.asks = $2 AND a.ask_at IS NOT NULL
    {_CLAIMED}
"""
_CLAIM_OVERDUE: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM attempts WHERE ask_at <= now() AND account <> ALL($3::text [])
        ORDER BY ask_at, id LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE attempts a SET ask_at = now() + $2 * interval '1 second', asks = a.asks + 1
    FROM due WHERE a.id = due.id
    {_CLAIMED}
"""
# The flag is in the order's JSON, so the order's version rises when it turns; the order first, as
# every write that touches both.
_ASK_NEXT: Final = """
    WITH was AS (
        SELECT id, order_id, needs_attention <> $4 AS turns FROM attempts
        WHERE id = $1 AND ask_at = $2
    ), shown AS (
        UPDATE orders o SET version = version + 1 FROM was
        WHERE o.id = was.order_id AND was.turns
        RETURNING o.id
    )
    UPDATE attempts a SET ask_at = $3, needs_attention = $4
    FROM was LEFT JOIN shown ON shown.id = was.order_id
    WHERE a.id = was.id AND a.ask_at = $2
    RETURNING true
"""
# What named the buyer to the channel is needed while `create` may be repeated, and no longer.
_FORGET_BUYERS: Final = """
    WITH over AS MATERIALIZED (
        SELECT id FROM attempts
        WHERE parameters LIKE '%"buyer":{"name"%' AND live_until <= now()
            AND state NOT IN ('created', 'paying')
        ORDER BY live_until LIMIT $1 FOR UPDATE SKIP LOCKED
    ), forgotten AS (
        UPDATE attempts a SET parameters = jsonb_set(a.parameters::jsonb, '{buyer}', 'null')::text
        FROM over WHERE a.id = over.id RETURNING a.id
    )
    SELECT count(*) FROM forgotten
"""
_COUNT_ATTENTION: Final = (
    "SELECT count(*) FROM attempts WHERE needs_attention AND ask_at IS NOT NULL"
)


class Asking(Struct, frozen=True):
    """An attempt that is ours to ask about: nobody else does until our lease ends."""

    id: AttemptId
    order_id: str
    account: str
    channel: str
    number: str
    channel_ref: str
    superseded: bool
    asks: int  # this one included
    ask_at: datetime  # when our lease ends; where it has another value, a move has spoken since
    claimed_at: datetime  # by the database's clock


async def lease(conn: Connection, attempt: AttemptId, until: datetime) -> bool:
    """Take the right to call `create` for the attempt; False: somebody has it."""
    return bool(await conn.fetchval(_LEASE, attempt, until))


async def end_lease(conn: Connection, attempt: AttemptId, until: datetime) -> None:
    """Give the right back, if it is still the one that was taken."""
    await conn.execute(_END_LEASE, attempt, until)


async def claim_ask(
    conn: Connection, attempt: AttemptId, asks: int, lease_s: float
) -> Asking | None:
    """Claim one ask, as it was after `asks` asks; None: it has moved on."""
    row = await conn.fetchrow(_CLAIM_ASK, attempt, asks, lease_s)
    return Asking(*row) if row else None


async def claim_overdue_asks(
    conn: Connection, limit: int, lease_s: float, without: Sequence[str] = ()
) -> list[Asking]:
    """Claim what is overdue, the longest overdue first, but for the accounts `without`."""
    rows = await conn.fetch(_CLAIM_OVERDUE, limit, lease_s, list(without))
    return [Asking(*row) for row in rows]


async def ask_next(
    conn: Connection, asking: Asking, at: datetime | None, *, needs_attention: bool
) -> bool:
    """Say when it is asked next (None: never again); False: a move has decided that already."""
    return bool(await conn.fetchval(_ASK_NEXT, asking.id, asking.ask_at, at, needs_attention))


async def forget_buyers(conn: Connection, limit: int) -> int:
    """Forget who was named to channels, once no money can arrive any more; returns of how many."""
    return int(await conn.fetchval(_FORGET_BUYERS, limit))


async def count_needing_attention(conn: Connection) -> int:
    return int(await conn.fetchval(_COUNT_ATTENTION))
