"""The writes that move states. Each is one statement that names the order's version and raises it.

Because every write to an attempt's state, or to what the buyer is offered, raises its order's
version, a statement that finds the version it was decided on also finds every attempt as it was
read: otherwise it moves nothing, and the caller reads and decides again. Only `gateway.payments`
may call these.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import AttemptId, EventId, OrderId
from gateway.model import Attempt, Evidence, Order, Refund

# How long the sync webhook has before the sweep takes the event over.
SYNC_WEBHOOK: Final = "30 seconds"


class NewEvent(Struct, frozen=True):
    """An outbox row: `body` is what is signed and sent."""

    id: EventId
    type: str
    attempt: AttemptId | None
    body: str


class Move(Struct, frozen=True):
    """A verdict spelt out: the order and the attempt as they shall be, and what is written with
    them.
    """

    after: Order
    attempt: Attempt
    sibling: Attempt | None
    refund: Refund | None  # the debt, written with the fact that it is owed
    events: Sequence[NewEvent]


class Accepted(Struct, frozen=True):
    """How the attempt stands now; `superseded`: nothing to pay with may leave us."""

    superseded: bool
    updated_at: datetime


KEPT: Final = """
    INSERT INTO callbacks (account, notification_id, number, headers, body, settled_at)
    SELECT $1, $2, $3, $4, $5, now()
"""
ON_REPEAT: Final = """
    ON CONFLICT ON CONSTRAINT one_row_per_notification
    DO UPDATE SET settled_at = excluded.settled_at, retry_at = NULL RETURNING id
"""
_SETTLE: Final = f"""
    WITH moved AS (
        UPDATE orders SET version = version + 1, state = $8, paid_attempt = $9, paid_at = $10,
            due_at = CASE $8 WHEN 'open' THEN due_at END, cause = $11
        WHERE id = $6 AND version = $7
        RETURNING id, merchant, state, version, notify_url
    ), kept AS (
        {KEPT} FROM moved WHERE $1::text IS NOT NULL {ON_REPEAT}
    ), settled AS (
        UPDATE attempts a SET state = $13, payment_ref = $14, received_amount = $15,
            received_currency = $16, channel_ref = $35, ask_at = $17, updated_at = $18,
            calling_until = NULL, needs_attention = false, cause = $11,
            evidence = (SELECT id FROM kept)
        FROM moved WHERE a.id = $12 AND $19::text IS NULL
    ), losers AS (
        UPDATE attempts a SET superseded = true, ask_at = $18, updated_at = $18
        FROM moved
        WHERE $34 AND a.order_id = moved.id AND a.id <> $12 AND a.state IN ('created', 'paying')
    ), sibling AS (
        INSERT INTO attempts (id, order_id, number, sibling_of, account, channel, product, terminal,
            payer, state, amount, currency, received_amount, received_currency, payment_ref,
            channel_ref, parameters, pay_by, live_until, cause, evidence, created_at, updated_at)
        SELECT $19, a.order_id, a.number, a.id, a.account, a.channel, a.product, a.terminal,
            a.payer, 'surplus', a.amount, a.currency, $20, $21, $22,
            $35, a.parameters, a.pay_by, a.live_until, $11, (SELECT id FROM kept), $18, $18
        FROM attempts a, moved WHERE a.id = $12 AND $19::text IS NOT NULL
    ), owed AS (
        INSERT INTO refunds (id, order_id, attempt_id, account, reason, number, amount, currency,
            state, check_at, note, cause, evidence, created_at, updated_at)
        SELECT $23, moved.id, $24, a.account, 'surplus', $25, $26, $27,
            $28, $29, $30, $11, (SELECT id FROM kept), $18, $18
        FROM attempts a, moved WHERE a.id = $12 AND $23::text IS NOT NULL
    ), told AS (
        INSERT INTO events (id, merchant, type, order_id, version, url, body, deliver_at)
        SELECT e.id, moved.merchant, e.type, moved.id, moved.version, m.notify_url, e.body,
            CASE WHEN m.notify_url IS NOT NULL THEN now() + interval '{SYNC_WEBHOOK}' END
        FROM moved,
            unnest($31::text [], $32::text [], $33::text []) AS e (id, type, body),
            LATERAL (
                SELECT coalesce(moved.notify_url, n.notify_url) AS notify_url
                FROM merchants n WHERE n.id = moved.merchant
            ) m
    )
    SELECT version FROM moved
