"""Orders in the database without a gateway around them, and what a write did to their rows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import asyncpg
import msgspec
import pytest
from msgspec import Struct

from gateway.db import moves, orders, refunds
from gateway.db.moves import Move
from gateway.ids import AttemptId, OrderId
from gateway.model import ChannelReport, Evidence, Outcome, Source
from gateway.money import Money
from gateway.objects import EventObject
from gateway.payments.settle import Settled, settle

URL: Final = "https://pay.example"
NEW: Final = "new"
_PUT_ORDER: Final = """
    INSERT INTO orders (id, merchant, merchant_order_no, amount, currency, subject, token,
        expires_at, due_at, notify_url, created_at)
    SELECT $1, 'm', $1, 100, 'CNY', 'tea', $1,
        now() + interval '1 hour', now() + interval '1 hour', $2, now() - interval '2 minutes'
"""
_PUT_ATTEMPT: Final = """
    INSERT INTO attempts (id, order_id, number, account, channel, product, terminal, payer, amount,
        currency, parameters, next_action, next_action_until, pay_by, live_until, calling_until,
        ask_at, needs_attention, superseded, created_at, updated_at)
    SELECT $1, $2, $3, $4, 'wechat', 'jsapi', 'webview', 'openid', 100,
        'CNY', '{"a":1}', '{"type":"redirect","url":"https://x"}', now() + interval '20 minutes',
        now() + interval '20 minutes', now() + interval '30 minutes',
        now() + interval '6 seconds', now() + interval '3 seconds', true, $5,
        now() - interval '1 minute', now() - interval '1 minute'
"""
_KEYS: Final = {
    "orders": "id",
    "attempts": "id",
    "refunds": "id",
    "callbacks": "notification_id",
    "events": "id",
    "journal": "id",
}

Row = Mapping[str, object]
Rows = Mapping[str, Mapping[str, Row]]


class Books(Struct, frozen=True):
    """A database with two merchants, and what settle() is called with."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def put_order(self, name: str, *attempts: str, notify_url: str | None = None) -> OrderId:
        """Put an open order of two minutes ago; an attempt is its name, state and account in words:
        `1 paying wx`, or `2 created wx superseded`. At most one is offered at a time.
        """
        order = OrderId(f"ord_{name:0>26}")
        await self.pool.execute(_PUT_ORDER, order, notify_url)
        for said in attempts:
            await self._put_attempt(order, *said.split())
        return order

    async def _put_attempt(
        self, order: OrderId, name: str, state: str, account: str, superseded: str = ""
    ) -> None:
        attempt = f"att_{name:0>26}"
        await self.pool.execute(_PUT_ATTEMPT, attempt, order, name, account, bool(superseded))
        if state != "created":
            await self.pool.execute("UPDATE attempts SET state = $2 WHERE id = $1", attempt, state)

    async def rows(self) -> Rows:
        return {
            table: {
                str(row[key]): dict(row)
                for row in await self.pool.fetch(f"SELECT * FROM {table} ORDER BY {key}")
            }
            for table, key in _KEYS.items()
        }

    async def settle(
        self, report: ChannelReport, evidence: Evidence | None = None
    ) -> tuple[Settled, Move | None]:
        """Settle, and see that what was to be written is what is there."""
        decided: list[Move] = []
        write = moves.settle

        async def write_and_tell(*told: object, **said: object) -> bool:
            decided.extend(each for each in told if isinstance(each, Move))
            return await write(*told, **said)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moves, "settle", write_and_tell)
            settled = await settle(self.pool, report, URL, evidence)
        move = decided[-1] if decided else None
        async with self.pool.acquire() as conn:
            reading = await orders.read_by_number(conn, report.account, report.number)
            known = await refunds.of_order(conn, settled.order.id)
        assert reading is not None
        assert settled.order == reading[0]
        assert settled.attempt == settled.order.attempt(settled.attempt.id)
        assert settled.moved == (move is not None)
        if move is not None and move.refund is not None:
            assert move.refund in known
        return settled, move


@pytest.fixture
async def books(pool: asyncpg.Pool) -> Books:
    """Two merchants; the first has two accounts, and an order that nobody asks about."""
    for merchant in ("m", "other"):
        await pool.execute(
            "INSERT INTO merchants (id, name, notify_url, webhook_secrets) VALUES ($1, $1, $2, '')",
            merchant,
            f"https://{merchant}.example/hook",
        )
    await pool.execute(
        "INSERT INTO channel_accounts (id, merchant, kind, settings, secrets) "
        "SELECT unnest('{wx,ali}'::text[]), 'm', 'wechat', '{}', ''"
    )
    books = Books(pool)
    await books.put_order("8", "8 paying wx", "9 created wx superseded")
    return books


def an_id(name: str) -> AttemptId:
    return AttemptId(f"att_{name:0>26}")


def paid(
    number: str,
    ref: str = "ref-1",
    amount: int = 100,
    *,
    account: str = "wx",
    refunded: int | None = 0,
) -> ChannelReport:
    money = Money(amount, "CNY")
    return ChannelReport(account, number, Outcome.PAID, Source.CALLBACK, ref, money, refunded)


def said(number: str, outcome: Outcome) -> ChannelReport:
    return ChannelReport("wx", number, outcome, Source.POLL)


def a_callback(name: str = "n-1") -> Evidence:
    return Evidence("wx", name, "1", '{"h": "v"}', b"body")


def changes(before: Rows, after: Rows) -> dict[str, dict[str, dict[str, object]]]:
    """What became of which row: the columns that have another value; new rows have them all."""
    changed: dict[str, dict[str, dict[str, object]]] = {}
    for table, rows in after.items():
        for key, row in rows.items():
            had = before[table].get(key, {})
            now = {name: value for name, value in row.items() if had.get(name, NEW) != value}
            if now:
                changed.setdefault(table, {})[key] = now
    assert all(set(before[table]) <= set(after[table]) for table in after)
    return changed


def bodies(rows: Rows) -> list[EventObject]:
    return [
        msgspec.json.decode(str(row["body"]), type=EventObject) for row in rows["events"].values()
    ]


def created(row: Row, when: str = "created_at") -> datetime:
    """The time of the transaction that made the row."""
    at = row[when]
    assert isinstance(at, datetime)
    return at
