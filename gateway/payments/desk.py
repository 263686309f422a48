"""The desk: what every payment verb needs at hand, built once a process by the composition root."""

import asyncio
from collections.abc import Coroutine

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from gateway.after import After
from gateway.db import moves
from gateway.devices.telling import Devices
from gateway.locks.claims import Claims
from gateway.model import ChannelReport, Evidence, Order, Refund, RefundReport
from gateway.outages import tell
from gateway.payments.accounts import Accounts
from gateway.payments.refund_rules import SettledRefund, settle_refund
from gateway.payments.settle import Settled, settle
from gateway.settings import Settings
from gateway.telemetry import ATTEMPTS, REFUNDS, SETTLE_SECONDS, log
from gateway.together import end
from gateway.webhooks import Webhooks


class Errands:
    """Work that follows an answer which has left already; it is finished before the process
    stops.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    def run(self, errand: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(errand)
        self._running.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            tell("errand_failed", error)

    async def finish(self, within_s: float) -> None:
        """Wait for what runs; what is not done by then is cancelled, and the sweep will find it."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=within_s)
            await end(late)


class Desk(Struct, frozen=True):
    pool: "asyncpg.Pool[asyncpg.Record]"
    redis: Redis
    claims: Claims
    accounts: Accounts
    webhooks: Webhooks
    devices: Devices
    after: After
    errands: Errands
    settings: Settings

    async def settle(self, report: ChannelReport, evidence: Evidence | None = None) -> Settled:
        """Settle a report; what follows from it is begun before this returns, not finished."""
        with SETTLE_SECONDS.time():
            settled = await settle(
                self.pool, report, self.settings.base_url, evidence, self.claims.hush
            )
        if settled.moved:
            attempt = settled.attempt
            ATTEMPTS.labels(channel=attempt.channel, state=attempt.state.value).inc()
            log.info(
                "settled",
                order=settled.order.id,
                attempt=attempt.id,
                state=attempt.state.value,
                order_state=settled.order.state.value,
                source=report.source.value,
            )
            self.errands.run(self.after.settled(settled.order))
        return settled

    async def settle_refund(
        self, report: RefundReport, evidence: Evidence | None = None, note: str | None = None
    ) -> SettledRefund:
        """Settle what a channel says of a refund; what follows is begun before this returns."""
        settled = await settle_refund(self.pool, report, self.settings.base_url, evidence, note)
        if settled.moved:
            self.refund_moved(settled.order, settled.refund)
        return settled

    def refund_moved(self, order: Order, refund: Refund) -> None:
        """Follow up a committed move of a refund: count it, show it, tell of it."""
        REFUNDS.labels(reason=refund.reason.value, state=refund.state.value).inc()
        log.info(
            "refund_moved",
            order=order.id,
            refund=refund.id,
            state=refund.state.value,
            waits=refund.waits,
        )
        self.errands.run(self.after.settled(order))

    async def keep(self, evidence: Evidence) -> None:
        """Keep a genuine callback that is not about a payment."""
        async with self.pool.acquire() as conn:
            await moves.keep(conn, evidence)
