"""What must be so: after every step that could be the last, and when all is over.

The ledger says what was taken; the database must say the same, once, and owe back what was too
much.
"""

from collections import Counter
from datetime import datetime
from typing import Final

import asyncpg

from gateway.errors import (
    ApplyInProgress,
    ChannelDown,
    ChannelRefusal,
    OrderAlreadyPaid,
    OrderClosed,
)
from gateway.ids import number_of
from gateway.model import Attempt, AttemptState, Order, OrderState
from tests.schedules.scheduler import Scheduler
from tests.schedules.stage import H5, NATIVE, Stage

# How a flow may end without what it wanted: told to the caller, and nothing half-done.
ALLOWED: Final = (ApplyInProgress, ChannelDown, ChannelRefusal, OrderAlreadyPaid, OrderClosed)

_STORY: Final = """
    SELECT noun, noun_id, from_state, to_state, at FROM journal WHERE order_id = $1 ORDER BY id
"""
_REFUNDED: Final = "SELECT attempt_id FROM refunds WHERE order_id = $1"
_UNDELIVERED: Final = """
    SELECT type FROM events WHERE order_id = $1 AND delivered_at IS NULL AND deliver_at IS NULL
"""


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
    payable = set(stage.ledger.payable)
    faults = []
    if len(payable) > 1 and not stage.ledger.unclosable:
        faults.append(f"{len(payable)} codes can be paid at the channel at once")
    for wish in (NATIVE, H5):
        given = {number_of(answer.attempt) for answer in stage.answers if answer.wish == wish}
        if len(given & payable) > 1:
            faults.append(f"two who asked for the same were given {sorted(given)}")
    return faults


def faults_of_the_losers(stage: Stage, order: Order) -> list[str]:
    """Once they were asked about, the codes of an order that needs none are closed."""
    if order.state is OrderState.OPEN or stage.ledger.unclosable or not stage.ledger.payable:
        return []
    return [f"the order is {order.state}, and a code at the channel was not closed"]


async def faults_of_the_end(stage: Stage, scheduler: Scheduler) -> list[str]:
    """When the sweeps have nothing left to do, long after: all money recorded, nothing stuck."""
    order = await stage.read()
    faults = faults_of_the_moment(order)
    faults += _faults_of_the_money(stage, order.attempts)
    faults += [
        f"attempt {attempt.number} is still {attempt.state}"
        for attempt in order.attempts
        if attempt.state.live
    ]
    if order.state is OrderState.OPEN:
        faults.append("the order has expired and is still open")
    async with stage.pool.acquire() as conn:
        refunded = Counter(row[0] for row in await conn.fetch(_REFUNDED, order.id))
        owed = Counter(a.id for a in order.attempts if a.state is AttemptState.SURPLUS)
        if refunded != owed:
            faults.append(f"{len(owed)} surplus attempts have {refunded.total()} refunds")
        lost = await conn.fetch(_UNDELIVERED, order.id)
        faults += [f"{row[0]} is neither delivered nor due" for row in lost]
        story = await conn.fetch(_STORY, order.id)
    faults += _faults_of_the_journal(order, story)
    paid_at = next((row[4] for row in story if row[0] == "order" and row[3] == "paid"), None)
    return faults + _faults_of_the_answers(stage, scheduler, paid_at)


def _faults_of_the_money(stage: Stage, attempts: tuple[Attempt, ...]) -> list[str]:
    taken = Counter(entry.payment_ref for entry in stage.ledger.entries.values() if entry.paid)
    recorded = Counter(a.payment_ref for a in attempts if a.payment_ref is not None)
    if taken == recorded:
        return []
    return [f"the channel took {sorted(taken)}, and {sorted(recorded)} is recorded"]


def _faults_of_the_journal(order: Order, story: list[asyncpg.Record]) -> list[str]:
    """Each noun's moves are one chain from its birth to where it stands."""
    stands: dict[str, str] = {}
    for noun, noun_id, before, after, _at in story:
        if stands.get(noun_id, "none") != before:
            return [f"the journal of {noun} {noun_id} has a gap before {before} -> {after}"]
        stands[noun_id] = after
    now = {order.id: order.state.value} | {a.id: a.state.value for a in order.attempts}
    return [
        f"{noun_id} is {state}, and its journal ends with {stands.get(noun_id)}"
        for noun_id, state in now.items()
        if stands.get(noun_id) != state
    ]
