"""The sweep: every few seconds, what is overdue in PostgreSQL, whoever lost it and however long
ago.

Each kind of work has a loop of its own, so that a slow channel does not hold up webhooks. A loop
takes small batches (a database that was away is not met with a spike), goes on at once while there
is more, and rests a jittered while when there is not, so that many processes do not come together.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from gateway.channels.base import Callback
from gateway.db import attempts, devices, due, events, idempotency, refunds, submissions
from gateway.db.due import UnknownCallback
from gateway.model import ChannelReport, Evidence, RefundReport
from gateway.outages import tell
from gateway.payments.asking import ask_overdue
from gateway.payments.calling import read_callback
from gateway.payments.closing import expire_due
from gateway.payments.desk import Desk
from gateway.payments.refunding import refund_due
from gateway.payments.settle import UnknownNumber
from gateway.telemetry import NEEDS_ATTENTION, REFUNDS_WAITING, log
from gateway.together import Crew, end, together
from workers.publish import keep_publishing, queue_of

_BATCH: Final = 50
_HANDFUL: Final = 20
_NUMBER_EVERY_S: Final = 0.25
_TIDY_EVERY_S: Final = 30.0

Step = Callable[[], Awaitable[int]]


async def keep_sweeping(desk: Desk) -> None:
    """Sweep until cancelled."""
    every_s = desk.settings.sweep_interval_s
    queue, numbered = queue_of(desk.settings), asyncio.Event()
    askers, closers, senders = Crew("ask"), Crew("expire"), Crew("deliver")
    pushers = Crew("push")
    steps: tuple[tuple[str, float, Step], ...] = (
        ("ask", every_s, lambda: ask_overdue(desk, _taken_by(askers), askers)),
        ("expire", every_s, lambda: expire_due(desk, _taken_by(closers), closers)),
        ("refund", every_s, lambda: refund_due(desk, _BATCH)),
        ("deliver", every_s, lambda: desk.webhooks.deliver_overdue(_taken_by(senders), senders)),
        ("push", every_s, lambda: desk.devices.tell_overdue(_taken_by(pushers), pushers)),
        ("callbacks", every_s, lambda: settle_unknown(desk)),
        ("number", min(_NUMBER_EVERY_S, every_s), lambda: _number(desk, numbered)),
        ("tidy", _TIDY_EVERY_S, lambda: _tidy(desk)),
    )
    loops = [asyncio.create_task(_keep(name, pause_s, step)) for name, pause_s, step in steps]
    loops.append(asyncio.create_task(keep_publishing(desk.pool, queue, numbered, every_s)))
    async with AsyncExitStack() as stack:  # each ends, whatever befalls the ending of another
        for close in (queue.close, askers.end, closers.end, senders.end, pushers.end):
            stack.push_async_callback(close)
        stack.push_async_callback(end, loops)
        await asyncio.gather(*loops)


def _taken_by(crew: Crew) -> int:
    """Few at a time, for whom a crew is busy is looked at before each time."""
    return min(_HANDFUL, crew.room)


async def _keep(name: str, every_s: float, step: Step) -> None:
    while True:
        claimed = 0
        try:
            claimed = await step()
        except Exception as error:  # noqa: BLE001 - one loop's fault must not stop the others
            tell("sweep_failed", error, sweep=name)
        if claimed < _HANDFUL:
            await asyncio.sleep(every_s * random.uniform(0.75, 1.25))


async def settle_unknown(desk: Desk) -> int:
    """Try callbacks again that came for numbers which we did not know; returns how many were
    claimed.
    """
    async with desk.pool.acquire() as conn:
        claimed = await due.claim_unknown_callbacks(conn, _BATCH)
    return await together("settle", (_settle_kept(desk, kept) for kept in claimed))


async def _settle_kept(desk: Desk, kept: UnknownCallback) -> None:
    account = await desk.accounts.by_id(kept.account)
    if account is None:
        return
    headers = msgspec.json.decode(kept.headers, type=dict[str, str])
    # It was fresh when it was kept, and is judged by that moment.
    callback = Callback(headers, kept.body, kept.received_at)
    report = (await read_callback(account.adapter, callback)).report
    evidence = Evidence(kept.account, kept.notification_id, kept.number, kept.headers, kept.body)
    try:
        match report:
            case ChannelReport():
                await desk.settle(report, evidence)
            case RefundReport():
                await desk.settle_refund(report, evidence)
            case None:
                await desk.keep(evidence)
    except UnknownNumber:
        log.info("callback_still_unknown", account=kept.account)


async def _number(desk: Desk, numbered: asyncio.Event) -> int:
    """Give committed events their place in the merchants' logs, and wake who passes them on."""
    async with desk.pool.acquire() as conn:
        fresh = await events.number_fresh(conn, _BATCH)
    if fresh:
        numbered.set()
        desk.errands.run(desk.claims.tell_feeds({event.merchant for event in fresh}))
    return len(fresh)


async def _tidy(desk: Desk) -> int:
    """Forget what is over, and count what waits for a person; returns how much was forgotten."""
    async with desk.pool.acquire() as conn:
        forgotten = await idempotency.forget_old(conn, 1000)
        forgotten += await submissions.forget_over(conn, 1000)
        forgotten += await attempts.forget_buyers(conn, 1000)
        forgotten += await devices.forget_old(conn, 1000)
        NEEDS_ATTENTION.set(await attempts.count_needing_attention(conn))
        REFUNDS_WAITING.set(await refunds.count_waiting(conn))
    return forgotten
