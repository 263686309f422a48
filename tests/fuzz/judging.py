"""What must be so after every step, and what must be so when the faults have stopped.

The sandbox's ledger is the truth about money; the gateway's tables must say the same of it.
"""

from collections import Counter
from typing import Final

from msgspec import Struct, convert

from tests.fuzz.world import Code, World

# Why surplus may wait for a person when nobody has decided about it yet.
REASONS: Final = (
    "the channel does not answer that this payment was paid",
    "the channel answers another amount than what was received",
    "the channel answers that some of it was given back already",
    "the channel does not answer that the payment which the order counts was paid",
    "above the limit of",
    "what arrived is not the price, or some of it was given back: a person looks",
    "it was failed here, and the channel answers done",
    "it was rejected here, and the channel answers done",
    "the channel cannot refund",
    "the buyer called",
)

_ORDERS: Final = """
    SELECT o.id, o.state, o.version, o.amount,
        count(a.id) FILTER (WHERE a.state = 'captured') AS captured,
        count(a.id) FILTER (WHERE a.state IN ('created', 'paying') AND NOT a.superseded) AS offered
    FROM orders o LEFT JOIN attempts a ON a.order_id = o.id GROUP BY o.id ORDER BY o.id
"""
_ATTEMPTS: Final = """
    SELECT id, order_id, channel, number, state, payment_ref, received_amount FROM attempts
"""
_REFUNDS: Final = """
    SELECT order_id, attempt_id, number, reason, state, amount, note, check_at IS NOT NULL AS due,
        reference IS NOT NULL AS by_hand
    FROM refunds
"""
# Moves that do not begin where the last one of the same thing ended.
_GAPS: Final = """
    SELECT noun, noun_id, from_state, to_state FROM (
        SELECT *, lag(to_state, 1, 'none') OVER (PARTITION BY noun, noun_id ORDER BY id) AS stood
        FROM journal
    ) moves WHERE from_state <> stood
"""
_STUCK: Final = """
    SELECT 'order ' || id || ' is ' || state FROM orders WHERE state = 'open' OR due_at IS NOT NULL
    UNION ALL SELECT 'attempt ' || number || ' is ' || state || ' and is asked about' FROM attempts
    WHERE state IN ('created', 'paying') OR ask_at IS NOT NULL
    UNION ALL SELECT 'refund ' || number || ' is ' || state || ' and is looked at' FROM refunds
    WHERE check_at IS NOT NULL
    UNION ALL SELECT type || ' of ' || order_id || ' is not delivered' FROM events
    WHERE delivered_at IS NULL
"""
# Whom we had debited for an order that had ended.
_TOO_LATE: Final = """
    SELECT a.number FROM attempts a JOIN orders o ON o.id = a.order_id
    WHERE a.capture_claimed_at > coalesce(o.paid_at, o.closed_at)
"""
_EVENTS: Final = "SELECT id, type, order_id FROM events ORDER BY position"


class OrderRow(Struct, frozen=True):
    id: str
    state: str
    version: int
    amount: int
    captured: int
    offered: int


class AttemptRow(Struct, frozen=True):
    id: str
    order_id: str
    channel: str
    number: str
    state: str
    payment_ref: str | None
    received_amount: int | None


class RefundRow(Struct, frozen=True):
    order_id: str
    attempt_id: str
    number: str
    reason: str
    state: str
    amount: int
    note: str | None
    due: bool
    by_hand: bool

    def done_at(self, codes: list[Code]) -> int:
        """How much went back at the channel for it, under whichever of its numbers."""
        all_numbers = self.number.rpartition("R")[0] + "R"
        done = (each for code in codes for each in code.refunds if each.state == "done")
        return sum(each.amount for each in done if each.number.startswith(all_numbers))


class Books(Struct, frozen=True):
    """Both sides' books at one moment."""

    orders: list[OrderRow]
    attempts: list[AttemptRow]
    refunds: list[RefundRow]
    codes: list[Code]

    @property
    def taken(self) -> Counter[tuple[str, str, int]]:
        """What the channels took, by number, their id of the payment, and amount."""
        return Counter((c.number, paid.ref, paid.amount) for c in self.codes for paid in c.captures)

    @property
    def recorded(self) -> Counter[tuple[str, str, int]]:
        return Counter(
            (a.number, a.payment_ref, a.received_amount)
            for a in self.attempts
            if a.payment_ref is not None and a.received_amount is not None
        )


async def read_books(world: World) -> Books:
    pool = world.desk.pool
    return Books(
        convert([dict(row) for row in await pool.fetch(_ORDERS)], list[OrderRow]),
        convert([dict(row) for row in await pool.fetch(_ATTEMPTS)], list[AttemptRow]),
        convert([dict(row) for row in await pool.fetch(_REFUNDS)], list[RefundRow]),
        await world.codes(),
    )


def tally(books: Books) -> Counter[str]:
    """Count what came of it all."""
    return Counter(
        [f"orders {order.state}" for order in books.orders]
        + [
            f"{a.channel} payments {a.state}"
            for a in books.attempts
            if a.state in ("captured", "surplus")
        ]
        + [f"refunds of {r.reason} {r.state}" for r in books.refunds]
    )


