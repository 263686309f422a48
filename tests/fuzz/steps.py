"""What can happen, each as data: a list of steps is printed, and can be taken again.

Whom a step is about is said by a number that counts back from the newest (0) and begins again
where there are no more, so every list is a list of things that can happen, also with steps left
out. `take` does it, and returns what came of it in a few words; it raises Broken where somebody is
answered what he must not be.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, Protocol

from msgspec import Struct
from redis.exceptions import RedisError

from gateway.ids import AttemptId, OrderId
from gateway.model import Outcome
from gateway.payments.asking import ask
from gateway.payments.closing import expire_due
from tests.fuzz.postbox import deliver, forged
from tests.fuzz.world import Broken, Wanted, World, counted_back, told
from tests.rig import PRICE
from tests.web.api import Answer

# Of each currency an amount that all channels which know it take.
PRICES: Final = {"CNY": PRICE, "BRL": 5 * PRICE}
_BUYER: Final = {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0"}
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
_WAYS: Final[dict[str, dict[str, object]]] = {
    "native": {"channel": "wechat", "terminal": "pc"},
    "h5": {"channel": "wechat", "terminal": "wap", "buyer": _BUYER},
    "alipay_pc": {"channel": "alipay", "terminal": "pc"},
    "alipay_wap": {"channel": "alipay", "terminal": "wap"},
    "unionpay_pc": {"channel": "unionpay", "terminal": "pc"},
    "unionpay_wap": {"channel": "unionpay", "terminal": "wap"},
    "paypal": {"channel": "paypal", "terminal": "pc"},
    "card": {"channel": "card", "terminal": "pc"},
    "boleto": {"channel": "boleto", "terminal": "pc", "buyer": _ANA},
}
WAYS: Final = tuple(_WAYS)
_NOBODY: Final = "there is none"
_NOT_NOW: Final = ("apply_in_progress", "channel_unavailable", "rate_limited", "channel_refused")
_NOT_THIS: Final = ("channel_not_configured", "idempotency_mismatch", "request_in_progress")
_ENDED: Final = ("order_already_paid", "order_closed")
_EXPIRE: Final = """
    UPDATE orders SET expires_at = now(), due_at = now() WHERE id = $1 AND state = 'open'
"""
_ASKED_NOW: Final = """
    UPDATE attempts SET ask_at = now() WHERE id = $1 AND ask_at IS NOT NULL RETURNING asks
"""
_LOOKED_AT_NOW: Final = "UPDATE refunds SET check_at = now() WHERE check_at IS NOT NULL"
_ATTEMPTS: Final = "SELECT id, order_id FROM attempts ORDER BY created_at, id"
_REFUNDS: Final = "SELECT id FROM refunds ORDER BY created_at, id"


class Step(Protocol):
    async def take(self, world: World) -> str: ...


class Open(Struct, frozen=True, repr_omit_defaults=True):
    """A merchant wants an order; `buyer` buys the same again at once where he has bought before."""

    buyer: str = ""
    allow_duplicate: bool = False
    currency: str = "CNY"

    async def take(self, world: World) -> str:
        body: dict[str, object] = {
            "merchant_order_no": f"no-{len(world.orders)}",
            "amount": PRICES[self.currency],
            "currency": self.currency,
            "subject": "tea",
        }
        if self.buyer:
            body |= {"buyer_id": self.buyer, "allow_duplicate": self.allow_duplicate}
        answer = await world.api.post("/v1/orders", body)
        said = told(answer, "duplicate_submission")
        if answer.status == 201:
            token = str(answer.json["checkout_url"]).rpartition("/")[2]
            world.orders.append(Wanted(OrderId(answer.id), token, body))
        elif answer.json["order"] not in [order.id for order in world.orders]:
            raise Broken("a duplicate of an order that is not there")
        return said


class OpenAgain(Struct, frozen=True, repr_omit_defaults=True):
    """The merchant did not hear the answer and opens the same order again, or another by its
    number.
    """

    order: int = 0
    another: bool = False

    async def take(self, world: World) -> str:
        order = world.order(self.order)
        body = {**order.body, "subject": "another tea"} if self.another else order.body
        answer = await world.api.post("/v1/orders", body)
        if self.another:
            if answer.status != 409:
                raise Broken(f"another order under a number that is taken: {answer.status}")
            return told(answer, "order_conflict")
        said = told(answer)
        if answer.id != order.id:
            raise Broken("the same order became two")
        return said


class Apply(Struct, frozen=True, repr_omit_defaults=True):
    """Somebody wants to pay: through the merchant's program, or on the checkout page."""

    order: int = 0
    way: str = "native"
    page: bool = False
    key: str | None = None

    async def take(self, world: World) -> str:
        order = world.order(self.order)
        state = await world.state(order)
        answer = await self._ask(world, order)
        said = told(answer, *_NOT_NOW, *_ENDED, *_NOT_THIS)
        if answer.status >= 300:
            return said
        if state != "open":
            raise Broken(f"asked when the order was {state}, and was answered {answer.status}")
        # Only a key that is repeated is told of an attempt which is no longer offered.
        if not world.remember_link(answer) and self.key is None:
            raise Broken("an application was answered with nothing to pay with")
        return f"{said} {answer.json['channel']} {answer.json['product']} {answer.json['state']}"

    async def _ask(self, world: World, order: Wanted) -> Answer:
        if not self.page:
            path = f"/v1/orders/{order.id}/attempts"
            return await world.api.post(path, _WAYS[self.way], key=self.key)
        # Where a buyer's browser is, it says itself.
        chosen = {name: value for name, value in _WAYS[self.way].items() if value is not _BUYER}
        return await world.buyer.post(f"/checkout/{order.token}/attempts", chosen)


