"""What the channels have in common that are told of each payment and each refund once."""

from collections.abc import Callable
from datetime import datetime

from gateway.sandbox.channel import Orders, Shared
from gateway.sandbox.ledger import Capture, Payment
from gateway.sandbox.under_way import RefundsUnderWay


class OrdersChannel:
    """A `SandboxChannel` but for its routes and its way back."""

    kind: str

    def __init__(
        self,
        shared: Shared,
        orders: Orders,
        tell_paid: Callable[[Payment, Capture], None],
        under_way: RefundsUnderWay,
    ) -> None:
        self._shared = shared
        self._wallet_side = orders
        self._tell_paid = tell_paid
        self._under_way = under_way

    def resume(self) -> None:
        for payment in self._shared.ledger:
            if payment.channel != self.kind:
                continue
            for capture in payment.captures:
                if not capture.told:
                    self._tell_paid(payment, capture)
            self._under_way.resume(payment)

    def reset(self) -> None:
        self._under_way.reset()

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        return self._wallet_side.pay(number, amount=amount, at=at, again=again)

    def scan(self, number: str) -> Payment:
        return self._wallet_side.scan(number)

    def decline(self, number: str) -> Payment:
        return self._wallet_side.decline(number)
