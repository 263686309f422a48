"""The right to debit, where the channel debits on our call: claimed and given back.

Each names the order's version and raises it, like every write that moves a state; what takes
nothing leaves the version alone. Only `gateway.payments` may call these.
"""

from datetime import datetime
from typing import Final

from gateway.db.orders import Connection
from gateway.ids import AttemptId
from gateway.model import Attempt, Order

# The right to debit: while the order is open, by the attempt that the buyer is offered, and not
# while an earlier call may still be on its way.
_CLAIM: Final = """
    WITH approved AS (
        SELECT id FROM attempts
        WHERE id = $1 AND state = 'paying' AND NOT superseded
            AND (capture_claimed_at IS NULL
                OR capture_claimed_at <= now() - $4 * interval '1 second')
    ), moved AS (
        UPDATE orders SET version = version + 1
        WHERE id = $2 AND version = $3 AND state = 'open' AND expires_at > now()
            AND EXISTS (SELECT FROM approved)
        RETURNING id
    )
    UPDATE attempts a SET capture_claimed_at = now(), updated_at = now(),
        ask_at = now() + $5 * interval '1 second', needs_attention = a.needs_attention OR $6
    FROM approved, moved WHERE a.id = approved.id
    RETURNING a.capture_claimed_at
"""
_DROP: Final = """
    WITH claimed AS (
        SELECT id FROM attempts
        WHERE id = $1 AND state = 'paying' AND capture_claimed_at = $4
            AND capture_claimed_at <= now() - $5 * interval '1 second'
    ), moved AS (
        UPDATE orders SET version = version + 1
        WHERE id = $2 AND version = $3 AND EXISTS (SELECT FROM claimed)
        RETURNING id
    )
    UPDATE attempts a SET capture_claimed_at = NULL, captures = a.captures + $6::integer,
        updated_at = now(), ask_at = now() + $7 * interval '1 second'
    FROM claimed, moved WHERE a.id = claimed.id
    RETURNING a.id
"""


async def claim(
    conn: Connection,
    order: Order,
    attempt: AttemptId,
    *,
    call_s: float,
    ask_in_s: float,
    needs_attention: bool,
) -> datetime | None:
    """Take the right to debit the buyer, for a call that takes `call_s` at most; returns since when
    it is held. Where nobody tells how that ended, the channel is asked in `ask_in_s`.

    `needs_attention`: it has been approved for so long that a person should look.

    None: the order is not as it was read, or not to be paid by this attempt, or another call may
    still be on its way.
    Raises asyncpg.UniqueViolationError where another attempt of the order may be being debited.
    """
    claimed_at: datetime | None = await conn.fetchval(
        _CLAIM, attempt, order.id, order.version, call_s, ask_in_s, needs_attention
    )
    return claimed_at


async def drop(
    conn: Connection,
    order: Order,
    attempt: Attempt,
    *,
    after_s: float,
    refused: bool,
    ask_in_s: float,
) -> bool:
    """Give the right to debit back, `after_s` after it was taken; `refused`: the next call is
    another one to the channel.
    """
    return bool(
        await conn.fetchval(
            _DROP,
            attempt.id,
            order.id,
            order.version,
            attempt.capture_claimed_at,
            after_s,
            int(refused),
            ask_in_s,
        )
    )
