"""What there is to judge by: the channels' ledger, the shop's book, and what the gateway wrote."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
from msgspec import Struct

from tests.chaos.client import Client
from tests.chaos.place import Place

_ORDERS: Final = """
    SELECT id, merchant, merchant_order_no, amount, state, expires_at < now() FROM orders
"""
_ATTEMPTS: Final = """
    SELECT a.order_id, a.id, a.channel, a.number, a.state, a.payment_ref, a.received_amount,
        a.ask_at IS NULL OR a.ask_at < now() - interval '40 seconds',
        coalesce(a.capture_claimed_at > coalesce(o.paid_at, o.closed_at), false),
        a.state IN ('created', 'paying') AND NOT a.superseded
    FROM attempts a JOIN orders o ON o.id = a.order_id
"""
_REFUNDS: Final = """
    SELECT order_id, attempt_id, number, reason, state, amount, note, reference IS NOT NULL
    FROM refunds
"""
_EVENTS: Final = """
    SELECT order_id, id, merchant, type, position,
        url IS NULL OR delivered_at IS NOT NULL OR given_up_at IS NOT NULL
    FROM events ORDER BY position
"""
_BOOK: Final = "SELECT no, state, paid_times FROM orders"


class OrderRow(Struct, frozen=True):
    id: str
    merchant: str
    no: str
    amount: int
    state: str
    expired: bool


class AttemptRow(Struct, frozen=True):
    """`unasked`: its channel is not going to be asked, or should have been long ago.
    `debited_late`: we claimed the right to debit it when its order had ended.
    """

    order: str
    id: str
    channel: str
    number: str
    state: str
    payment_ref: str | None
    received: int | None
    unasked: bool
    debited_late: bool
    offered: bool


class RefundRow(Struct, frozen=True):
    order: str
    attempt: str
    number: str
    reason: str
    state: str
    amount: int
    note: str | None
    by_hand: bool


class EventRow(Struct, frozen=True):
    """`over`: it was delivered or given up, or nobody wants it delivered."""

    order: str
    id: str
    merchant: str
    type: str
    position: int | None
    over: bool


class Returned(Struct, frozen=True):
    number: str
    amount: int
    state: str


class Capture(Struct, frozen=True):
    ref: str
    amount: int


class Entry(Struct, frozen=True):
    """A line of the ledger: what a channel took and gave back under one number."""

    channel: str
    number: str
    refunds: tuple[Returned, ...]
    captures: tuple[Capture, ...]


class Ledger(Struct, frozen=True):
    data: tuple[Entry, ...]


class ShopRow(Struct, frozen=True):
    no: str
    state: str
    paid_times: int


Row = TypeVar("Row", AttemptRow, RefundRow, EventRow)


class Evidence(Struct, frozen=True):
    """Rows by order; the ledger by channel and number; the shop's book by its own numbers."""

    orders: Sequence[OrderRow]
    attempts: Mapping[str, Sequence[AttemptRow]]
    refunds: Mapping[str, Sequence[RefundRow]]
    events: Mapping[str, Sequence[EventRow]]
    log: Mapping[str, Sequence[str]]  # event ids by merchant, in the order of the log
    ledger: Mapping[tuple[str, str], Entry]
    book: Mapping[str, ShopRow]


async def gather_evidence(place: Place, client: Client) -> Evidence:
    """Read it all, as it is now."""
    conn = await asyncpg.connect(place.database_url)
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            orders = [OrderRow(*row) for row in await conn.fetch(_ORDERS)]
            attempts = [AttemptRow(*row) for row in await conn.fetch(_ATTEMPTS)]
            refunds = [RefundRow(*row) for row in await conn.fetch(_REFUNDS)]
            events = [EventRow(*row) for row in await conn.fetch(_EVENTS)]
    finally:
        await conn.close()
    log: dict[str, list[str]] = defaultdict(list)
    for event in events:
        log[event.merchant].append(event.id)
    answer = await client.call("GET", f"{place.sandbox_url}/_control/ledger")
    return Evidence(
        orders=orders,
        attempts=_by_order(attempts),
        refunds=_by_order(refunds),
        events=_by_order(events),
        log=log,
        ledger={(entry.channel, entry.number): entry for entry in answer.read(Ledger).data},
        book=await asyncio.to_thread(_read_book, place.folder / "shop" / "shop.sqlite"),
    )


def _by_order(rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.order].append(row)
    return found


def _read_book(path: Path) -> Mapping[str, ShopRow]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as book:
        return {row[0]: ShopRow(*row) for row in book.execute(_BOOK)}
