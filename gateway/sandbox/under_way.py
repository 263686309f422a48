"""Refunds that a channel accepts at once and ends later, when the faults say that it does."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Payment, Refund, RefundState


class RefundsUnderWay:
    def __init__(self, shared: Shared, kind: str, tell: Callable[[Payment, Refund], None]) -> None:
        """`tell` sends the callback of a refund."""
        self._shared = shared
        self._kind = kind
        self._tell = tell
        self._timers: set[asyncio.TimerHandle] = set()

    def end_in_time(self, payment: Payment, refund: Refund) -> tuple[Payment, Refund]:
        """End it at once when that takes no time, or else later; answer how it stands now."""
        if self._shared.faults.of(self._kind).refund_takes_s:
            self.end_later(refund.number)
            return payment, refund
        self._end(refund.number)
        return self._shared.ledger.find_refund(self._kind, refund.number) or (payment, refund)

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

    def _end(self, number: str) -> None:
        found = self._shared.ledger.find_refund(self._kind, number)
        if found is None:
            return  # the ledger was reset while it was under way
        payment, refund = found
        faults = self._shared.faults
        ended = replace(
            refund,
            state=RefundState(faults.of(self._kind).refund_end),
            ended_at=faults.now(self._kind),
        )
        self._tell(self._shared.ledger.end_refund(payment, ended), ended)
