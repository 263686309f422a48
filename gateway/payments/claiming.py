"""Taking an order's claim before it is applied for, and keeping it while a channel is slow.

The claim makes collisions rare and answers fast, and nothing more (`gateway.locks.claims`).
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.errors import ApplyInProgress
from gateway.ids import OrderId
from gateway.locks.claims import RENEW_EVERY_S, Claim, Said
from gateway.payments.desk import Desk

_WAIT_FOR_RIVAL_S: Final = 3.0


async def claim_or_wait(desk: Desk, order_id: OrderId, same: str) -> Claim:
    """Claim; while a rival holds the claim, wait for its result a little.

    Raises ApplyInProgress.
    """
    until = time.monotonic() + _WAIT_FOR_RIVAL_S
    pause_s = 0.02
    while (claim := await desk.claims.claim(order_id, same)).said is Said.BUSY:
        if time.monotonic() >= until:
            raise ApplyInProgress
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(pause_s * 2, 0.2)
    return claim


@asynccontextmanager
async def renewed(desk: Desk, order_id: OrderId, claim: Claim) -> AsyncIterator[None]:
    """Keep the claim for as long as the work takes, so that a slow channel does not let a rival
    in.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def renew() -> None:
        nonlocal timer
        desk.errands.run(desk.claims.renew(order_id, claim))
        timer = loop.call_later(RENEW_EVERY_S, renew)

    if claim.said is Said.CLAIMED:
        timer = loop.call_later(RENEW_EVERY_S, renew)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
