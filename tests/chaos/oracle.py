"""What must be so when all is over, said without the gateway's rules: the money is counted.

The ledger says what was taken and given back, the shop what it believes. The database is read for
what neither can know: which numbers belong to an order, and what was told of it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from tests.chaos.evidence import AttemptRow, Entry, Evidence, OrderRow, RefundRow
from tests.chaos.place import BY_HAND, CHANNELS, PULLER, SHOP
from tests.chaos.reader import Reader

_IN_THE_BOOK: Final = {"open": "unpaid", "paid": "awaiting_shipment", "closed": "closed"}


class Violation(Struct, frozen=True):
    """What is wrong; `order` is empty where it is about none."""

    order: str
    what: str


class Share(Struct, frozen=True):
    """What came of one channel: attempts made, payments taken, and those that were too much."""

    attempts: int
    payments: int
    surplus: int


class Counts(Struct, frozen=True):
    """What the run came to."""

    orders: int
    paid: int
    closed: int
    attempts: int
    payments: int
    surplus: int
    surplus_refunded: int
    merchant_refunds: int
    events: int
    channels: Mapping[str, Share]


def judge(evidence: Evidence, readers: Sequence[Reader], paid: Collection[str]) -> list[Violation]:
    """Say what is not as it must be, or not yet; `paid` are the numbers that buyers paid, or let be
    debited.
    """
    found = [
        Violation(order, f"attempt {attempt.number} was paid or approved, and is still offered")
        for order, attempts in evidence.attempts.items()
        for attempt in attempts
        if attempt.offered and attempt.number in paid
    ]
    found += [
        Violation(order.id, fault)
        for order in evidence.orders
        for fault in _faults_of(order, evidence)
    ]
    known = {
        (attempt.channel, attempt.number)
        for attempts in evidence.attempts.values()
        for attempt in attempts
    }
    found += [
        Violation("", f"{channel} has number {number}, and we do not")
        for channel, number in evidence.ledger.keys() - known
    ]
    for reader in readers:
        read, log = [event.id for event in reader.events], evidence.log.get(reader.merchant, ())
        if read != list(log):
            said = f"{reader.merchant} read {len(read)} events as they came, the log has {len(log)}"
            found.append(Violation("", f"{said}, in that order or another"))
    found += _faults_of_the_puller(evidence, readers)
    return found


def count(evidence: Evidence) -> Counts:
    refunds = [refund for each in evidence.refunds.values() for refund in each]
    attempts = [attempt for each in evidence.attempts.values() for attempt in each]
    states = Counter(order.state for order in evidence.orders)
    done = Counter(refund.reason for refund in refunds if refund.state == "done")
    return Counts(
        orders=len(evidence.orders),
        paid=states["paid"],
        closed=states["closed"],
        attempts=len(attempts),
        payments=sum(len(entry.captures) for entry in evidence.ledger.values()),
        surplus=sum(attempt.state == "surplus" for attempt in attempts),
        surplus_refunded=done["surplus"],
        merchant_refunds=done["merchant"],
        events=sum(len(each) for each in evidence.events.values()),
        channels={channel: _share(channel, attempts, evidence) for channel in CHANNELS},
    )


def _share(channel: str, attempts: Sequence[AttemptRow], evidence: Evidence) -> Share:
    here = [attempt for attempt in attempts if attempt.channel == channel]
    entries = (entry for entry in evidence.ledger.values() if entry.channel == channel)
    return Share(
        attempts=len(here),
        payments=sum(len(entry.captures) for entry in entries),
        surplus=sum(attempt.state == "surplus" for attempt in here),
    )


def _faults_of(order: OrderRow, evidence: Evidence) -> Iterator[str]:
    attempts = evidence.attempts.get(order.id, ())
    refunds = evidence.refunds.get(order.id, ())
    keys = {(attempt.channel, attempt.number) for attempt in attempts}
    entries = [evidence.ledger[key] for key in keys if key in evidence.ledger]
    yield from _faults_of_the_money(order, refunds, entries)
    yield from _faults_of_the_attempts(order, attempts, entries)
    yield from _faults_of_the_refunds(attempts, refunds, entries)
    yield from _faults_of_the_events(order, attempts, refunds, evidence)
    if order.merchant == SHOP:
        yield from _faults_of_the_book(order, evidence)
    if order.state == "open" and order.expired:
        yield "it has expired and is still open"


def _faults_of_the_money(
    order: OrderRow, refunds: Sequence[RefundRow], entries: Sequence[Entry]
) -> Iterator[str]:
    """What was kept, but for what the merchant wanted returned, is nothing or the price."""
    taken = sum(capture.amount for entry in entries for capture in entry.captures)
    returned = sum(r.amount for entry in entries for r in entry.refunds if r.state == "done")
    returned += sum(r.amount for r in refunds if r.by_hand and r.state == "done")
    wanted = sum(r.amount for r in refunds if r.reason == "merchant" and r.state == "done")
    price = order.amount if order.state == "paid" else 0
    if wanted > price:
        yield f"of the price of {order.amount} the merchant refunded {wanted}"
    if taken - returned + wanted != price:
        yield (
            f"it is {order.state} at {order.amount}: {taken} was taken, {returned} returned,"
            f" {wanted} of that for the merchant"
        )


def _faults_of_the_attempts(
    order: OrderRow, attempts: Sequence[AttemptRow], entries: Sequence[Entry]
) -> Iterator[str]:
    captured = sum(attempt.state == "captured" for attempt in attempts)
    if captured > 1:
        yield f"it is paid {captured} times over: so many attempts are captured"
    if captured != (order.state == "paid"):
        yield f"it is {order.state} with {captured} captured attempts"
    taken = Counter(capture.ref for entry in entries for capture in entry.captures)
    recorded = Counter(a.payment_ref for a in attempts if a.payment_ref is not None)
    for ref in taken - recorded:
        yield f"the payment {ref} was not recorded"
    for ref in recorded - taken:
        yield f"the payment {ref} was recorded and never made"
    for attempt in attempts:
        if attempt.debited_late:
            yield f"attempt {attempt.number} was to be debited after the order had ended"
        if attempt.state in ("created", "paying") and attempt.unasked:
            yield f"attempt {attempt.number} is {attempt.state}, and nobody asks about it"


def _faults_of_the_refunds(
    attempts: Sequence[AttemptRow], refunds: Sequence[RefundRow], entries: Sequence[Entry]
) -> Iterator[str]:
    """Each surplus is refunded once, in full; the channels did what we say, no more and no less."""
    for attempt in attempts:
        owed = [r.amount for r in refunds if r.attempt == attempt.id and r.reason == "surplus"]
        if attempt.state == "surplus" and owed != [attempt.received]:
            yield f"surplus {attempt.number} of {attempt.received} has refunds of {owed}"
    for refund in refunds:
        if refund.state != "done":
            yield f"refund {refund.number} is {refund.state}: {refund.note}"
    channels = {attempt.id: attempt.channel for attempt in attempts}
    for refund in refunds:
        if refund.state == "done" and refund.by_hand != (channels[refund.attempt] in BY_HAND):
            yield f"refund {refund.number} was given back by hand: {refund.by_hand}"
    ours = Counter((r.number, r.amount) for r in refunds if r.state == "done" and not r.by_hand)
    theirs = Counter((r.number, r.amount) for e in entries for r in e.refunds if r.state == "done")
    for number, amount in theirs - ours:
        yield f"the channel refunded {amount} as {number}, of which we do not know"
    for number, amount in ours - theirs:
        yield f"the channel did not refund {amount} as {number}"


def _faults_of_the_events(
    order: OrderRow,
    attempts: Sequence[AttemptRow],
    refunds: Sequence[RefundRow],
    evidence: Evidence,
) -> Iterator[str]:
    """Nothing that happened was left untold, nothing was told twice, and no telling is stuck."""
    events = evidence.events.get(order.id, ())
    told = Counter(event.type for event in events)
    happened: Mapping[str, int] = {
        "order.paid": int(order.state == "paid"),
        "order.closed": int(order.state == "closed"),
        "attempt.surplus": sum(attempt.state == "surplus" for attempt in attempts),
        "refund.done": sum(refund.state == "done" for refund in refunds),
    }
    for type_, times in happened.items():
        if told[type_] != times:
            yield f"{type_} happened {times} times and was told {told[type_]} times"
    for event in events:
        if event.position is None:
            yield f"{event.type} {event.id} has no place in the log"
        if not event.over:
            yield f"{event.type} {event.id} is neither delivered nor given up"


def _faults_of_the_book(order: OrderRow, evidence: Evidence) -> Iterator[str]:
    """The shop has let goods go, once, exactly for the orders whose money was kept."""
    mine = evidence.book.get(order.no)
    if mine is None:
        yield f"the shop has no order {order.no}"
    elif mine.state != _IN_THE_BOOK[order.state] or mine.paid_times != (order.state == "paid"):
        yield f"it is {order.state}, and in the shop {mine.state}, paid {mine.paid_times} times"


def _faults_of_the_puller(evidence: Evidence, readers: Sequence[Reader]) -> Iterator[Violation]:
    """Who only pulls has learnt of every payment."""
    for reader in readers:
        if reader.merchant != PULLER:
            continue
        heard = {event.order for event in reader.events if event.type == "order.paid"}
        for order in evidence.orders:
            if order.merchant == PULLER and (order.state == "paid") != (order.id in heard):
                yield Violation(order.id, f"it is {order.state}, and its merchant knows otherwise")
