"""Buyers, and the merchants' people: what one of them can do.

A buyer has the checkout page's own calls and a wallet; a merchant has an API key. What comes back
is looked at for a way to pay and for the end of the order, whoever asked.
"""

import asyncio
import random
import time
from typing import Final

from msgspec import Struct

from tests.chaos.client import Answer, Client, GaveUp
from tests.chaos.place import COUNTERS, SHOP, Counter, Place
from tests.chaos.sightings import Sightings

_LOOK_FOR_S: Final = 5
_USUAL_LIFE_S: Final = 1800
_LEAST: Final = 500  # which every channel takes, in its currencies
_ANA: Final = {
    "name": "Ana Souza",
    "email": "ana@example.com",
    "tax_id": "52998224725",
    "address": {
        "line1": "Rua das Acácias, 45",
        "city": "São Paulo",
        "state": "SP",
        "postal_code": "01310100",
        "country": "BR",
    },
}
_SKUS: Final = ("taster", "longjing", "celadon-cup", "iron-kettle")
_ENDS: Final = {"order_already_paid": "paid", "order_closed": "closed"}


class NextAction(Struct, frozen=True):
    """A way to pay, of whatever type; where it leads to a page of the channel, with that."""

    type: str
    url: str = ""
    fields: dict[str, str] = {}


class Choice(Struct, frozen=True):
    """An attempt as it was answered: what there is to pay."""

    number: str
    channel: str
    next_action: NextAction | None


class ShownAttempt(Struct, frozen=True):
    next_action: NextAction | None


class Shown(Struct, frozen=True):
    """What the page shows."""

    state: str
    version: int
    attempt: ShownAttempt | None


class Placed(Struct, frozen=True):
    """An order of the shop; what PayOnce has not opened yet has no order there."""

    payonce_order: str | None
    checkout_url: str | None


class Opened(Struct, frozen=True):
    id: str
    checkout_url: str


def _wish(channel: str, terminal: str) -> dict[str, object]:
    """How the buyer wants to pay; a slip names who that is."""
    named = {"buyer": _ANA} if channel == "boleto" else {}
    return {"channel": channel, "terminal": terminal, **named}


class World(Struct, frozen=True):
    """What everybody shares."""

    place: Place
    client: Client
    sightings: Sightings


class Buyer:
    """One buyer with one order, at the counter that chance led to."""

    def __init__(self, world: World, random_: random.Random, name: str) -> None:
        self.random = random_
        self.counter: Counter = random_.choices(list(COUNTERS), list(COUNTERS.values()))[0]
        self.order = ""
        self._world = world
        self._name = name
        self._checkout = ""

    async def thinks(self, at_most_s: float = 1.0) -> None:
        await asyncio.sleep(self.random.uniform(0.0, at_most_s))

    # At the shop

    async def orders(self) -> None:
        """Place an order at the counter."""
        if self.counter.merchant == SHOP:
            await self._orders_at_the_shop()
        else:
            await self.orders_for(_USUAL_LIFE_S)

    async def _orders_at_the_shop(self) -> None:
        """Place it, and again with its number until there is a checkout page."""
        items = [{"sku": self.random.choice(_SKUS), "quantity": self.random.randint(1, 2)}]
        body = {"items": items, "buyer_id": self._name, "no": self._name}
        url = f"{self._world.place.shop_url}/api/orders"
        for _ in range(20):
            answer = await self._world.client.call("POST", url, body)
            placed = answer.read(Placed)
            if placed.payonce_order is not None and placed.checkout_url is not None:
                self.order, self._checkout = placed.payonce_order, placed.checkout_url
                return
            await self.thinks()
        raise GaveUp(url)

    async def orders_for(self, expires_in_s: int) -> None:
        """Have the merchant who has no shop open an order that lives so long."""
        body = {
            "merchant_order_no": self._name,
            "amount": self.random.randint(_LEAST, 50_000),
            "currency": self.counter.currency,
            "subject": "tea",
            "expires_in": expires_in_s,
        }
        opened = (await self._as_merchant("", body, key=self._name)).read(Opened)
        self.order, self._checkout = opened.id, opened.checkout_url

    # At the checkout page

    async def chooses(self, channel: str, terminal: str = "pc") -> Choice | None:
        """Press a button of the page; None: there is nothing to pay any more, or not by this."""
        body = _wish(channel, terminal)
        url = f"{self._checkout}/attempts"
        return self._given(await self._world.client.call("POST", url, body), "the page")

    async def applies(self, channel: str, key: str) -> Choice | None:
        """Have the merchant's program apply, with an idempotency key."""
        body = _wish(channel, "pc")
        answer = await self._as_merchant(f"/{self.order}/attempts", body, key=key)
        return self._given(answer, "the API")

    def _given(self, answer: Answer, where: str) -> Choice | None:
        if not answer.good:
            if answer.code in _ENDS:
                self._world.sightings.told(self.order, _ENDS[answer.code])
            return None
        choice = answer.read(Choice)
        if choice.next_action is None:
            return None
        self._world.sightings.gave_a_way_to_pay(self.order, answer.began, where)
        return choice

    async def watches(self, at_most_s: float = 20.0) -> str:
        """Watch the page until the order has ended or patience has; returns its state."""
        until = time.monotonic() + at_most_s
        version, state = 0, "open"
        while state == "open" and time.monotonic() < until:
            url = f"{self._checkout}/status?version={version}&wait={_LOOK_FOR_S}"
            try:
                answer = await self._world.client.call("GET", url)
            except GaveUp:
                continue
            if answer.status != 200:
                await self.thinks()
                continue
            shown = answer.read(Shown)
            version, state = shown.version, shown.state
            if shown.attempt is not None and shown.attempt.next_action is not None:
                self._world.sightings.gave_a_way_to_pay(self.order, answer.began, "the status")
        if state != "open":
            self._world.sightings.told(self.order, state)
        return state

    # With the wallet

    async def pays(self, choice: Choice | None, *, again: bool = False) -> bool:
        """Pay a code, or let it be debited, however old; False: the channel does not take it any
        more.
        """
        if choice is None:
            return False
        await self._opens(choice)
        body = {"channel": choice.channel, "number": choice.number, "again": again}
        url = f"{self._world.place.sandbox_url}/_control/pay"
        paid = (await self._world.client.call("POST", url, body)).good
        if paid:
            self._world.sightings.paid.add(choice.number)
            self._world.sightings.note(self.order, f"paid {choice.number} by {choice.channel}")
        return paid

    async def _opens(self, choice: Choice) -> None:
        """Follow it to the channel's page; some payments begin only there."""
        action = choice.next_action
        if action is not None and action.type in ("redirect", "form"):
            await self._world.client.visit(action.url, action.fields)

    # As the merchant's people

    async def is_closed_by_the_merchant(self) -> None:
        answer = await self._as_merchant(f"/{self.order}/close", {})
        if answer.good:
            self._world.sightings.told(self.order, "closed")
        elif answer.code in _ENDS:
            self._world.sightings.told(self.order, _ENDS[answer.code])

    async def is_refunded(self, number: str, amount: int | None = None) -> None:
        """Refund so much, or without an amount all that is left."""
        body = {"merchant_refund_no": number} | ({} if amount is None else {"amount": amount})
        await self._as_merchant(f"/{self.order}/refunds", body)

    async def _as_merchant(self, path: str, body: object, key: str | None = None) -> Answer:
        place = self._world.place
        headers = {"Authorization": f"Bearer {place.api_keys[self.counter.merchant]}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = f"{place.gateway_url}/v1/orders{path}"
        return await self._world.client.call("POST", url, body, headers=headers)