class Follow(Struct, frozen=True, repr_omit_defaults=True):
    """A buyer follows a link to the channel's page; only there does such a payment begin."""

    link: int = 0

    async def take(self, world: World) -> str:
        link = counted_back(world.links, self.link)
        return _NOBODY if link is None else await world.follow(link)


class Scan(Struct, frozen=True, repr_omit_defaults=True):
    """A buyer scans a code, and does not pay yet."""

    code: int = 0

    async def take(self, world: World) -> str:
        return await world.wallet("scan", await world.code(self.code))


class Pay(Struct, frozen=True, repr_omit_defaults=True):
    """A wallet pays a code, the newest or one of which somebody has a screenshot.

    `amount`: not the price; `again`: though it is paid already.
    """

    code: int = 0
    amount: int | None = None
    again: bool = False

    async def take(self, world: World) -> str:
        code = await world.code(self.code)
        said: dict[str, object] = {"again": self.again and code is not None and bool(code.captures)}
        if self.amount is not None:
            said["amount"] = self.amount
        return await world.wallet("pay", code, **said)


class PayAll(Struct, frozen=True, repr_omit_defaults=True):
    """The worst of buyers: whatever can be paid is paid."""

    async def take(self, world: World) -> str:
        for link in world.links:
            await world.follow(link)
        codes = await world.codes()
        return ", ".join([await world.wallet("pay", code) for code in codes]) or _NOBODY


class Deliver(Struct, frozen=True, repr_omit_defaults=True):
    """A callback arrives, so often at once; the same may arrive again later."""

    letter: int = 0
    times: int = 1

    async def take(self, world: World) -> str:
        letter = counted_back(world.postbox.letters, self.letter)
        if letter is None:
            return _NOBODY
        sent = [deliver(world.rig.http, world.rig.url, letter) for _ in range(self.times)]
        return f"{letter}: {', '.join(await asyncio.gather(*sent))}"


class Forge(Struct, frozen=True, repr_omit_defaults=True):
    """Somebody without a key changes a callback that he saw."""

    letter: int = 0

    async def take(self, world: World) -> str:
        letter = counted_back(world.postbox.letters, self.letter)
        if letter is None:
            return _NOBODY
        said = await deliver(world.rig.http, world.rig.url, forged(letter))
        if said == "acknowledged":
            raise Broken("a forged callback was believed")
        return said


class Poll(Struct, frozen=True, repr_omit_defaults=True):
    """It is time to ask about an attempt, and the job of the worker does."""

    attempt: int = 0

    async def take(self, world: World) -> str:
        row = counted_back(await world.desk.pool.fetch(_ATTEMPTS), self.attempt)
        if row is None:
            return _NOBODY
        asks = await world.desk.pool.fetchval(_ASKED_NOW, row[0])
        if asks is None:
            return "not asked about any more"
        await ask(world.desk, AttemptId(row[0]), asks)
        return "asked"


class ComeBack(Struct, frozen=True, repr_omit_defaults=True):
    """The channel sends a buyer back to us."""

    attempt: int = 0

    async def take(self, world: World) -> str:
        row = counted_back(await world.desk.pool.fetch(_ATTEMPTS), self.attempt)
        if row is None:
            return _NOBODY
        order = next(order for order in world.orders if order.id == row["order_id"])
        answer = await world.buyer.get(f"/checkout/{order.token}/return/{row['id']}")
        if answer.status != 200:
            raise Broken(f"the page answered {answer.status}")
        return "the page is shown"


class Close(Struct, frozen=True, repr_omit_defaults=True):
    """The merchant closes an order."""

    order: int = 0

    async def take(self, world: World) -> str:
        answer = await world.api.post(f"/v1/orders/{world.order(self.order).id}/close")
        return told(answer, "order_already_paid", "channel_unavailable")


