"""What a refund may do next: the rules, pure, and their one writer.

Giving money back is the one thing here that loses money when it is done twice, so a refund goes no
further than its evidence: risk control lets surplus go only when the channel still holds exactly
that money (`why_held`), its amounts are bounded (`over_limit`), and it ends on the channel's word
alone (`decide_refund`, `settle_refund`, built as `settle` is). One number at a channel is one
refund there, and a refund gets another number only after the channel said no to the last one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from gateway.db import moves, orders, refund_moves, refunds
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError, ServiceUnavailable
from gateway.ids import RefundId
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
    RefundReport,
    RefundState,
)
from gateway.payments import announcing
from gateway.payments.settle import UnknownNumber
from gateway.telemetry import log

RETRIES: Final = 20
_NUMBER_LENGTH: Final = 26  # of what stands before R and the try
_LIMIT: Final = "refund_limit"
_DAILY_LIMIT: Final = "refund_daily_limit"
_DEFAULTS: Final = {_LIMIT: "100000", _DAILY_LIMIT: "1000000"}


class Limits(Struct, frozen=True):
    """What risk control may let go without a person, in minor units."""

    one: int
    a_day: int


class Standing(Struct, frozen=True):
    """A refund with its order and the order's other refunds, as they were read, and the database's
    clock.
    """

    order: Order
    refund: Refund
    refunds: Sequence[Refund]
    now: datetime

    @property
    def attempt(self) -> Attempt:
        """The attempt whose money goes back."""
        return self.order.attempt(self.refund.attempt)


class SettledRefund(Struct, frozen=True):
    """How the order and the refund stand after a report; `moved`: this report changed something."""

    order: Order
    refund: Refund
    moved: bool


def read_limits(settings: Mapping[str, str]) -> Limits:
    """Read `refund_limit` and `refund_daily_limit` of a channel account, in minor units."""
    said = {name: settings.get(name, default) for name, default in _DEFAULTS.items()}
    for name, text in said.items():
        if not (text.isascii() and text.isdigit()):
            raise ConfigurationError(f"{name}: must be whole minor units from 0, like 100000")
    return Limits(int(said[_LIMIT]), int(said[_DAILY_LIMIT]))


def why_held(
    order: Order, surplus: Attempt, said: ChannelReport, winner_said: ChannelReport | None
) -> str | None:
    """Say why a person must look before surplus money is given back; None: it may go.

    `said` and `winner_said` answer two queries made for this: of the surplus payment, and of the
    payment that the order counts. That one must have been paid, whatever was given back since;
    without it the surplus may be all that was ever paid. A closed order counts none.
    """
    if said.outcome is not Outcome.PAID or said.payment_ref != surplus.payment_ref:
        return "the channel does not answer that this payment was paid"
    assert said.money is not None
    if (said.money.amount, said.money.currency) != (
        surplus.received_amount,
        surplus.received_currency,
    ):
        return "the channel answers another amount than what was received"
    if said.refunded != 0:
        return "the channel answers that some of it was given back already"
    if order.state is OrderState.PAID:
        assert order.paid_attempt is not None
        winner = order.attempt(order.paid_attempt)
        paid_by = winner_said.payment_ref if winner_said is not None else None
        if paid_by is None or paid_by != winner.payment_ref:
            return "the channel does not answer that the payment which the order counts was paid"
    return None


def over_limit(refund: Refund, limits: Limits, released_today: int) -> str | None:
    """Say which limit the refund is above; None: neither."""
    if refund.amount > limits.one:
        return f"above the limit of {limits.one} for one refund"
    if refund.amount + released_today > limits.a_day:
        return f"above the limit of {limits.a_day} for one day"
    return None


def left_of(order: Order, known: Sequence[Refund]) -> int:
    """Return how much of what the merchant captured may still be refunded."""
    given = sum(r.amount for r in known if r.reason is RefundReason.MERCHANT and r.state.counts)
    return order.amount - given


def decide_refund(refund: Refund, report: RefundReport) -> RefundState:
    """Say what the channel's news of a refund means. Pure, and total.

    News of another amount under our number is not believed. That it was done after it had ended
    otherwise here is: it is held, and a person looks. That it is under way may be old news, so it
    ends nothing and undoes no end.
    """
    if report.money is not None and report.money != refund.money:
        return refund.state
    done = report.state is RefundState.DONE
    match refund.state:
        case RefundState.SENT if done or report.state is RefundState.FAILED:
            return report.state
        case RefundState.HELD if done:
            return RefundState.DONE
        case RefundState.FAILED | RefundState.REJECTED if done:
            return RefundState.HELD
        case (
            RefundState.HELD
            | RefundState.READY
            | RefundState.SENT
            | RefundState.DONE
            | RefundState.FAILED
            | RefundState.REJECTED
        ):
            return refund.state


def held(refund: Refund, note: str, now: datetime) -> Refund:
    """The refund as it waits for a person, let go by nobody yet."""
    return replace(
        refund,
        state=RefundState.HELD,
        check_at=None,
        checks=0,
        released_at=None,
        asked_by=None,
        approved_by=None,
        note=note,
        updated_at=now,
    )


def ended(refund: Refund, state: RefundState, note: str | None, now: datetime) -> Refund:
    """The refund as it ended; nobody looks at it any more."""
    return replace(
        refund, state=state, check_at=None, checks=0, note=note or refund.note, updated_at=now
    )


def renumbered(refund: Refund, note: str, now: datetime) -> Refund:
    """A failed refund held for another try, with another number."""
    assert refund.state is RefundState.FAILED
    return replace(
        held(refund, note, now),
        number=f"{refund.number[:_NUMBER_LENGTH]}R{refund.tries + 1}",
        tries=refund.tries + 1,
        sent_at=None,
    )


async def read(conn: Connection, refund_id: RefundId) -> Standing | None:
    """Read a refund with its order; the order first, so that its version tells of later moves."""
    reading = await orders.read_by_refund(conn, refund_id)
    if reading is None:
        return None
    known = await refunds.of_order(conn, reading[0].id)
    refund = next(each for each in known if each.id == refund_id)
    return Standing(reading[0], refund, known, reading[1])


async def _read_by_number(conn: Connection, report: RefundReport) -> Standing | None:
    reading = await orders.read_by_refund_number(conn, report.account, report.number)
    if reading is None:
        return None
    known = await refunds.of_order(conn, reading[0].id)
    # Between the two reads it may have got another number: then the report is of the last one.
    refund = next((each for each in known if each.number == report.number), None)
    return Standing(reading[0], refund, known, reading[1]) if refund else None


async def write(
    conn: Connection,
    was: Standing,
    after: Refund,
    *,
    cause: str,
    public_url: str,
    evidence: Evidence | None = None,
) -> Order | None:
    """Write a refund as it shall be, with its event; returns the order after it, or None where it
    has moved.
    """
    order = _order_after(was.order, after)
    event = None
    said = announcing.event_of(after)
    if said is not None and (after.state, after.waits) != (was.refund.state, was.refund.waits):
        told = order.attempt(after.attempt)
        event = announcing.new_event(said, order, told, public_url, was.now, after)
    written = await refund_moves.move(
        conn,
        was.order,
        was.refund,
        after,
        amount_refunded=order.amount_refunded,
        cause=cause,
        now=was.now,
        event=event,
        evidence=evidence,
    )
    return order if written else None


async def settle_refund(
    pool: "asyncpg.Pool[asyncpg.Record]",
    report: RefundReport,
    public_url: str,
    evidence: Evidence | None = None,
    note: str | None = None,
) -> SettledRefund:
    """Record what a channel says of a refund, once, whoever says it and how often.

    Raises UnknownNumber where we have no such refund (its evidence is kept), ServiceUnavailable
    where the order keeps moving. When it returns, what it says is committed.
    """
    for _ in range(RETRIES):
        async with pool.acquire() as conn:
            was = await _read_by_number(conn, report)
            if was is None:
                if evidence is not None:
                    await moves.keep_unknown(conn, evidence)
                raise UnknownNumber(f"no refund with number {report.number}")
            state = decide_refund(was.refund, report)
            if report.money not in (None, was.refund.money):
                log.error("refund_of_another_amount", refund=was.refund.id, account=report.account)
            if state is was.refund.state:
                if evidence is not None:
                    await moves.keep(conn, evidence)
                return SettledRefund(was.order, was.refund, moved=False)
            after = _settled(was, state, report, note)
            order = await write(
                conn, was, after, cause=report.source, public_url=public_url, evidence=evidence
            )
            if order is not None:
                return SettledRefund(order, after, moved=True)
    raise ServiceUnavailable("The order is being changed by many at once; try again in a moment.")


def _settled(was: Standing, state: RefundState, report: RefundReport, note: str | None) -> Refund:
    if state is RefundState.HELD:
        contradiction = f"it was {was.refund.state} here, and the channel answers {report.state}"
        after = held(was.refund, contradiction, was.now)
    else:
        after = ended(was.refund, state, note, was.now)
    return replace(after, refund_ref=report.refund_ref or was.refund.refund_ref)


def _order_after(order: Order, after: Refund) -> Order:
    """The order as the write will leave it: what the outbox row says and the page is shown."""
    given = after.reason is RefundReason.MERCHANT and after.state is RefundState.DONE
    return replace(
        order,
        version=order.version + 1,
        amount_refunded=order.amount_refunded + (after.amount if given else 0),
        attempts=tuple(
            replace(attempt, refund_state=after.state, refund_waits=after.waits)
            if attempt.id == after.attempt and attempt.state is AttemptState.SURPLUS
            else attempt
            for attempt in order.attempts
        ),
    )
