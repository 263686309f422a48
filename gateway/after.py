"""What follows a settled commit: the final answer is cached, the pages are woken, the order service
is told, then the app of the buyer.

All of it can be lost without harm: the answer is made from PostgreSQL again, pages poll, the sweep
sends what nobody sent. So it runs after the acknowledgement, and a failure is logged and nothing
else.
"""

import msgspec
from msgspec import Struct

from gateway.devices.telling import Devices
from gateway.errors import OrderAlreadyPaid, OrderClosed, Problem
from gateway.locks.claims import Claims
from gateway.model import Order, OrderState
from gateway.webhooks import Webhooks


class FinalAnswer(Struct, frozen=True):
    """What is cached once nothing can be paid any more: whose order it is, and how it ended."""

    merchant: str
    state: OrderState

    def problem(self) -> Problem:
        return OrderAlreadyPaid() if self.state is OrderState.PAID else OrderClosed()


encode_final = msgspec.json.Encoder().encode
decode_final = msgspec.json.Decoder(FinalAnswer).decode


class After:
    def __init__(self, claims: Claims, webhooks: Webhooks, devices: Devices) -> None:
        self._claims = claims
        self._webhooks = webhooks
        self._devices = devices

    async def settled(self, order: Order) -> None:
        """Cache what is final, lift the hush, wake the pages, tell the order service, and the app.

        While an order service is slow to answer, the sweep tells the app.
        """
        final = b""
        if order.state is not OrderState.OPEN:
            final = encode_final(FinalAnswer(order.merchant, order.state))
        await self._claims.conclude(order.id, order.version, final)
        await self._webhooks.deliver_order(order.id)
        await self._devices.tell_order(order.id)
