"""Reading orders, each with all its attempts and the database's clock, in one round trip."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.ids import AttemptId, OrderId, RefundId
from gateway.model import Attempt, AttemptState, Order, OrderState, RefundState, Terminal

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Reading: TypeAlias = tuple[Order, datetime]

_COLUMNS: Final = """
    SELECT now(),
        o.id, o.merchant, o.merchant_order_no, o.amount, o.currency, o.subject, o.buyer_id,
        o.items, o.state, o.version, o.token, o.amount_refunded, o.paid_attempt, o.expires_at,
        o.created_at, o.paid_at, o.closed_at, o.close_reason, o.notify_url, o.return_url,
        o.metadata, a.id, a.order_id, a.number, a.account, a.channel, a.product, a.terminal,
        a.payer, a.state, a.superseded, a.amount, a.currency, a.received_amount,
        a.received_currency, a.payment_ref, a.parameters, a.next_action, a.next_action_until,
        a.pay_by, a.live_until, a.calling_until, a.ask_at, a.asks, a.needs_attention, a.created_at,
        a.updated_at, r.state, coalesce(r.check_at IS NULL AND r.state <> 'done', false),
        a.channel_ref, a.capture_claimed_at, a.captures
    FROM orders o LEFT JOIN attempts a ON a.order_id = o.id
        LEFT JOIN LATERAL (
            SELECT state, check_at FROM refunds
            WHERE a.state = 'surplus' AND attempt_id = a.id AND reason = 'surplus'
            LIMIT 1 -- there is no other; it keeps the planner from reading them all
        ) r ON true
"""
_READ: Final = _COLUMNS + " WHERE o.id = $1 ORDER BY a.id"
_READ_BY_TOKEN: Final = _COLUMNS + " WHERE o.token = $1 ORDER BY a.id"
_READ_BY_MERCHANT_NO: Final = (
    _COLUMNS + " WHERE o.merchant = $1 AND o.merchant_order_no = $2 ORDER BY a.id"
)
_READ_BY_NUMBER: Final = (
    _COLUMNS
    + """ WHERE o.id = (
        SELECT order_id FROM attempts WHERE account = $1 AND number = $2 AND sibling_of IS NULL
    ) ORDER BY a.id"""
)
_READ_BY_ATTEMPT: Final = (
    _COLUMNS + " WHERE o.id = (SELECT order_id FROM attempts WHERE id = $1) ORDER BY a.id"
)
_READ_BY_REFUND: Final = (
    _COLUMNS + " WHERE o.id = (SELECT order_id FROM refunds WHERE id = $1) ORDER BY a.id"
)
_READ_BY_REFUND_NUMBER: Final = (
    _COLUMNS
    + """ WHERE o.id = (SELECT order_id FROM refunds WHERE account = $1 AND number = $2)
    ORDER BY a.id"""
)
_SEARCH: Final = (
    _COLUMNS
    + """ JOIN (
        SELECT p.id FROM orders p
        WHERE p.merchant = $1
            AND ($2::text IS NULL OR p.merchant_order_no = $2)
            AND ($3::text IS NULL OR p.state = $3)
            AND ($4::timestamptz IS NULL OR p.created_at >= $4)
            AND ($5::timestamptz IS NULL OR p.created_at < $5)
            AND ($6::text IS NULL OR p.id < $6)
            AND ($7::text IS NULL OR EXISTS (
                SELECT FROM attempts c WHERE c.order_id = p.id AND c.channel = $7))
        ORDER BY p.id DESC LIMIT $8
    ) found ON found.id = o.id
    ORDER BY o.id DESC, a.id"""
)
_ORDER_OF_TOKEN: Final = "SELECT id FROM orders WHERE token = $1"
# Where the columns stand that become enums: in the row, in the order's part, in the attempt's part.
_FIRST_ATTEMPT_COLUMN: Final = 22
_ORDER_STATE: Final = 8
_TERMINAL: Final = 6
_ATTEMPT_STATE: Final = 8
_REFUND_STATE: Final = 26


async def read(conn: Connection, order_id: OrderId) -> Reading | None:
    return _reading(await conn.fetch(_READ, order_id))


async def read_by_token(conn: Connection, token: str) -> Reading | None:
    return _reading(await conn.fetch(_READ_BY_TOKEN, token))


async def read_by_merchant_no(conn: Connection, merchant: str, number: str) -> Reading | None:
    return _reading(await conn.fetch(_READ_BY_MERCHANT_NO, merchant, number))


async def read_by_number(conn: Connection, account: str, number: str) -> Reading | None:
    """Read the order that has the attempt with that number at that channel account."""
    return _reading(await conn.fetch(_READ_BY_NUMBER, account, number))


async def read_attempt_order(conn: Connection, attempt_id: AttemptId) -> Reading | None:
    return _reading(await conn.fetch(_READ_BY_ATTEMPT, attempt_id))


async def read_by_refund(conn: Connection, refund_id: RefundId) -> Reading | None:
    return _reading(await conn.fetch(_READ_BY_REFUND, refund_id))


async def read_by_refund_number(conn: Connection, account: str, number: str) -> Reading | None:
    """Read the order of the refund with that number at that channel account."""
    return _reading(await conn.fetch(_READ_BY_REFUND_NUMBER, account, number))


async def order_of_token(conn: Connection, token: str) -> OrderId | None:
    """Return the order behind a checkout token; that never changes, so it may be cached."""
    found = await conn.fetchval(_ORDER_OF_TOKEN, token)
    return OrderId(found) if found else None


async def search(
    conn: Connection,
    merchant: str,
    *,
    merchant_order_no: str | None = None,
    state: OrderState | None = None,
    channel: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    before_id: str | None = None,
    limit: int = 20,
) -> list[Order]:
    """Return a merchant's orders, newest first, by keyset: those before `before_id`."""
    rows = await conn.fetch(
        _SEARCH,
        merchant,
        merchant_order_no,
        state,
        created_from,
        created_to,
        before_id,
        channel,
        limit,
    )
    found: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(row)
    return [reading[0] for group in found.values() if (reading := _reading(group))]


def _reading(rows: Sequence[asyncpg.Record]) -> Reading | None:
    if not rows:
        return None
    row = rows[0]
    attempts = tuple(_attempt(each) for each in rows if each[_FIRST_ATTEMPT_COLUMN] is not None)
    fields = list(row[1:_FIRST_ATTEMPT_COLUMN])
    fields[_ORDER_STATE] = OrderState(fields[_ORDER_STATE])
    fields.append(attempts)
    return Order(*fields), row[0]


def _attempt(row: asyncpg.Record) -> Attempt:
    fields = list(row[_FIRST_ATTEMPT_COLUMN:])
    fields[_TERMINAL] = Terminal(fields[_TERMINAL])
    fields[_ATTEMPT_STATE] = AttemptState(fields[_ATTEMPT_STATE])
    if fields[_REFUND_STATE] is not None:
        fields[_REFUND_STATE] = RefundState(fields[_REFUND_STATE])
    return Attempt(*fields)
