"""Debiting where the channel debits only on our call (PayPal, cards): the strongest guard there is.

The buyer approves, and nothing is paid yet. The right to debit is claimed in the database, by one
attempt of the order at a time (`one_capture_claim_per_order`), by a write that finds the order open
and this attempt the one that is offered; only then is `capture` called, and a repeat follows
another such write. Otherwise there are only queries: a worker that died after its claim and comes
back when a rival has paid finds the order paid, and never calls. A claim ends with money, with the
channel's refusal, or when a query a minute after the call's deadline says that nothing was debited.
"""

import time
from datetime import datetime, timedelta
from typing import Final

import asyncpg
from msgspec.structs import replace

from gateway.channels.base import CaptureRequest, Capturing
from gateway.db import capture_moves, orders
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Attempt, AttemptState, ChannelReport, Order, OrderState, Outcome
from gateway.payments.accounts import Account
from gateway.payments.calling import DEADLINE_S, call
from gateway.payments.desk import Desk
from gateway.payments.settle import Settled
from gateway.telemetry import log

# A little more than the deadline of the call that the claim covers.
CALL_S: Final = DEADLINE_S + 1
# How long after its claim a call that was never answered is taken to have done nothing, if the
# channel says so too.
FORGOTTEN_S: Final = CALL_S + 60
# A process that stood still after its claim does not call any more: it would be taken to have done
# nothing, while it still could.
_BEGIN_WITHIN_S: Final = 30.0
# A call that is repeated, or was refused, is not followed by another one for so long, unless the
# buyer approves again; with each refusal it is twice as long, so often, for banks mind.
_PAUSE_S: Final = 60.0
_DOUBLINGS: Final = 6
_ROUNDS: Final = 4


async def go_on(desk: Desk, settled: Settled, report: ChannelReport) -> Settled:
    """Go on after a report that was settled: capture what the buyer approved, let go of it where
    that is over, or give up a claim that came to nothing; returns how the order stands then.
    """
    attempt = settled.attempt
    if report.outcome is Outcome.APPROVED:
        if attempt.state in (AttemptState.CLOSED, AttemptState.DECLINED):
            await _let_go(desk, attempt)
            return settled
        captured = await _capture(desk, attempt)
        if captured is not None:
            return captured
    in_flight = attempt.state.live and attempt.capture_claimed_at is not None
    if in_flight and report.outcome not in (Outcome.PAID, Outcome.PROCESSING):
        await _drop(desk, attempt, after_s=FORGOTTEN_S, refused=False)
    return settled


async def _capture(desk: Desk, approved: Attempt) -> Settled | None:
    """Debit the buyer, if the order is still to be paid by this attempt; None: nobody knows yet,
    or it was not debited.
    """
    account = await desk.accounts.of_attempt(approved)
    if account is None or not isinstance(account.adapter, Capturing):
        return None
    attempt = await _claim(desk, account, approved)
    if attempt is None:
        return None
    request = CaptureRequest(
        number=attempt.number,
        channel_ref=attempt.channel_ref,
        # The same for every repeat; another one only after the channel said that it did not debit.
        request_id=f"{attempt.number}C{attempt.captures + 1}",
        money=attempt.money,
    )
    try:
        report = await call(account, "capture", account.adapter.capture(request))
    except ChannelUnavailable as error:
        log.warning("capture_unanswered", attempt=attempt.id, error=str(error))
        return None
    except ChannelRefused as refusal:
        log.info("capture_refused", attempt=attempt.id, code=refusal.code)
        await _drop(desk, attempt, after_s=0, refused=True)
        return None
    return await desk.settle(report)


async def _let_go(desk: Desk, ended: Attempt) -> None:
    """Have the channel free what it holds for an attempt that nobody will debit any more.

    Without this it does so by itself, days later.
    """
    account = await desk.accounts.of_attempt(ended)
    if account is None:
        return
    try:
        await call(account, "close", account.adapter.close(ended.number, ended.channel_ref))
    except ChannelUnavailable as error:
        log.info("approval_not_let_go", attempt=ended.id, error=str(error))


async def _claim(desk: Desk, account: Account, approved: Attempt) -> Attempt | None:
    """Claim the right to debit; returns the attempt as it then stands, if it may be debited now."""
    for _ in range(_ROUNDS):
        async with desk.pool.acquire() as conn:
            reading = await orders.read(conn, approved.order_id)
        assert reading is not None
        order, now = reading
        attempt = order.attempt(approved.id)
        if not _is_to_be_debited(order, attempt, now):
            return None
        first = attempt.capture_claimed_at is None
        began = time.monotonic()
        try:
            async with desk.pool.acquire() as conn:
                claimed_at = await capture_moves.claim(
                    conn,
                    order,
                    attempt.id,
                    call_s=CALL_S,
                    ask_in_s=CALL_S if first else _PAUSE_S,
                    needs_attention=attempt.asks >= len(account.ask_ladder_s),
                )
        except asyncpg.UniqueViolationError:
            return None  # another attempt of the order may be being debited
        if claimed_at is not None:
            log.info("capture_claimed", order=order.id, attempt=attempt.id)
            in_time = time.monotonic() - began < _BEGIN_WITHIN_S
            return replace(attempt, capture_claimed_at=claimed_at) if in_time else None
    return None


def _is_to_be_debited(order: Order, attempt: Attempt, now: datetime) -> bool:
    """Is the order to be paid by this attempt, and is no call to debit it on its way? The write
    says the same again.
    """
    claimed_at = attempt.capture_claimed_at
    return (
        order.state is OrderState.OPEN
        and now < order.expires_at
        and attempt.offered
        and attempt.state is AttemptState.PAYING
        and (claimed_at is None or claimed_at <= now - timedelta(seconds=CALL_S))
    )


async def _drop(desk: Desk, claimed: Attempt, *, after_s: float, refused: bool) -> None:
    """Give the claim back, if it is still that one and `after_s` old."""
    pause_s = _PAUSE_S * 2 ** min(claimed.captures, _DOUBLINGS)
    for _ in range(_ROUNDS):
        async with desk.pool.acquire() as conn:
            reading = await orders.read(conn, claimed.order_id)
        assert reading is not None
        order, now = reading
        if not _is_to_be_dropped(order.attempt(claimed.id), claimed, now, after_s):
            return
        async with desk.pool.acquire() as conn:
            dropped = await capture_moves.drop(
                conn, order, claimed, after_s=after_s, refused=refused, ask_in_s=pause_s
            )
            if dropped:
                log.info("capture_dropped", order=order.id, attempt=claimed.id)
                return


def _is_to_be_dropped(attempt: Attempt, claimed: Attempt, now: datetime, after_s: float) -> bool:
    """Is it still that claim, and so old? The write says the same again."""
    claimed_at = claimed.capture_claimed_at
    assert claimed_at is not None
    is_that_one = attempt.capture_claimed_at == claimed_at
    return is_that_one and now >= claimed_at + timedelta(seconds=after_s)
