"""Ending what may still be paid: one attempt at its channel, an order for its merchant, orders that
expired.

The answer to `close` is typed and never believed beyond its word: CLOSED is settled, everything
else is followed by a query, and what the query does not end stays asked about until it is closed,
paid or dead.
"""

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.channels.base import CloseResult
from gateway.db import due, moves, orders
from gateway.errors import (
    ChannelDown,
    ChannelUnavailable,
    NotFound,
    OrderAlreadyPaid,
    ServiceUnavailable,
)
from gateway.ids import OrderId
from gateway.model import Attempt, ChannelReport, Order, OrderState, Outcome, Source
from gateway.payments import announcing
from gateway.payments.calling import call, query
from gateway.payments.desk import Desk
from gateway.payments.settle import Settled
from gateway.together import Crew, together

_ROUNDS: Final = 8
_EXPIRY_LEASE_S: Final = 30.0


class Ending(StrEnum):
    """How far an attempt could be ended."""

    ENDED = "ended"
    STILL_LIVE = "still_live"  # the channel knows it, or not yet, and may still take money on it
    UNKNOWN = "unknown"  # no answer, or the money is on its way


async def end_at_channel(desk: Desk, attempt: Attempt) -> tuple[Ending, Settled | None]:
    """Close an attempt at its channel and settle what the channel says; changes nothing by
    itself.
    """
    account = await desk.accounts.of_attempt(attempt)
    if account is None:
        return Ending.UNKNOWN, None
    try:
        closing = account.adapter.close(attempt.number, attempt.channel_ref)
        closed = await call(account, "close", closing)
    except ChannelUnavailable:
        closed = CloseResult.UNKNOWN
    if closed is CloseResult.CLOSED:
        report = ChannelReport(account.id, attempt.number, Outcome.CLOSED, Source.CLOSE)
    else:
        try:
            report = await query(account, attempt)
        except ChannelUnavailable:
            return Ending.UNKNOWN, None
    settled = await desk.settle(report)
    if not settled.attempt.state.live:
        return Ending.ENDED, settled
    # What is only approved is debited by us alone, and for an open order alone.
    captured = settled.attempt.capture_claimed_at is not None
    on_its_way = captured or report.outcome is Outcome.PROCESSING
    return (Ending.UNKNOWN if on_its_way else Ending.STILL_LIVE), settled


async def close_or_supersede(desk: Desk, order: Order, attempt: Attempt) -> None:
    """Make way for another attempt: what the channel does not close is offered no longer.

    One that we began to debit meanwhile is left as it is: the order is about to be paid.
    """
    _, settled = await end_at_channel(desk, attempt)
    now_order = settled.order if settled else order
    now_attempt = settled.attempt if settled else attempt
    if now_attempt.offered and now_attempt.capture_claimed_at == attempt.capture_claimed_at:
        async with desk.pool.acquire() as conn:
            await moves.supersede(conn, now_order, now_attempt)


async def close_order(desk: Desk, order_id: OrderId, merchant: str) -> Order:
    """Close an order for its merchant, its attempts at their channels first.

    A closed order is answered again. Raises OrderAlreadyPaid; ChannelDown where a channel does not
    say whether it was paid (nothing is changed then); NotFound.
    """
    for _ in range(_ROUNDS):
        async with desk.pool.acquire() as conn:
            reading = await orders.read(conn, order_id)
        if reading is None or reading[0].merchant != merchant:
            raise NotFound(f"There is no order {order_id}.")
        order, now = reading
        if order.state is OrderState.PAID:
            raise OrderAlreadyPaid
        if order.state is OrderState.CLOSED:
            return order
        if await _any_unknown(desk, order, now):
            raise ChannelDown(
                "The channel did not say whether the order was paid, so it stays open; "
                "close it again."
            )
        closed = await _close_here(desk, order, "merchant")
        if closed is not None:
            return closed
    raise ServiceUnavailable("The order is being changed by many at once; try again in a moment.")


async def expire_due(desk: Desk, limit: int, crew: Crew | None = None) -> int:
    """Close orders whose time is over, their attempts at the channels first; returns how many were
    looked at.

    Where a channel does not answer, or the money is on its way, the order is looked at again, until
    it answers or until no attempt can be paid any more.
    """
    async with desk.pool.acquire() as conn:
        claimed = await due.claim_expired(conn, limit, _EXPIRY_LEASE_S)
    if crew is None:
        return await together("expire", (_expire(desk, order_id) for order_id in claimed))
    for order_id in claimed:
        crew.begin(order_id, _expire(desk, order_id))
    return len(claimed)


async def _expire(desk: Desk, order_id: OrderId) -> None:
    async with desk.pool.acquire() as conn:
        reading = await orders.read(conn, order_id)
    assert reading is not None
    order, now = reading
    if order.state is OrderState.OPEN and not await _any_unknown(desk, order, now):
        await _close_here(desk, order, "expired")


async def _any_unknown(desk: Desk, order: Order, now: datetime) -> bool:
    """End every live attempt, together; is there one that nobody can say will not be paid?

    All are asked, however old: one that nobody asked about in time may have been paid in time. Only
    silence is excused by age.
    """
    live = [attempt for attempt in order.attempts if attempt.state.live]
    endings = await asyncio.gather(*(end_at_channel(desk, attempt) for attempt in live))
    return any(
        ending is Ending.UNKNOWN and now < attempt.live_until
        for attempt, (ending, _) in zip(live, endings, strict=True)
    )


async def _close_here(desk: Desk, asked: Order, reason: str) -> Order | None:
    """Close the order as it is now; None: it was paid, or an attempt was made or began to be
    captured, since it was asked.
    """
    known = {(attempt.id, attempt.capture_claimed_at) for attempt in asked.attempts}
    async with desk.pool.acquire() as conn:
        reading = await orders.read(conn, asked.id)
    assert reading is not None
    order, now = reading
    if order.state is not OrderState.OPEN:
        return order if order.state is OrderState.CLOSED else None
    live = (attempt for attempt in order.attempts if attempt.state.live)
    if any((attempt.id, attempt.capture_claimed_at) not in known for attempt in live):
        return None
    # As before money is written: no cached answer outlives the order.
    await desk.claims.hush(order.id, order.version)
    after = announcing.closed(order, reason, now)
    event = announcing.new_event(
        announcing.EventType.ORDER_CLOSED, after, None, desk.settings.base_url, now
    )
    async with desk.pool.acquire() as conn:
        if not await moves.close_order(conn, order, reason, now, event):
            return None
    desk.errands.run(desk.after.settled(after))
    return after