"""
_KEEP: Final = f"""
    {KEPT} WHERE true {ON_REPEAT}
"""
_KEEP_UNKNOWN: Final = """
    INSERT INTO callbacks (account, notification_id, number, headers, body, retry_at)
    VALUES ($1, $2, $3, $4, $5, now() + interval '15 seconds')
    ON CONFLICT ON CONSTRAINT one_row_per_notification DO NOTHING
"""
_OPEN_ATTEMPT: Final = """
    WITH moved AS (
        UPDATE orders SET version = version + 1,
            expires_at = CASE WHEN $18 THEN greatest(expires_at, $13) ELSE expires_at END,
            due_at = CASE WHEN $18 THEN greatest(due_at, $14) ELSE due_at END
        WHERE id = $2 AND version = $3 AND state = 'open' AND expires_at > now()
        RETURNING id
    )
    INSERT INTO attempts (id, order_id, number, account, channel, product, terminal, payer, amount,
        currency, parameters, pay_by, live_until, calling_until, ask_at, created_at, updated_at)
    SELECT $1, moved.id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17
    FROM moved RETURNING id
"""
# As before a slip was opened that came to nothing, but not before the end of one that can be paid.
_WAIT_NO_LONGER: Final = """
    UPDATE orders o SET version = version + 1, expires_at = greatest($3, slip.pay_by),
        due_at = greatest($3, slip.live_until)
    FROM (
        SELECT max(pay_by) AS pay_by, max(live_until) AS live_until FROM attempts
        WHERE order_id = $1 AND channel = $4 AND state IN ('created', 'paying')
    ) slip
    WHERE o.id = $1 AND o.version = $2 AND o.state = 'open'
    RETURNING o.version
"""
_ACCEPT: Final = """
    WITH moved AS (
        UPDATE orders SET version = version + 1 WHERE id = $2 AND version = $3 RETURNING id, state
    )
    UPDATE attempts a SET state = 'paying', next_action = $4, next_action_until = $5,
        channel_ref = coalesce(nullif($7, ''), a.channel_ref),
        superseded = a.superseded OR moved.state <> 'open', calling_until = NULL,
        ask_at = CASE WHEN moved.state = 'open' AND NOT a.superseded
            THEN now() + $6 * interval '1 second' ELSE now() END,
        updated_at = now(), cause = 'create'
    FROM moved
    WHERE a.id = $1 AND a.order_id = moved.id AND a.state IN ('created', 'paying')
    RETURNING a.superseded, a.updated_at
"""
_OFFER: Final = """
    WITH moved AS (
        UPDATE orders SET version = version + 1
        WHERE id = $2 AND version = $3 AND (state = 'open' OR $4)
        RETURNING id
    )
    UPDATE attempts a SET superseded = $4, ask_at = now(), updated_at = now(),
        calling_until = $5
    FROM moved
    WHERE a.id = $1 AND a.order_id = moved.id AND a.state IN ('created', 'paying')
    RETURNING a.id
"""
_CLOSE_ORDER: Final = f"""
    WITH moved AS (
        UPDATE orders SET version = version + 1, state = 'closed', close_reason = $3,
            closed_at = $4,
            due_at = NULL, cause = $3
        WHERE id = $1 AND version = $2 AND state = 'open'
        RETURNING id, merchant, version, notify_url
    ), losers AS (
        UPDATE attempts a SET superseded = true, ask_at = $4, updated_at = $4
        FROM moved WHERE a.order_id = moved.id AND a.state IN ('created', 'paying')
    ), told AS (
        INSERT INTO events (id, merchant, type, order_id, version, url, body, deliver_at)
        SELECT $5, moved.merchant, 'order.closed', moved.id, moved.version, m.notify_url, $6,
            CASE WHEN m.notify_url IS NOT NULL THEN now() + interval '{SYNC_WEBHOOK}' END
        FROM moved, LATERAL (
            SELECT coalesce(moved.notify_url, n.notify_url) AS notify_url
            FROM merchants n WHERE n.id = moved.merchant
        ) m
    )
    SELECT version FROM moved
