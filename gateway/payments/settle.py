"""One door for evidence: decide() says what a report means, settle() writes it. Nothing else may.

A callback, a poll, a reply to close and a line of a bill are all a ChannelReport and all come here.
The source is recorded and never read by the rules, so "callback races poll" is not a case. Two
round trips, nothing slow inside: read the order with its attempts; write the verdict in one
statement guarded by the order's version. Where that finds the order moved, read and decide again.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from gateway.db import moves, orders
from gateway.db.moves import Move, NewEvent
from gateway.errors import PayOnceError, ServiceUnavailable
from gateway.ids import OrderId, new_attempt_id, new_refund_id
from gateway.model import (
    Attempt,
    AttemptState,
    ChannelReport,
    Evidence,
    Order,
    OrderState,
    Outcome,
    Refund,
    RefundReason,
    RefundState,
)
from gateway.payments import announcing
from gateway.telemetry import log

# A close can race a buyer's password: an ended attempt is asked about once more this soon.
_ASK_AFTER_END: Final = timedelta(minutes=1)
# Each retry means that somebody else wrote in between; more than this many is a fault worth an
# error.
_RETRIES: Final = 20


class UnknownNumber(PayOnceError):
    """A report for a number that we have no attempt for. Its evidence is kept."""


class Verdict(Struct, frozen=True):
    """What a report means: the states as they shall be, and what that entails.

    `sibling`: the money is other money under the same number, and gets a surplus attempt of its
    own. `refund`: the state in which the debt for surplus money is born; `releasable`: it is
    plainly the price in full, so that risk control may let it go without a person.
    """

    attempt: AttemptState
    order: OrderState
    event: announcing.EventType | None = None
    sibling: bool = False
    refund: RefundState | None = None
    releasable: bool = False


class Settled(Struct, frozen=True):
    """How the order stands after a report; `moved`: this report changed something."""

    order: Order
    attempt: Attempt
    moved: bool


def decide(order: Order, attempt: Attempt, report: ChannelReport, now: datetime) -> Verdict:
    """Say what a report means. Pure, and total: every report has a verdict.

    Money always wins: PAID is recorded whatever state the attempt is in. No state is reached by
    running out of patience: an attempt ends on the channel's explicit word, or when a query after
    `live_until` says that nothing was debited: unpaid, not found, or approved, which only a capture
    of ours would debit. While one may still do that, it does not end without money at all.
    """
    unchanged = Verdict(attempt.state, order.state)
    live = attempt.state.live and attempt.capture_claimed_at is None
    match report.outcome:
        case Outcome.PAID:
            return _decide_paid(order, attempt, report)
        case Outcome.DECLINED if live:
            return Verdict(AttemptState.DECLINED, order.state)
        case Outcome.CLOSED if live:
            return Verdict(AttemptState.CLOSED, order.state)
        case Outcome.UNPAID | Outcome.NOT_FOUND | Outcome.APPROVED if (
            live and now >= attempt.live_until
        ):
            return Verdict(AttemptState.CLOSED, order.state)
        case (
            Outcome.DECLINED
            | Outcome.CLOSED
            | Outcome.UNPAID
            | Outcome.NOT_FOUND
            | Outcome.APPROVED
            | Outcome.PROCESSING
        ):
            return unchanged


def _decide_paid(order: Order, attempt: Attempt, report: ChannelReport) -> Verdict:
    if any(
        known.account == attempt.account and known.payment_ref == report.payment_ref
        for known in order.attempts
    ):
        return Verdict(attempt.state, order.state)  # the same news again
    if attempt.state.holds_money:
        return Verdict(
            attempt.state,
            order.state,
            event=announcing.EventType.ATTEMPT_SURPLUS,
            sibling=True,
            refund=_refund_of(report),
            releasable=_releasable(attempt, report),
        )
    pays = order.state is OrderState.OPEN and report.money == attempt.money and report.refunded == 0
    if pays:
        return Verdict(
            AttemptState.CAPTURED, OrderState.PAID, event=announcing.EventType.ORDER_PAID
        )
    return Verdict(
        AttemptState.SURPLUS,
        order.state,
        event=announcing.EventType.ATTEMPT_SURPLUS,
        refund=_refund_of(report),
        releasable=_releasable(attempt, report),
    )


def _refund_of(report: ChannelReport) -> RefundState:
    """Surplus is owed back, unless the channel says that all of it was given back already."""
    assert report.money is not None
    given_back = report.refunded is not None and report.refunded >= report.money.amount
    return RefundState.DONE if given_back else RefundState.HELD


def _releasable(attempt: Attempt, report: ChannelReport) -> bool:
    """Whatever is not plainly the price, all of it still there, waits for a person."""
    return report.refunded == 0 and report.money == attempt.money


async def settle(
    pool: "asyncpg.Pool[asyncpg.Record]",
    report: ChannelReport,
    public_url: str,
    evidence: Evidence | None = None,
    hush: Callable[[OrderId, int], Awaitable[None]] | None = None,
) -> Settled:
    """Record what a channel says, once, whoever says it and how often; returns how the order
    stands.

    `hush` is called before money is written, so that no cached answer outlives it. Raises
    UnknownNumber where there is no such attempt (its evidence is kept), ServiceUnavailable where
    the order keeps moving. When it returns, what it says is committed.
    """
    for _ in range(_RETRIES):
        async with pool.acquire() as conn:
            reading = await orders.read_by_number(conn, report.account, report.number)
            if reading is None:
                if evidence is not None:
                    await moves.keep_unknown(conn, evidence)
                raise UnknownNumber(f"no attempt with number {report.number}")
            order, now = reading
            attempt = _attempt_of(order, report)
            verdict = decide(order, attempt, report, now)
            if verdict.attempt is attempt.state and not verdict.sibling:
                if evidence is not None:
                    await moves.keep(conn, evidence)
                return Settled(order, attempt, moved=False)
        if hush is not None and report.outcome is Outcome.PAID:
            await hush(order.id, order.version)
        move = _move(order, attempt, report, verdict, now, public_url)
        try:
            async with pool.acquire() as conn:
                if await moves.settle(
                    conn, order, move, cause=report.source, now=now, evidence=evidence
                ):
                    return Settled(move.after, move.after.attempt(attempt.id), moved=True)
        except asyncpg.UniqueViolationError:
            continue  # a rival captured, or recorded this payment: read what it wrote
    # Or another order has recorded this payment, and that is for a person to look at.
    log.error("report_cannot_be_settled", account=report.account, number=report.number)
    if evidence is not None:
        async with pool.acquire() as conn:
            await moves.keep_unknown(conn, evidence)
    raise ServiceUnavailable("The order is being changed by many at once; try again in a moment.")


def _attempt_of(order: Order, report: ChannelReport) -> Attempt:
    """The attempt that owns the number: siblings share it, and were made after it."""
    return next(
        attempt
        for attempt in order.attempts
        if attempt.account == report.account and attempt.number == report.number
    )


def _move(
    order: Order,
    attempt: Attempt,
    report: ChannelReport,
    verdict: Verdict,
    now: datetime,
    public_url: str,
) -> Move:
    """Spell a verdict out: every row as it shall be."""
    sibling = _sibling(attempt, report, now) if verdict.sibling else None
    moved = attempt if sibling else _moved(attempt, report, verdict, now)
    refund = _surplus_refund(sibling or moved, report, verdict, now) if verdict.refund else None
    after = _after(order, moved, sibling, refund, verdict, now)
    events: list[NewEvent] = []
    if verdict.event is not None:
        told = after.attempt((sibling or moved).id)
        events.append(announcing.new_event(verdict.event, after, told, public_url, now))
    if refund is not None and (event := announcing.event_of(refund)) is not None:
        told = after.attempt(refund.attempt)
        events.append(announcing.new_event(event, after, told, public_url, now, refund))
    return Move(after, moved, sibling, refund, events)


def _moved(attempt: Attempt, report: ChannelReport, verdict: Verdict, now: datetime) -> Attempt:
    """The attempt as it shall be. One that ended without money is asked about twice more."""
    if verdict.attempt.holds_money:
        assert report.money is not None
        return replace(
            attempt,
            state=verdict.attempt,
            payment_ref=report.payment_ref,
            received_amount=report.money.amount,
            received_currency=report.money.currency,
            channel_ref=report.channel_ref or attempt.channel_ref,
            ask_at=None,
            calling_until=None,
            needs_attention=False,
            updated_at=now,
        )
    asks_again = now < attempt.live_until
    return replace(
        attempt,
        state=verdict.attempt,
        ask_at=min(now + _ASK_AFTER_END, attempt.live_until) if asks_again else None,
        calling_until=None,
        needs_attention=False,
        updated_at=now,
    )


def _sibling(attempt: Attempt, report: ChannelReport, now: datetime) -> Attempt:
    assert report.money is not None
    return replace(
        attempt,
        id=new_attempt_id(),
        state=AttemptState.SURPLUS,
        payment_ref=report.payment_ref,
        received_amount=report.money.amount,
        received_currency=report.money.currency,
        channel_ref=report.channel_ref or attempt.channel_ref,
        capture_claimed_at=None,
        captures=0,
        next_action=None,
        next_action_until=None,
        created_at=now,
        updated_at=now,
    )


def _surplus_refund(
    surplus: Attempt, report: ChannelReport, verdict: Verdict, now: datetime
) -> Refund:
    """The debt. The machine looks at once at what it may give back; the rest waits for a person."""
    assert report.money is not None
    assert verdict.refund is not None
    if verdict.refund is RefundState.DONE:
        note = "given back at the channel already"
    elif verdict.releasable:
        note = "its order does not need it"
    else:
        note = "what arrived is not the price, or some of it was given back: a person looks"
    return Refund(
        id=new_refund_id(),
        order_id=surplus.order_id,
        attempt=surplus.id,
        account=surplus.account,
        reason=RefundReason.SURPLUS,
        # It follows from the attempt: were this row lost and made again, the channel would know it.
        number=surplus.id.removeprefix("att_") + "R1",
        tries=1,
        amount=report.money.amount,
        currency=report.money.currency,
        state=verdict.refund,
        created_at=now,
        updated_at=now,
        check_at=now if verdict.releasable else None,
        note=note,
    )


def _after(
    order: Order,
    moved: Attempt,
    sibling: Attempt | None,
    refund: Refund | None,
    verdict: Verdict,
    now: datetime,
) -> Order:
    """The order as the write will leave it: what the outbox row says and the page is shown."""
    becomes_paid = verdict.order is not order.state  # a report moves an order in no other way

    def shown(attempt: Attempt) -> Attempt:
        if attempt.id == moved.id:
            attempt = moved
        elif becomes_paid and attempt.state.live:
            attempt = replace(attempt, superseded=True, ask_at=now, updated_at=now)
        if refund is not None and attempt.id == refund.attempt:
            attempt = replace(attempt, refund_state=refund.state, refund_waits=refund.waits)
        return attempt

    siblings = (sibling,) if sibling else ()
    attempts = tuple(shown(attempt) for attempt in (*order.attempts, *siblings))
    return replace(
        order,
        version=order.version + 1,
        state=verdict.order,
        paid_attempt=moved.id if becomes_paid else order.paid_attempt,
        paid_at=now if becomes_paid else order.paid_at,
        attempts=attempts,
    )
