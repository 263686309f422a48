"""What must be so: after every step that could be the last, and when all is over.

The ledger says what was taken; the database must say the same, once, and owe back what was too
much.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from gateway.errors import (
    ApplyInProgress,
    ChannelDown,
    ChannelRefusal,
    OrderAlreadyPaid,
    OrderClosed,
    RefundConflict,
    RefundExceedsCaptured,
)
from gateway.ids import number_of
from gateway.model import (
    Attempt,
    AttemptState,
    Order,
    OrderState,
    RefundReason,
    RefundState,
)
from tests.schedules.ledger import Ledger
from tests.schedules.scheduler import Scheduler
from tests.schedules.stage import Stage

# How a flow may end without what it wanted: told to the caller, and nothing half-done.
ALLOWED: Final = (
    ApplyInProgress,
    ChannelDown,
    ChannelRefusal,
    OrderAlreadyPaid,
    OrderClosed,
    RefundConflict,
    RefundExceedsCaptured,
)

_RECORDS: Final = """
    SELECT json_build_object(
        'journal', (SELECT coalesce(json_agg(j ORDER BY j.id), '[]') FROM journal j
            WHERE j.order_id = $1),
        'refunds', (SELECT coalesce(json_agg(r ORDER BY r.id), '[]') FROM refunds r
            WHERE r.order_id = $1),
        'events', (SELECT coalesce(json_agg(e ORDER BY e.id), '[]') FROM (
            SELECT id, type, deliver_at IS NOT NULL AS due FROM events WHERE order_id = $1) e)
    )
"""
# What the order service is told of; that a refund is held, only where it waits for a person.
_TOLD: Final = {
    ("order", "paid"): "order.paid",
    ("order", "closed"): "order.closed",
    ("attempt", "surplus"): "attempt.surplus",
    ("refund", "done"): "refund.done",
    ("refund", "failed"): "refund.failed",
    ("refund", "rejected"): "refund.rejected",
}


class Moved(Struct, frozen=True):
    """A line of the journal."""

    noun: str
    noun_id: str
    from_state: str
    to_state: str
    at: datetime


class Owed(Struct, frozen=True):
    """A refund as it ended."""

    id: str
    attempt_id: str
    reason: RefundReason
    number: str
    amount: int
    state: RefundState
    reference: str | None  # of the transfer, where a person gave it back


class Told(Struct, frozen=True):
    type: str
    due: bool


class Records(Struct, frozen=True):
    """What is written of an order beside its attempts."""

    journal: list[Moved]
    refunds: list[Owed]
    events: list[Told]


def faults_of_the_moment(order: Order) -> list[str]:
    """What must be so at every moment, also when everything has just crashed."""
    states = Counter(attempt.state for attempt in order.attempts)
    offered = sum(attempt.offered for attempt in order.attempts)
    captured = states[AttemptState.CAPTURED]
    faults = []
    if captured > 1:
        faults.append("an order is paid twice: two attempts are captured")
    if (order.state is OrderState.PAID) != (captured == 1):
        faults.append(f"the order is {order.state} with {captured} captured attempts")
    if offered > 1:
        faults.append(f"{offered} attempts are offered at once")
    if offered and order.state is not OrderState.OPEN:
        faults.append(f"the order is {order.state} and still offers an attempt")
    return faults


def faults_of_the_flows(stage: Stage, scheduler: Scheduler) -> list[str]:
    """How flows ended: well, or with an error that tells the caller what to do."""
    unexpected = [
        f"{name} failed: {type(error).__name__}: {error}"
        for name, error in scheduler.errors()
        if not isinstance(error, ALLOWED)
    ]
    return [*stage.ledger.faults, *unexpected]


def _faults_of_the_answers(
    stage: Stage, scheduler: Scheduler, paid_at: datetime | None
) -> list[str]:
    """Nobody who asked after the order was paid is given something to pay with."""
    faults = []
    for answer in stage.answers:
        asked_at = next(
            taken.at for taken in scheduler.taken[answer.asked_after :] if taken.name == answer.flow
        )
        if paid_at is not None and asked_at > paid_at:
            faults.append(f"{answer.flow} asked after the payment and was given a way to pay")
    return faults


def faults_of_the_codes(stage: Stage) -> list[str]:
    """What can be paid at the channel: one code at a time where it closes the others, and in any
    case one for everybody who asked for the same.
    """
    payable, closable = set(stage.ledger.payable), stage.ledger.not_closed
    faults = []
    if len(closable) > 1:
        faults.append(f"{len(closable)} codes can be paid at the channel at once")
    for wish in {answer.wish for answer in stage.answers}:
        given = {number_of(answer.attempt) for answer in stage.answers if answer.wish == wish}
        if len(given & payable) > 1:
            faults.append(f"two who asked for the same were given {sorted(given)}")
    return faults


def faults_of_the_losers(stage: Stage, order: Order) -> list[str]:
    """Once they were asked about, the codes of an order that needs none are closed."""
    if order.state is OrderState.OPEN or not stage.ledger.not_closed:
        return []
    return [f"the order is {order.state}, and a code at the channel was not closed"]


async def faults_of_the_end(stage: Stage, scheduler: Scheduler) -> list[str]:
    """When the sweeps have nothing left to do, long after: all money recorded and given back where
    it is owed, nothing stuck.
    """
    order = await stage.read()
    text = await stage.pool.fetchval(_RECORDS, order.id)
    records = msgspec.json.decode(text, type=Records)
    faults = [*stage.ledger.faults, *faults_of_the_moment(order)]
    faults += _faults_of_the_money(stage, order.attempts)
    faults += faults_of_the_refunds(stage.ledger, order, records.refunds)
    faults += [
        f"attempt {attempt.number} is still {attempt.state}"
        for attempt in order.attempts
        if attempt.state.live
    ]
    if order.state is OrderState.OPEN:
        faults.append("the order has expired and is still open")
    faults += _faults_of_the_journal(order, records)
    faults += _faults_of_the_events(records)
    ended = {each.to_state: each.at for each in records.journal if each.noun == "order"}
    faults += _faults_of_the_debits(stage.ledger, ended.get(order.state))
    return faults + _faults_of_the_answers(stage, scheduler, ended.get(OrderState.PAID))


def _faults_of_the_money(stage: Stage, attempts: tuple[Attempt, ...]) -> list[str]:
    taken = Counter(entry.payment_ref for entry in stage.ledger.entries.values() if entry.paid)
    recorded = Counter(a.payment_ref for a in attempts if a.payment_ref is not None)
    if taken == recorded:
        return []
    return [f"the channel took {sorted(taken)}, and {sorted(recorded)} is recorded"]


def _faults_of_the_debits(ledger: Ledger, ended_at: datetime | None) -> list[str]:
    """We debit nobody for an order that is paid or closed, and for no order twice."""
    faults = [
        f"a call to debit {debit.request.number} was begun after the order had ended"
        for debit in ledger.debits
        if ended_at is not None and debit.begun_at > ended_at
    ]
    debited = [entry.number for entry in ledger.entries.values() if entry.debited_by]
    if len(debited) > 1:
        faults.append(f"our calls debited the buyer by {sorted(debited)}")
    return faults


def _faults_of_the_journal(order: Order, records: Records) -> list[str]:
    """Each noun's moves are one chain from its birth to where it stands."""
    stands: dict[str, str] = {}
    for move in records.journal:
        if stands.get(move.noun_id, "none") != move.from_state:
            return [f"the journal of {move.noun} {move.noun_id} has a gap before {move.to_state}"]
        stands[move.noun_id] = move.to_state
    now: dict[str, str] = {order.id: order.state}
    now |= {attempt.id: attempt.state for attempt in order.attempts}
    now |= {refund.id: refund.state for refund in records.refunds}
    return [
        f"{noun_id} is {state}, and its journal ends with {stands.get(noun_id)}"
        for noun_id, state in now.items()
        if stands.get(noun_id) != state
    ]


