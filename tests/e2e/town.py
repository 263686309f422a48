"""The three places of a demonstration as programs see them: the gateway, the channel, the shop."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from tests.e2e.program import Ready, until

Wanted = TypeVar("Wanted", bound=Struct)
_PATIENCE_S: Final = 60.0
_numbers: Final = itertools.count(1)


class Action(Struct, frozen=True):
    type: str
    content: str | None = None
    parameters: dict[str, str] = {}


class Attempt(Struct, frozen=True):
    id: str
    number: str
    state: str
    next_action: Action | None


class Order(Struct, frozen=True):
    """An order as the gateway tells the merchant."""

    id: str
    merchant_order_no: str
    state: str
    version: int
    attempts: tuple[Attempt, ...]


class ShopOrder(Struct, frozen=True):
    """An order as the shop keeps it; `paid_times` is how often its goods were released."""

    no: str
    state: str
    paid_times: int
    payonce_order: str
    checkout_url: str


class Entry(Struct, frozen=True):
    """A line of the channel's ledger: the truth about money."""

    number: str
    captured: int
    paid_at: datetime | None


class CallCount(Struct, frozen=True):
    """How often the channel was called about a number."""

    number: str
    verb: str
    count: int


class CallbackRecord(Struct, frozen=True):
    """What became of one callback."""

    number: str
    acknowledged: bool
    dropped: int


class Event(Struct, frozen=True):
    """A line of the merchant's event log."""

    id: str
    order: str


class Delivery(Struct, frozen=True):
    """A webhook that reached the shop, what it did there and what it was answered."""

    id: str | None
    effect: str | None
    status: int | None


class _Placed(Struct, frozen=True):
    no: str


class _Done(Struct, frozen=True):
    """An answer of which only the status matters."""


class _Listed(Struct, frozen=True):
    data: msgspec.Raw


