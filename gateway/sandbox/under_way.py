"""Refunds that a channel accepts at once and ends later, when the faults say that it does."""

import asyncio
from collections.abc import Callable

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Payment, Refund, RefundState


class RefundsUnderWay:
    def __init__(
        self,
        shared: Shared,
        kind: str,
        end: Callable[[str], None],
        tell: Callable[[Payment, Refund], None],
    ) -> None:
        """`end` ends the refund with that number, `tell` sends its callback."""
        self._shared = shared
        self._kind = kind
        self._end = end
        self._tell = tell
        self._timers: set[asyncio.TimerHandle] = set()

    def end_later(self, number: str) -> None:
        def end() -> None:
            self._timers.discard(timer)
            self._end(number)

        takes_s = self._shared.faults.of(self._kind).refund_takes_s
        timer = asyncio.get_running_loop().call_later(takes_s, end)
        self._timers.add(timer)

    def resume(self, payment: Payment) -> None:
        """Take up the refunds of a payment that a stop interrupted."""
        for refund in payment.refunds:
            if refund.state is RefundState.PROCESSING:
                self.end_later(refund.number)
            elif not refund.told:
                self._tell(payment, refund)

    def reset(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
