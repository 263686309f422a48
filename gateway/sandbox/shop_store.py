"""The shop's own book: one SQLite file, and the one door through which payment news changes it.

Everything that a webhook does (remember its event, move the order, take the goods from the stock)
is one transaction, so that a crash leaves either all of it or nothing. One thread owns the
connection: transactions come one after another and never interleave, even when the request that
asked for one has gone away. `synchronous=FULL` makes a commit outlive a kill and a power cut.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from gateway.sandbox.shop_orders import (
    Draft,
    Effect,
    Item,
    Order,
    OrderConflictError,
    OrderState,
    PayOnceOrder,
    Product,
    SoldOutError,
    UnknownOrderError,
    UnknownProductError,
    check,
    effect_of,
    price_in,
)

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_en TEXT NOT NULL,
    note TEXT NOT NULL,
    note_en TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price > 0),
    -- May fall below zero: money that was paid is booked even if the last piece is gone by then.
    stock INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    no TEXT PRIMARY KEY,
    buyer_id TEXT,
    items TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('unpaid', 'awaiting_shipment', 'closed')),
    allow_duplicate INTEGER NOT NULL,
    shop_url TEXT NOT NULL,
    payonce_order TEXT UNIQUE,
    checkout_url TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    paid_times INTEGER NOT NULL DEFAULT 0,
    asks INTEGER NOT NULL DEFAULT 0,
    ask_at REAL NOT NULL,
    created_at REAL NOT NULL,
    paid_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS unpaid_by_ask_at ON orders (ask_at) WHERE state = 'unpaid';
CREATE INDEX IF NOT EXISTS orders_by_buyer ON orders (buyer_id, created_at);
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY,
    no TEXT NOT NULL,
    effect TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
"""

SHELF = (
    Product("longjing", "明前龙井 50 克", "Longjing green tea, 50 g", "狮峰头采，豆香清甜",
            "First spring picking, sweet and nutty", 128_00, 100_000),
    Product("celadon-cup", "青瓷茶杯", "Celadon cup", "龙泉青釉，薄胎手作",
            "Longquan glaze, thrown by hand", 68_00, 100_000),
    Product("iron-kettle", "铸铁提梁壶", "Cast-iron kettle", "一升容量，蓄热持久",
            "One litre, keeps its heat", 399_00, 100_000),
    Product("taster", "一分钱试饮", "One-cent taster", "桂花乌龙一泡，先尝后买",
            "One pot of osmanthus oolong", 1, 100_000),
)  # fmt: skip


class Store:
    """The shop's tables. The functions below are its verbs, each one transaction."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shop-store")

    async def open(self) -> None:
        """Open the file and make what is missing in it; what it holds already is kept."""
        self._db = await self._in_thread(lambda: connect(self._path))

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self._in_thread(self._db.close)
        self._thread.shutdown()

    async def run(
        self, verb: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **more: P.kwargs
    ) -> T:
        """Run a verb as one transaction: all of it or, when it raises, nothing."""
        return await self._in_thread(lambda: transact(self._db, lambda db: verb(db, *args, **more)))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def connect(path: str) -> sqlite3.Connection:
    """Open the file, ready for transactions that we begin ourselves."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None, timeout=10)
    db.row_factory = sqlite3.Row
    db.executescript(SCHEMA)
    db.executemany(
        "INSERT OR IGNORE INTO products (sku, name, name_en, note, note_en, price, stock)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [msgspec.structs.astuple(product) for product in SHELF],
    )
    return db


def transact(db: sqlite3.Connection, verb: Callable[[sqlite3.Connection], T]) -> T:
    """Take the write lock first, so that what the verb reads still holds when it writes."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = verb(db)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return result


def products(db: sqlite3.Connection) -> list[Product]:
    """Everything on the shelf."""
    rows = db.execute("SELECT * FROM products ORDER BY rowid")
    return [msgspec.convert(dict(row), Product) for row in rows]


def add(db: sqlite3.Connection, draft: Draft, shop_url: str, ask_after_s: float) -> Order:
    """Write a new unpaid order, or answer the one that this number already stands for.

    Raises OrderConflictError, UnknownProductError, SoldOutError.
    """
    known = find(db, draft.no)
    if known is not None:
        if quantities(known.items) != draft.quantities:
            raise OrderConflictError(f"order {draft.no} is for other goods")
        return known
    items = take_down(products(db), draft)
    db.execute(
        "INSERT INTO orders (no, buyer_id, items, amount, currency, state, allow_duplicate,"
        " shop_url, ask_at, created_at) VALUES (?, ?, ?, ?, ?, 'unpaid', ?, ?, ?, ?)",
        (
            draft.no,
            draft.buyer_id,
            msgspec.json.encode(items).decode(),
            sum(item.price * item.quantity for item in items),
            draft.currency,
            draft.allow_duplicate,
            shop_url,
            time.time() + ask_after_s,
            time.time(),
        ),
    )
    return get(db, draft.no)


def take_down(shelf: Iterable[Product], draft: Draft) -> list[Item]:
    """Turn what the buyer wants into lines at today's prices."""
    by_sku = {product.sku: product for product in shelf}
    items = []
    for sku, quantity in draft.quantities.items():
        product = by_sku.get(sku)
        if product is None:
            raise UnknownProductError(f"there is no product {sku!r}")
        name = product.name_en if draft.english else product.name
        if product.stock < quantity:
            raise SoldOutError(f"{name}: {max(product.stock, 0)} left")
        items.append(Item(sku, name, quantity, price_in(draft.currency, product.price)))
    return items