class Town:
    """Every call is one that an outsider can make; what goes wrong fails the test."""

    def __init__(self, ready: Ready, http: aiohttp.ClientSession) -> None:
        self.ready = ready
        self._http = http

    # The gateway, as the merchant

    async def order(self, merchant_order_no: str) -> Order:
        return (await self._list(f"{self._orders}?merchant_order_no={merchant_order_no}", Order))[0]

    async def attempt(self, merchant_order_no: str) -> Attempt:
        """The one attempt that there is to pay an order."""
        (attempt,) = (await self.order(merchant_order_no)).attempts
        return attempt

    async def apply(self, order: str, channel: str = "wechat", **more: str) -> Attempt:
        choice = {"channel": channel, "terminal": "pc", **more}
        return await self._post(f"{self._orders}/{order}/attempts", choice, Attempt)

    async def paid(self, order: str) -> None:
        """Wait, as a merchant can, until the order is paid."""
        known = await self._get(f"{self._orders}/{order}", Order)
        async with asyncio.timeout(_PATIENCE_S):
            while known.state != "paid":
                url = f"{self._orders}/{order}?version={known.version}&wait=15"
                known = await self._get(url, Order)

    async def close(self, order: str) -> Order:
        return await self._post(f"{self._orders}/{order}/close", {}, Order)

    async def events(self, order: str) -> list[Event]:
        """What the merchant was told of an order."""
        events = await self._list(f"{self.ready.gateway_url}/v1/events?limit=100", Event)
        return [event for event in events if event.order == order]

    async def redeliver(self, event: str) -> None:
        await self._post(f"{self.ready.gateway_url}/v1/events/{event}/redeliver", {}, _Done)

    # The channel

    async def pay(self, number: str, channel: str = "wechat") -> None:
        """The wallet pays what has this number."""
        await self._post(f"{self._sandbox}/pay", {"channel": channel, "number": number}, Entry)

    async def ledger(self) -> dict[str, Entry]:
        entries = await self._list(f"{self._sandbox}/ledger", Entry)
        return {entry.number: entry for entry in entries}

    async def calls(self, number: str) -> dict[str, int]:
        """How often the channel was called about a number, by verb."""
        calls = await self._list(f"{self._sandbox}/calls", CallCount)
        return {call.verb: call.count for call in calls if call.number == number}

    async def callback(self, number: str) -> CallbackRecord:
        records = await self._list(f"{self._sandbox}/callbacks", CallbackRecord)
        return next(record for record in records if record.number == number)

    @asynccontextmanager
    async def channel_that(self, **faults: object) -> AsyncIterator[None]:
        """Let the channel misbehave for as long as the block runs."""
        await self.set_faults(**faults)
        try:
            yield
        finally:
            await self.set_faults(reset=True)

    async def set_faults(self, **faults: object) -> None:
        await self._post(f"{self._sandbox}/faults", {"channel": "wechat", **faults}, _Done)

    # The shop

    async def place_order(self) -> ShopOrder:
        """A buyer orders the one-cent taster, without looking at the shop's pages."""
        order = {"items": [{"sku": "taster"}], "buyer_id": f"buyer-{next(_numbers)}"}
        placed = await self._post(f"{self.ready.shop_url}/api/orders", order, _Placed)
        return await self.shop_order(placed.no)

    async def shop_order(self, no: str) -> ShopOrder:
        return await self._get(f"{self.ready.shop_url}/api/orders/{no}", ShopOrder)

    async def look_at_shop_order(self, no: str) -> ShopOrder:
        """The buyer looks at the order's page, for which the shop asks the gateway."""
        async with self._http.get(f"{self.ready.shop_url}/orders/{no}") as answer:
            assert answer.ok
        return await self.shop_order(no)

    async def awaiting_shipment(self, no: str) -> ShopOrder:
        """Wait until the shop has the order's goods ready to go."""

        async def shipped() -> ShopOrder | None:
            order = await self.shop_order(no)
            return order if order.state == "awaiting_shipment" else None

        return await until(shipped)

    async def deliveries(self, event: str) -> list[Delivery]:
        """How often an event reached the shop, and how that went."""
        url = f"{self.ready.shop_url}/_control/received"
        return [one for one in await self._list(url, Delivery) if one.id == event]

    async def heard(self, event: str) -> Delivery:
        """Wait until the shop has taken in an event."""

        async def listen() -> Delivery | None:
            return next((one for one in await self.deliveries(event) if one.effect), None)

        return await until(listen)

    @asynccontextmanager
    async def shop_that(self, **faults: object) -> AsyncIterator[None]:
        """Let the shop's webhook receiver misbehave for as long as the block runs."""
        url = f"{self.ready.shop_url}/_control/faults"
        await self._post(url, faults, _Done)
        try:
            yield
        finally:
            await self._post(url, {}, _Done)

    # HTTP

    @property
    def _orders(self) -> str:
        return f"{self.ready.gateway_url}/v1/orders"

    @property
    def _sandbox(self) -> str:
        return f"{self.ready.sandbox_url}/_control"

    async def _get(self, url: str, kind: type[Wanted]) -> Wanted:
        async with self._http.get(url, headers=self._headers(url)) as answer:
            return await _read(answer, kind)

    async def _list(self, url: str, kind: type[Wanted]) -> list[Wanted]:
        items = msgspec.json.decode((await self._get(url, _Listed)).data, type=list[msgspec.Raw])
        return [msgspec.json.decode(item, type=kind) for item in items]

    async def _post(self, url: str, body: Mapping[str, object], kind: type[Wanted]) -> Wanted:
        async with self._http.post(url, json=body, headers=self._headers(url)) as answer:
            return await _read(answer, kind)

    def _headers(self, url: str) -> dict[str, str]:
        ours = url.startswith(self.ready.gateway_url)
        return {"Authorization": f"Bearer {self.ready.api_key}"} if ours else {}


async def _read(answer: aiohttp.ClientResponse, kind: type[Wanted]) -> Wanted:
    body = await answer.read()
    assert answer.ok, f"{answer.url} answered {answer.status}: {body.decode()}"
    return msgspec.json.decode(body, type=kind)
