"""All who come to our doors at once, while something is away and when it is back."""

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec
from prometheus_client import REGISTRY

from gateway.model import OrderState
from tests.rig import Rig, until
from tests.trouble.story import ANSWERED_WITHIN_S, Merchant, is_ready
from tests.web.api import NATIVE, Answer, new_order
from tests.web.buyer import Buyer

_HEARD_WITHIN_S: Final = 30.0


class Visitors:
    """A merchant with an order under way, its buyer, and the buyer's page that listens."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.merchant = Merchant(rig)
        self.next_order = new_order(merchant_order_no="the next")

    async def come(self) -> None:
        order = await self.rig.order()
        self.order = order
        self.spare = await self.rig.order()
        self.buyer = Buyer(self.rig, order)
        self.attempt = await self.merchant.apply(order.id)

    async def pay_in_vain(self) -> None:
        """The wallet pays, and the channel, which calls back, is told to come again, too."""
        before = _refused_callbacks()
        await self.rig.pay(str(self.attempt.json["number"]))
        await until(lambda: _refused_callbacks() > before, _HEARD_WITHIN_S)

    async def _knock(self) -> tuple[Answer, ...]:
        """Come to every door of the API at once."""
        order = self.order.id
        return await asyncio.gather(
            self.merchant.once("GET", f"/v1/orders/{order}"),
            self.merchant.once("POST", f"/v1/orders/{self.spare.id}/attempts", NATIVE),
            self.merchant.once("POST", "/v1/orders", self.next_order, "next"),
            self.merchant.once("POST", f"/v1/orders/{order}/close"),
            self.merchant.once("GET", "/v1/events"),
        )

    async def cannot_buy(self) -> None:
        """Reading is served while PostgreSQL takes no writes; who would write is told in time."""
        order = self.order.id
        assert (await self.merchant.once("GET", f"/v1/orders/{order}")).status == 200
        assert (await self.buyer.get()).status == 200
        applied = await self.merchant.once("POST", f"/v1/orders/{self.spare.id}/attempts", NATIVE)
        assert (applied.status, applied.code) == (503, "service_unavailable")

    async def are_told_to_come_again(self) -> None:
        """Nobody is served while PostgreSQL is away, and everybody is told so in time."""
        for answer in await self._knock():
            assert (answer.status, answer.code) == (503, "service_unavailable"), answer.body
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            page = await self.buyer.get()
            poll = await self.buyer.get("/status?version=99&wait=1")
        assert (page.status, poll.status) == (503, 503)
        assert "text/html" in page.headers["Content-Type"]
        assert page.headers["Retry-After"]
        assert (await is_ready(self.rig))["redis"] == "ok"
        async with self.rig.http.get(f"{self.rig.url}/health/live") as alive:
            assert alive.status == 200

    async def are_served_after_all(self) -> None:
        """What was begun before and during the trouble ends well, without anybody's help."""
        await self.merchant.until_paid(self.order.id)
        await self.merchant.until_announced(self.order.id)
        assert (await self.merchant.apply(self.spare.id, "spare")).status == 201
        opened = await self.merchant.call("POST", "/v1/orders", self.next_order, "next")
        assert (await self.merchant.apply(opened.id, "another")).status in (200, 201)
        assert (await self.buyer.get()).status == 200

        async def ready() -> bool:
            return (await is_ready(self.rig))["status"] == "ok"

        await until(ready, _HEARD_WITHIN_S)


async def hear_of_payment(rig: Rig, token: str) -> None:
    """Listen as the page does: on a socket, and on another one whenever the server hangs up."""
    await until(lambda: _hears_on_one_socket(rig, token), _HEARD_WITHIN_S)


async def _hears_on_one_socket(rig: Rig, token: str) -> bool:
    with suppress(aiohttp.WSServerHandshakeError):
        async with rig.http.ws_connect(f"{rig.url}/checkout/{token}/ws") as socket:
            async for message in socket:
                snapshot = msgspec.json.decode(message.data, type=dict[str, object])
                if snapshot["state"] == OrderState.PAID:
                    return True
    return False


def _refused_callbacks() -> float:
    labels = {"method": "POST", "route": "/callbacks/{account}", "status": "503"}
    return REGISTRY.get_sample_value("payonce_request_seconds_count", labels) or 0
