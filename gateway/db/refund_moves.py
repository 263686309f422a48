"""The writes that make and move refunds, built as those of `gateway.db.moves`.

Each is one statement that names the order's version and raises it, and the state and number that
the refund was read in. Only `gateway.payments` may call these.
"""

from datetime import datetime
from typing import Final

from gateway.db.moves import KEPT, ON_REPEAT, SYNC_WEBHOOK, NewEvent, evidence_fields
from gateway.db.orders import Connection
from gateway.model import Evidence, Order, Refund

_OPEN: Final = """
    WITH moved AS (
        UPDATE orders SET version = version + 1
        WHERE id = $2 AND version = $3 AND state = 'paid'
        RETURNING id
    )
    INSERT INTO refunds (id, order_id, attempt_id, account, reason, number, amount, currency, state,
        check_at, merchant_refund_no, explanation, cause, created_at, updated_at)
    SELECT $1, moved.id, $4, $5, 'merchant', $6, $7, $8, 'ready', $9, $10, $11, 'merchant', $12, $12
    FROM moved RETURNING id
"""
_MOVE: Final = f"""
    WITH moved AS (
        UPDATE orders o SET version = o.version + 1, amount_refunded = $8
        WHERE o.id = $6 AND o.version = $7 AND EXISTS (
            SELECT FROM refunds r WHERE r.id = $9 AND r.state = $10 AND r.number = $11
        )
        RETURNING o.id, o.merchant, o.version, o.notify_url
    ), kept AS (
        {KEPT} FROM moved WHERE $1::text IS NOT NULL {ON_REPEAT}
    ), changed AS (
        UPDATE refunds r SET state = $12, number = $13, try = $14, check_at = $15, checks = $16,
            released_at = $17, asked_by = $18, approved_by = $19, sent_at = $20, note = $21,
            refund_ref = $22, reference = $23, updated_at = $24, cause = $25,
            evidence = (SELECT id FROM kept)
        FROM moved WHERE r.id = $9
    ), told AS (
        INSERT INTO events (id, merchant, type, order_id, version, url, body, deliver_at)
        SELECT $26, moved.merchant, $27, moved.id, moved.version, m.notify_url, $28,
            CASE WHEN m.notify_url IS NOT NULL THEN now() + interval '{SYNC_WEBHOOK}' END
        FROM moved, LATERAL (
            SELECT coalesce(moved.notify_url, n.notify_url) AS notify_url
            FROM merchants n WHERE n.id = moved.merchant
        ) m WHERE $26::text IS NOT NULL
    )
    SELECT version FROM moved
"""


async def open_refund(conn: Connection, order: Order, refund: Refund) -> bool:
    """Insert a merchant's refund as `ready`, while the order is paid and as it was read.

    Raises asyncpg.UniqueViolationError where the merchant's number of it is taken.
    """
    return bool(
        await conn.fetchval(
            _OPEN,
            refund.id,
            order.id,
            order.version,
            refund.attempt,
            refund.account,
            refund.number,
            refund.amount,
            refund.currency,
            refund.check_at,
            refund.merchant_refund_no,
            refund.explanation,
            refund.created_at,
        )
    )


async def move(
    conn: Connection,
    order: Order,
    before: Refund,
    after: Refund,
    *,
    amount_refunded: int,
    cause: str,
    now: datetime,
    event: NewEvent | None,
    evidence: Evidence | None,
) -> bool:
    """Write a refund as it shall be, with its event; False: the order or the refund has moved."""
    version = await conn.fetchval(
        _MOVE,
        *evidence_fields(evidence),
        order.id,
        order.version,
        amount_refunded,
        before.id,
        before.state,
        before.number,
        after.state,
        after.number,
        after.tries,
        after.check_at,
        after.checks,
        after.released_at,
        after.asked_by,
        after.approved_by,
        after.sent_at,
        after.note,
        after.refund_ref,
        after.reference,
        now,
        cause,
        event.id if event else None,
        event.type if event else None,
        event.body if event else None,
    )
    return version is not None