"""


async def settle(
    conn: Connection,
    before: Order,
    move: Move,
    *,
    cause: str,
    now: datetime,
    evidence: Evidence | None,
) -> bool:
    """Write a verdict with its evidence, its debts and its outbox rows; False: the order has
    moved.
    """
    after, attempt, sibling, refund = move.after, move.attempt, move.sibling, move.refund
    version = await conn.fetchval(
        _SETTLE,
        *evidence_fields(evidence),
        before.id,
        before.version,
        after.state,
        after.paid_attempt,
        after.paid_at,
        cause,
        attempt.id,
        attempt.state,
        attempt.payment_ref,
        attempt.received_amount,
        attempt.received_currency,
        attempt.ask_at,
        now,
        sibling.id if sibling else None,
        sibling.received_amount if sibling else None,
        sibling.received_currency if sibling else None,
        sibling.payment_ref if sibling else None,
        *_refund(refund),
        [event.id for event in move.events],
        [event.type for event in move.events],
        [event.body for event in move.events],
        before.state is not after.state,
        (sibling or attempt).channel_ref,
    )
    return version is not None


async def keep(conn: Connection, evidence: Evidence) -> None:
    """Keep a callback that changed nothing."""
    await conn.execute(_KEEP, *evidence_fields(evidence))


async def keep_unknown(conn: Connection, evidence: Evidence) -> None:
    """Keep a callback for a number that we do not know; the sweep tries it again."""
    await conn.execute(_KEEP_UNKNOWN, *evidence_fields(evidence))


async def open_attempt(
    conn: Connection, order: Order, attempt: Attempt, *, order_waits: bool = False
) -> bool:
    """Insert an attempt as `created`, while the order is open, unexpired and as it was read.

    `order_waits`: it can be paid for days, so the order expires no sooner, and is closed when its
    money can arrive no more. Raises asyncpg.UniqueViolationError where the order has an offered
    attempt already.
    """
    return bool(
        await conn.fetchval(
            _OPEN_ATTEMPT,
            attempt.id,
            order.id,
            order.version,
            attempt.number,
            attempt.account,
            attempt.channel,
            attempt.product,
            attempt.terminal,
            attempt.payer,
            attempt.amount,
            attempt.currency,
            attempt.parameters,
            attempt.pay_by,
            attempt.live_until,
            attempt.calling_until,
            attempt.ask_at,
            attempt.created_at,
            order_waits,
        )
    )


async def wait_no_longer(
    conn: Connection, order: Order, expires_at: datetime, channel: str
) -> bool:
    """Let an order expire as it did before a slip of `channel` was opened, which was refused."""
    version = await conn.fetchval(_WAIT_NO_LONGER, order.id, order.version, expires_at, channel)
    return version is not None


async def accept(
    conn: Connection,
    order_id: OrderId,
    version: int,
    attempt: AttemptId,
    *,
    next_action: str,
    usable_until: datetime,
    ask_in_s: float,
    channel_ref: str,
) -> Accepted | None:
    """Write that the channel accepted it: `created -> paying`, superseded unless the order is open.

    None: the order, or the attempt, is not as it was read.
    """
    row = await conn.fetchrow(
        _ACCEPT, attempt, order_id, version, next_action, usable_until, ask_in_s, channel_ref
    )
    return Accepted(*row) if row else None


async def supersede(conn: Connection, order: Order, attempt: Attempt) -> bool:
    """Offer it no longer; it is asked about until it is closed, paid or dead."""
    return bool(await conn.fetchval(_OFFER, attempt.id, order.id, order.version, True, None))


async def offer_again(
    conn: Connection, order: Order, attempt: Attempt, calling_until: datetime
) -> bool:
    """Offer a superseded attempt again; the caller holds the lease and repeats `create`."""
    return bool(
        await conn.fetchval(_OFFER, attempt.id, order.id, order.version, False, calling_until)
    )


async def close_order(
    conn: Connection, order: Order, reason: str, now: datetime, event: NewEvent
) -> bool:
    """Close an open order, superseding what may still be paid; False: the order has moved."""
    version = await conn.fetchval(
        _CLOSE_ORDER, order.id, order.version, reason, now, event.id, event.body
    )
    return version is not None


def evidence_fields(evidence: Evidence | None) -> tuple[object, ...]:
    if evidence is None:
        return (None,) * 5
    return (
        evidence.account,
        evidence.notification_id,
        evidence.number,
        evidence.headers,
        evidence.body,
    )


def _refund(refund: Refund | None) -> tuple[object, ...]:
    if refund is None:
        return (None,) * 8
    return (
        refund.id,
        refund.attempt,
        refund.number,
        refund.amount,
        refund.currency,
        refund.state,
        refund.check_at,
        refund.note,
    )
