"""Asking the channel (主动轮询): the answer to payments that got lost on their way to us (掉单).

`ask_at` and `asks` on the attempt are the truth; a delayed arq job is the accelerator, and names
the `asks` that it was made for, so that it does nothing once the row has moved on. The sweep claims
what is overdue, with no lower bound in time: a worker that was down for a day loses nothing.
"""

import time
from datetime import datetime, timedelta
from typing import Final

from gateway import jobs
from gateway.db import attempts, orders
from gateway.db.attempts import Asking
from gateway.errors import ChannelUnavailable
from gateway.ids import AttemptId
from gateway.model import Attempt
from gateway.payments.accounts import Account
from gateway.payments.calling import query
from gateway.payments.capturing import go_on
from gateway.payments.closing import end_at_channel
from gateway.payments.desk import Desk
from gateway.telemetry import ASKS, log
from gateway.together import Crew, together

# Longer than a query, a close and the query after it, with their deadlines: nobody else asks
# meanwhile, and a worker that died in the middle is made up for soon.
_LEASE_S: Final = 18.0


async def ask(desk: Desk, attempt_id: AttemptId, asks: int) -> None:
    """Ask about one attempt as it was after `asks` asks."""
    async with desk.pool.acquire() as conn:
        asking = await attempts.claim_ask(conn, attempt_id, asks, _LEASE_S)
    if asking is not None:
        await _ask_claimed(desk, asking)


async def ask_overdue(desk: Desk, limit: int, crew: Crew | None = None) -> int:
    """Ask about what is overdue; returns how many were claimed.

    With a crew they are begun, not awaited, and accounts that keep it busy are left for later: a
    channel that does not answer holds up nobody else's payments.
    """
    async with desk.pool.acquire() as conn:
        crowded = crew.crowded() if crew else ()
        claimed = await attempts.claim_overdue_asks(conn, limit, _LEASE_S, crowded)
    if crew is None:
        return await together("ask", (_ask_claimed(desk, asking) for asking in claimed))
    for asking in claimed:
        crew.begin(asking.account, _ask_claimed(desk, asking))
    return len(claimed)


async def ask_once(desk: Desk, attempt_id: AttemptId) -> None:
    """Ask because the buyer came back from the channel; never raises for the channel's troubles."""
    async with desk.pool.acquire() as conn:
        reading = await orders.read_attempt_order(conn, attempt_id)
    if reading is None:
        return
    attempt = reading[0].attempt(attempt_id)
    account = await desk.accounts.of_attempt(attempt)
    if account is not None and attempt.state.live:
        await _query(desk, account, attempt)


async def _ask_claimed(desk: Desk, asking: Asking) -> None:
    """Query, close what the buyer is no longer offered, and say when to ask next."""
    began = time.monotonic()
    account = await desk.accounts.of_attempt(asking)
    if account is None:
        log.error("attempt_without_usable_account", attempt=asking.id, account=asking.account)
        return  # the lease ends by itself, and it is asked again
    attempt = await _query(desk, account, asking)
    if attempt is not None and attempt.state.live and attempt.superseded:
        attempt = await _close_unoffered(desk, attempt)
    # By the database's clock, which is the one that `ask_at` and `live_until` were written by.
    now = asking.claimed_at + timedelta(seconds=time.monotonic() - began)
    await _schedule(desk, asking, account, attempt, now)


async def _close_unoffered(desk: Desk, seen: Attempt) -> Attempt:
    """Close it at the channel, unless the buyer has been offered it again since it was queried."""
    async with desk.pool.acquire() as conn:
        reading = await orders.read_attempt_order(conn, seen.id)
    attempt = reading[0].attempt(seen.id) if reading else seen
    if not (attempt.state.live and attempt.superseded):
        return attempt
    _, settled = await end_at_channel(desk, attempt)
    return settled.attempt if settled else attempt


async def _query(desk: Desk, account: Account, asked: Attempt | Asking) -> Attempt | None:
    """Query, settle, and go on with what the buyer approved; None: nothing is known."""
    channel = account.adapter.traits.channel
    try:
        report = await query(account, asked)
    except ChannelUnavailable as error:
        ASKS.labels(channel=channel, result="unavailable").inc()
        log.info("channel_did_not_answer", account=account.id, error=str(error))
        return None
    ASKS.labels(channel=channel, result=report.outcome.value).inc()
    return (await go_on(desk, await desk.settle(report), report)).attempt


async def _schedule(
    desk: Desk, asking: Asking, account: Account, attempt: Attempt | None, now: datetime
) -> None:
    """Write when it is asked next, unless a move has written that already."""
    delay_s = account.next_ask_s(asking.asks)
    at: datetime | None = now + timedelta(seconds=delay_s)
    if attempt is not None and not attempt.state.live:
        at = _last_ask(attempt, now)
    elif attempt is not None and attempt.live_until > now:
        # The ask at `live_until` is the one that may end it.
        at = min(now + timedelta(seconds=delay_s), attempt.live_until)
    worrying = _is_worrying(asking, account, attempt, now)
    async with desk.pool.acquire() as conn:
        written = await attempts.ask_next(conn, asking, at, needs_attention=worrying)
    if written and at is not None:
        job = jobs.Job("ask", asking.id, asking.asks, (at - now).total_seconds())
        await jobs.hand_in(desk.redis, job)


def _is_worrying(asking: Asking, account: Account, attempt: Attempt | None, now: datetime) -> bool:
    """Should a person look, because nobody has said for too long how it ended?

    A slip is expected to be unpaid for days, as long as the channel answers that it is.
    """
    if asking.asks < len(account.ask_ladder_s):
        return False
    if attempt is None or account.adapter.traits.voucher is None:
        return attempt is None or attempt.state.live
    return attempt.state.live and now >= attempt.live_until


def _last_ask(attempt: Attempt, now: datetime) -> datetime | None:
    """An attempt that ended without money is asked about a minute later and at `live_until`."""
    if attempt.state.holds_money or now >= attempt.live_until:
        return None
    soon = attempt.updated_at + timedelta(minutes=1)
    return soon if now < soon else attempt.live_until
