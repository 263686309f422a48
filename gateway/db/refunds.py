"""Refunds: reading them, claiming what is due, and what is written beside their state.

None of this moves a state (`gateway.db.refund_moves` does), so none of it raises the order's
version.
"""

from typing import Final

import asyncpg

from gateway.db.orders import Connection
from gateway.ids import OperatorId, OrderId, RefundId
from gateway.model import Refund, RefundReason, RefundState

_COLUMNS: Final = """
    r.id, r.order_id, r.attempt_id, r.account, r.reason, r.number, r.try, r.amount, r.currency,
    r.state, r.created_at, r.updated_at, r.check_at, r.checks, r.released_at, r.asked_by,
    r.approved_by, r.sent_at, r.merchant_refund_no, r.explanation, r.note, r.refund_ref, r.reference
"""
_OF_ORDER: Final = f"SELECT {_COLUMNS} FROM refunds r WHERE r.order_id = $1 ORDER BY r.id"
_SEARCH: Final = f"""
    SELECT {_COLUMNS} FROM refunds r
    WHERE ($1::text IS NULL OR r.state = $1) AND ($2::text IS NULL OR r.id < $2)
    ORDER BY r.id DESC LIMIT $3
"""
_CLAIM: Final = """
    UPDATE refunds SET check_at = now() + $2 * interval '1 second', checks = checks + 1
    WHERE id = $1 AND check_at <= now() RETURNING id
"""
_CLAIM_DUE: Final = """
    UPDATE refunds r SET check_at = now() + $2 * interval '1 second', checks = r.checks + 1
    FROM (
        SELECT id FROM refunds WHERE check_at <= now()
        ORDER BY check_at, id LIMIT $1 FOR UPDATE SKIP LOCKED
    ) due
    WHERE r.id = due.id
    RETURNING r.id
"""
_CHECK_LATER: Final = """
    UPDATE refunds SET check_at = now() + $5 * interval '1 second'
    WHERE id = $1 AND state = $2 AND number = $3 AND checks = $4 AND check_at IS NOT NULL
"""
_ASK: Final = """
    UPDATE refunds SET asked_by = $2, note = $3, updated_at = now()
    WHERE id = $1 AND state = 'held' AND asked_by IS NULL RETURNING id
"""
_LOCK_ACCOUNTS: Final = """
    SELECT a.id, a.settings FROM channel_accounts a JOIN channel_accounts b USING (merchant, kind)
    WHERE b.id = $1 ORDER BY a.id FOR NO KEY UPDATE OF a
"""
_RELEASED_TODAY: Final = """
    SELECT coalesce(sum(r.amount), 0)::bigint
    FROM channel_accounts b
    JOIN channel_accounts a USING (merchant, kind)
    JOIN refunds r ON r.account = a.id
    WHERE b.id = $1 AND r.currency = $2
        AND r.released_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
"""
_COUNT_WAITING: Final = """
    SELECT count(*) FROM refunds WHERE state IN ('held', 'failed') AND check_at IS NULL
"""
# Where the columns stand that become enums.
_REASON: Final = 4
_STATE: Final = 9


async def of_order(conn: Connection, order: OrderId) -> list[Refund]:
    """Return an order's refunds, oldest first."""
    return [_refund(row) for row in await conn.fetch(_OF_ORDER, order)]


async def search(
    conn: Connection, state: RefundState | None, before_id: str | None, limit: int
) -> list[Refund]:
    """Return refunds of every merchant, newest first, by keyset: those before `before_id`."""
    return [_refund(row) for row in await conn.fetch(_SEARCH, state, before_id, limit)]


async def claim(conn: Connection, refund_id: RefundId, lease_s: float) -> bool:
    """Claim a refund that is due; False: it is not, or somebody has it."""
    return bool(await conn.fetchval(_CLAIM, refund_id, lease_s))


async def claim_due(conn: Connection, limit: int, lease_s: float) -> list[RefundId]:
    """Claim what is due, the longest overdue first, however long that is; they come by age."""
    return sorted(RefundId(row[0]) for row in await conn.fetch(_CLAIM_DUE, limit, lease_s))


async def check_later(conn: Connection, refund: Refund, in_s: float) -> None:
    """Say when the machine looks at it next, unless it has moved, or been claimed, since."""
    await conn.execute(_CHECK_LATER, refund.id, refund.state, refund.number, refund.checks, in_s)


async def ask(conn: Connection, refund_id: RefundId, operator: OperatorId, note: str) -> bool:
    """Write who asks that a held refund be sent; False: somebody has asked, or it is not held."""
    return bool(await conn.fetchval(_ASK, refund_id, operator, note))


async def lock_accounts(conn: Connection, account: str) -> str:
    """Make risk control take turns by merchant and channel; returns the account's settings (JSON).

    Only inside a transaction. It does not get in the way of attempts, which point at the accounts.
    """
    settings = {row[0]: row[1] for row in await conn.fetch(_LOCK_ACCOUNTS, account)}
    return str(settings[account])


async def released_today(conn: Connection, account: str, currency: str) -> int:
    """Sum what risk control let go since midnight (UTC), at the account's merchant and channel.

    A statement of its own after `lock_accounts`: only so does it see what the last one committed.
    """
    return int(await conn.fetchval(_RELEASED_TODAY, account, currency))


async def count_waiting(conn: Connection) -> int:
    """Count the refunds that wait for a person."""
    return int(await conn.fetchval(_COUNT_WAITING))


def _refund(row: asyncpg.Record) -> Refund:
    fields = list(row)
    fields[_REASON] = RefundReason(fields[_REASON])
    fields[_STATE] = RefundState(fields[_STATE])
    return Refund(*fields)