class Expire(Struct, frozen=True, repr_omit_defaults=True):
    """An order's time is over."""

    order: int = 0

    async def take(self, world: World) -> str:
        await world.desk.pool.execute(_EXPIRE, world.order(self.order).id)
        return f"{await expire_due(world.desk, 10)} looked at"


class Sweep(Struct, frozen=True, repr_omit_defaults=True):
    """The worker's sweeps look once at what is due; refunds are due."""

    async def take(self, world: World) -> str:
        await world.desk.pool.execute(_LOOKED_AT_NOW)
        return f"{await world.sweep()} done"


class ReadOn(Struct, frozen=True, repr_omit_defaults=True):
    """The merchant's program reads on in its log of events."""

    async def take(self, world: World) -> str:
        await world.read_on()
        return f"{len(world.read_events)} read"


class Refund(Struct, frozen=True, repr_omit_defaults=True):
    """The merchant gives some of it back, or all that is left."""

    order: int = 0
    amount: int | None = None

    async def take(self, world: World) -> str:
        body: dict[str, object] = {} if self.amount is None else {"amount": self.amount}
        answer = await world.api.post(f"/v1/orders/{world.order(self.order).id}/refunds", body)
        return told(answer, "order_not_paid", "refund_exceeds_captured", "refund_not_supported")


class Decide(Struct, frozen=True, repr_omit_defaults=True):
    """An operator decides about a refund."""

    refund: int = 0
    verb: str = "approve"
    operator: int = 0

    async def take(self, world: World) -> str:
        row = counted_back(await world.desk.pool.fetch(_REFUNDS), self.refund)
        if row is None:
            return _NOBODY
        return await world.decide(str(row[0]), self.verb, self.operator)


class Fault(Struct, frozen=True, repr_omit_defaults=True):
    """A channel begins to misbehave, as the sandbox can; "" here and below: the newest code's."""

    channel: str
    how: Mapping[str, object]

    async def take(self, world: World) -> str:
        await world.rig.faults(await world.channel(self.channel), **self.how)
        return "set"


class Lie(Struct, frozen=True, repr_omit_defaults=True):
    """A channel answers its next queries with what is not so, whatever was paid."""

    channel: str
    outcomes: tuple[str, ...]

    async def take(self, world: World) -> str:
        (await world.temper(self.channel)).lies[:] = map(Outcome, self.outcomes)
        return "set"


class DenyRefunds(Struct, frozen=True, repr_omit_defaults=True):
    """A channel answers its next queries of refunds that there is none."""

    channel: str
    times: int = 1

    async def take(self, world: World) -> str:
        (await world.temper(self.channel)).denies_refunds = self.times
        return "set"


class HoldUp(Struct, frozen=True, repr_omit_defaults=True):
    """The next such call stays on its way for longer than the gateway waits."""

    channel: str
    verb: str

    async def take(self, world: World) -> str:
        (await world.temper(self.channel)).holds_up.append(self.verb)
        return "set"


class Arrive(Struct, frozen=True, repr_omit_defaults=True):
    """The oldest call that was held up arrives."""

    channel: str

    async def take(self, world: World) -> str:
        return "carried out" if await (await world.temper(self.channel)).arrive() else _NOBODY


class Shop(Struct, frozen=True, repr_omit_defaults=True):
    """The order service answers so from now on."""

    status: int

    async def take(self, world: World) -> str:
        world.rig.receiver.status = self.status
        return "set"


Lost = Literal["keys", "keys of one order", "scripts", "connections"]


class LoseRedis(Struct, frozen=True, repr_omit_defaults=True):
    """Redis loses something."""

    what: Lost = "keys"
    order: int = 0

    async def take(self, world: World) -> str:
        with suppress(RedisError):  # two of them at once may cut each other's connection
            await self._lose(world)
        return "lost"

    async def _lose(self, world: World) -> None:
        redis = world.desk.redis
        match self.what:
            case "keys":
                await redis.flushdb()
            case "keys of one order":
                keys = await redis.keys(f"payonce:{{{world.order(self.order).id}}}:*")
                await redis.delete("nothing", *keys)
            case "scripts":
                await redis.script_flush()
            case "connections":
                await redis.client_kill_filter(_type="normal", skipme=True)


class AtOnce(Struct, frozen=True, repr_omit_defaults=True):
    """All of these at the same time."""

    steps: tuple[Step, ...]

    async def take(self, world: World) -> str:
        taken = await asyncio.gather(
            *(step.take(world) for step in self.steps), return_exceptions=True
        )
        for each in taken:
            if isinstance(each, BaseException):
                raise each
        return " | ".join(map(str, taken))