def _faults_of_the_events(records: Records) -> list[str]:
    """One event for each move that is told of, and each waits to be delivered."""
    moves = ((move.noun, move.to_state) for move in records.journal)
    happened = Counter(_TOLD[move] for move in moves if move in _TOLD)
    told = Counter(event.type for event in records.events if event.type != "refund.held")
    faults = [f"{event.type} is not due" for event in records.events if not event.due]
    if told != happened:
        faults.append(f"told are {sorted(told.elements())}, not {sorted(happened.elements())}")
    return faults


def faults_of_the_refunds(ledger: Ledger, order: Order, refunds: Sequence[Owed]) -> list[str]:
    """Each surplus payment is back once, the winner only as far as the merchant asked, and the
    records say what the ledger says.
    """
    faults = []
    owed = Counter(a.id for a in order.attempts if a.state is AttemptState.SURPLUS)
    surplus = [each for each in refunds if each.reason is RefundReason.SURPLUS]
    if Counter(each.attempt_id for each in surplus) != owed:
        faults.append(f"{owed.total()} surplus attempts have {len(surplus)} refunds")
    merchants = [each for each in refunds if each.reason is RefundReason.MERCHANT]
    given = sum(each.amount for each in merchants if each.state is RefundState.DONE)
    if given != order.amount_refunded or given > order.amount:
        faults.append(f"merchants' refunds are {given}, and the order says {order.amount_refunded}")
    done = Counter(
        (each.number, each.amount)
        for each in refunds
        if each.state is RefundState.DONE and each.reference is None
    )
    back = Counter(
        (known.number, known.money.amount)
        for known in ledger.refunds.values()
        if known.state is RefundState.DONE
    )
    if done != back:
        faults.append(f"the channel gave back {sorted(back)}, and {sorted(done)} is recorded")
    faults += [
        f"refund {each.number} is still {each.state}"
        for each in refunds
        if each.state not in (RefundState.DONE, RefundState.REJECTED)
    ]
    for attempt in order.attempts:
        if attempt.state.holds_money:
            faults += _faults_of_a_payment(ledger, attempt, refunds)
    return faults


def _faults_of_a_payment(ledger: Ledger, attempt: Attempt, refunds: Sequence[Owed]) -> list[str]:
    given = ledger.given_back(attempt.number)
    kept = [
        each.amount
        for each in refunds
        if each.attempt_id == attempt.id
        and each.state is not RefundState.REJECTED
        and each.reference is None
    ]
    if given == sum(kept):
        return []
    return [f"of the {attempt.state} payment {attempt.number} {given} went back, not {sum(kept)}"]