def quantities(items: Iterable[Item]) -> dict[str, int]:
    """How many of what."""
    return {item.sku: item.quantity for item in items}


def find(db: sqlite3.Connection, no: str) -> Order | None:
    """The order of this number."""
    row = db.execute("SELECT * FROM orders WHERE no = ?", (no,)).fetchone()
    return None if row is None else to_order(row)


def get(db: sqlite3.Connection, no: str) -> Order:
    """The order of this number, which is known to exist."""
    order = find(db, no)
    if order is None:
        raise UnknownOrderError(f"there is no order {no}")
    return order


def latest(db: sqlite3.Connection, limit: int, buyer_id: str | None = None) -> list[Order]:
    """The newest orders, of one buyer or of all, newest first."""
    rows = db.execute(
        "SELECT * FROM orders WHERE ?1 IS NULL OR buyer_id = ?1 ORDER BY created_at DESC LIMIT ?2",
        (buyer_id, limit),
    )
    return [to_order(row) for row in rows]


def apply(db: sqlite3.Connection, theirs: PayOnceOrder, event_id: str | None = None) -> Effect:
    """Let PayOnce's order act on ours, once; webhook, queue, question and scan end here.

    What keeps it to once: the event's id, the order's version, and the order's state. Raises
    UnknownOrderError and ContradictionError; then nothing is written, not even the event, so
    that a repetition is judged afresh.
    """
    if event_id is not None and was_seen(db, event_id):
        return Effect.REPEATED
    mine = get(db, theirs.merchant_order_no)
    check(mine, theirs)
    is_news = mine.payonce_order is None or theirs.version > mine.version
    effect = effect_of(mine, theirs) if is_news else Effect.STALE
    if effect is not Effect.STALE:
        db.execute(
            "UPDATE orders SET version = ?, payonce_order = ?, checkout_url = ? WHERE no = ?",
            (theirs.version, theirs.id, theirs.checkout_url, mine.no),
        )
    if effect is Effect.PAID:
        release_goods(db, mine)
    if effect is Effect.CLOSED:
        db.execute("UPDATE orders SET state = 'closed' WHERE no = ?", (mine.no,))
    if event_id is not None:
        db.execute(
            "INSERT INTO events (id, no, effect, at) VALUES (?, ?, ?, ?)",
            (event_id, mine.no, effect, time.time()),
        )
    return effect


def was_seen(db: sqlite3.Connection, event_id: str) -> bool:
    """Whether this event was dealt with before."""
    return db.execute("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone() is not None


def release_goods(db: sqlite3.Connection, order: Order) -> None:
    """The order is paid: it waits for shipment, and its goods are no longer for sale."""
    db.execute(
        "UPDATE orders SET state = 'awaiting_shipment', paid_times = paid_times + 1, paid_at = ?"
        " WHERE no = ? AND state = 'unpaid'",
        (time.time(), order.no),
    )
    db.executemany(
        "UPDATE products SET stock = stock - ? WHERE sku = ?",
        [(item.quantity, item.sku) for item in order.items],
    )


def close_unsent(db: sqlite3.Connection, no: str) -> None:
    """Close an order that PayOnce declined to open."""
    db.execute(
        "UPDATE orders SET state = 'closed'"
        " WHERE no = ? AND state = 'unpaid' AND payonce_order IS NULL",
        (no,),
    )


def due(db: sqlite3.Connection, limit: int) -> list[str]:
    """Unpaid orders whose time to ask has come, longest overdue first, however old."""
    rows = db.execute(
        "SELECT no FROM orders WHERE state = 'unpaid' AND ask_at <= ? ORDER BY ask_at LIMIT ?",
        (time.time(), limit),
    )
    return [row["no"] for row in rows]


def begin_ask(db: sqlite3.Connection, no: str, pause_after: Callable[[int], float]) -> Order | None:
    """Count a question and put off the next; None when the order is no longer unpaid."""
    order = find(db, no)
    if order is None or order.state is not OrderState.UNPAID:
        return None
    db.execute(
        "UPDATE orders SET asks = asks + 1, ask_at = ? WHERE no = ?",
        (time.time() + pause_after(order.asks + 1), no),
    )
    return order


def to_order(row: sqlite3.Row) -> Order:
    """Read a row, strictly."""
    columns = {**dict(row), "items": msgspec.json.decode(row["items"])}
    return msgspec.convert(columns, Order, strict=False)