async def faults_of_the_moment(world: World) -> list[str]:
    """What is wrong and must never be, whatever is going on."""
    books = await read_books(world)
    faults = list(world.errors)
    for order in books.orders:
        if order.captured > 1:
            faults.append(f"order {order.id} is paid twice")
        if (order.state == "paid") != (order.captured == 1):
            faults.append(f"order {order.id} is {order.state} with {order.captured} captured")
        if order.offered > (order.state == "open"):
            faults.append(f"order {order.id} is {order.state} and offers {order.offered} attempts")
        if order.version < world.versions.get(order.id, 0):
            faults.append(f"order {order.id} has gone back to version {order.version}")
        world.versions[order.id] = order.version
    too_late = await world.desk.pool.fetch(_TOO_LATE)
    faults += [f"{number} was to be debited after the order had ended" for (number,) in too_late]
    invented = books.recorded - books.taken
    faults += [f"{payment} is recorded and nobody paid it" for payment in invented]
    known = {attempt.number for attempt in books.attempts}
    faults += [f"code {c.number} is of no attempt" for c in books.codes if c.number not in known]
    return faults + _faults_of_the_refunds(books)


def _faults_of_the_refunds(books: Books) -> list[str]:
    """Nothing is given back that is not owed, and nothing twice."""
    faults = []
    surplus = Counter(a.id for a in books.attempts if a.state == "surplus")
    owed = Counter(r.attempt_id for r in books.refunds if r.reason == "surplus")
    if surplus != owed:
        faults.append(f"surplus {sorted(surplus)} has refunds {sorted(owed.elements())}")
    for refund in books.refunds:
        done = refund.done_at(books.codes)
        if done > refund.amount:
            faults.append(f"refund {refund.number} of {refund.amount} gave back {done}")
        if refund.state == "done" and done != refund.amount * (not refund.by_hand):
            faults.append(f"refund {refund.number} is done, and the channel gave back {done}")
    for order in books.orders:
        merchants = [r for r in books.refunds if (r.order_id, r.reason) == (order.id, "merchant")]
        going = sum(r.amount for r in merchants if r.state not in ("failed", "rejected"))
        gone = sum(refund.done_at(books.codes) for refund in merchants)
        if max(going, gone) > order.amount * order.captured:
            faults.append(f"order {order.id} gave back {going}, at the channel {gone}")
    return faults


async def faults_of_what_is_shown(world: World) -> list[str]:
    """Nothing to pay with leaves us for an order that is paid or closed."""
    faults = []
    for order in world.orders:
        shown = await world.api.get(f"/v1/orders/{order.id}")
        state = shown.json["state"]
        if state == "open":
            continue
        page = await world.buyer.get(f"/checkout/{order.token}/status")
        attempts = convert(shown.json["attempts"], list[dict[str, object]])
        actions = [attempt["next_action"] for attempt in attempts]
        if any(actions) or page.json["attempt"] is not None or page.json["state"] != state:
            faults.append(f"order {order.id} is {state}, and something to pay with is shown")
    return faults


async def faults_of_the_waiting(world: World) -> list[str]:
    """Surplus that the machine left to a person waits for a reason that is known."""
    return [
        f"refund {refund.number} waits, because: {refund.note}"
        for refund in (await read_books(world)).refunds
        if refund.state == "held" and not (refund.note or "").startswith(REASONS)
    ]


async def faults_of_the_money(world: World, *, though_untold: bool) -> list[str]:
    """All money is recorded; `though_untold`: but for second payments under one number, of which
    only their callback tells.
    """
    books = await read_books(world)
    numbers = Counter(number for number, _, _ in books.taken)
    return [
        f"{payment} was paid and is not recorded"
        for payment in books.taken - books.recorded
        if not (though_untold and numbers[payment[0]] > 1)
    ]


async def faults_of_the_end(world: World) -> list[str]:
    """Long after the faults have stopped, and persons have decided: all money is where it
    belongs.
    """
    books = await read_books(world)
    pool = world.desk.pool
    faults = await faults_of_the_money(world, though_untold=False)
    faults += [f"the journal has a gap at {tuple(row)}" for row in await pool.fetch(_GAPS)]
    faults += [str(row[0]) for row in await pool.fetch(_STUCK)]
    faults += [
        f"refund {refund.number} of surplus is {refund.state}: {refund.note}"
        for refund in books.refunds
        if refund.reason == "surplus" and refund.state != "done"
    ]
    for order in books.orders:
        numbers = {a.number for a in books.attempts if a.order_id == order.id}
        codes = [code for code in books.codes if code.number in numbers]
        kept = sum(paid.amount for code in codes for paid in code.captures)
        kept -= sum(g.amount for c in codes for g in c.refunds if g.state == "done")
        kept -= sum(r.amount for r in books.refunds if r.order_id == order.id and r.by_hand)
        wanted = order.amount * (order.state == "paid") - sum(
            r.amount
            for r in books.refunds
            if (r.order_id, r.reason, r.state) == (order.id, "merchant", "done")
        )
        if kept != wanted:
            faults.append(f"{kept} is kept at the channel for {order.state} order {order.id}")
    return faults + await _faults_of_the_events(world, books)


async def _faults_of_the_events(world: World, books: Books) -> list[str]:
    """The log that the merchant has read is whole, and each payment was told once."""
    rows = await world.desk.pool.fetch(_EVENTS)
    faults = []
    if world.read_events != [row["id"] for row in rows]:
        faults.append("the merchant has not read every event once, in the order of the log")
    told = Counter(row["order_id"] for row in rows if row["type"] == "order.paid")
    if told != Counter(order.id for order in books.orders if order.state == "paid"):
        faults.append(f"order.paid was told so often: {dict(told)}")
    received = {event.id for event in world.rig.receiver.received}
    if not {row["id"] for row in rows} <= received:
        faults.append("the order service has not received every event")
    return faults
