"""The product with everything around it, for one list of steps after another.

Gateway, sandbox and order service run in one event loop, on a database and a Redis of their own,
and the loop turns only while a step is taken: between two steps nothing happens. No worker runs;
its sweeps are steps too. What the world does to the gateway goes through its doors: HTTP for
merchants, buyers and channels, the sandbox's control calls for the wallet and the channels' faults.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NoReturn, TypeVar

import pytest
import structlog
from cryptography.fernet import Fernet
from msgspec import Struct, convert
from msgspec.structs import replace
from structlog.types import EventDict, WrappedLogger
from yarl import URL

from gateway import webhooks
from gateway.db import events
from gateway.ids import OrderId
from gateway.merchants import add_channel
from gateway.operators import add_operator
from gateway.payments import accounts, claiming
from gateway.payments.asking import ask_overdue
from gateway.payments.closing import expire_due
from gateway.payments.refunding import refund_due
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, paypal_account, stripe_account, unionpay_account
from gateway.secrets import Cipher
from gateway.settings import Settings
from gateway.up import serving
from tests.fuzz.liar import Temper, with_temper
from tests.fuzz.postbox import Postbox
from tests.rig import ALIPAY_ACCOUNT, MERCHANT, Rig, running_rig
from tests.web.api import Answer, Api
from workers.sweep import settle_unknown

Item = TypeVar("Item")

CHANNELS: Final = ("wechat", "alipay", "unionpay", "paypal", "card", "boleto")
# What it cannot give back a person does.
BY_HAND: Final = ("boleto",)
_BATCH: Final = 50
_AT_ONCE: Final = {"refund_takes_s": 0.0, "confirmation_takes_s": 0.0}
_MOST_ATTEMPTS: Final = 8
_A_DAYS_REFUNDS: Final = 250  # in minor units, at Alipay: little enough to be reached
_CLEAR: Final = "TRUNCATE orders, callbacks, idempotency_keys CASCADE"
_STATE: Final = """
    SELECT CASE WHEN state = 'open' AND expires_at <= now() THEN 'expired' ELSE state END
    FROM orders WHERE id = $1
"""
_LIMIT: Final = """
    UPDATE channel_accounts SET settings = settings || jsonb_build_object(
        'refund_daily_limit', $2::text) WHERE id = $1
"""


class Broken(Exception):
    """Something is not as it must be."""


class Wanted(Struct, frozen=True):
    """An order as its merchant and its buyer know it."""

    id: OrderId
    token: str
    body: dict[str, object]


class Link(Struct, frozen=True):
    """What leads a browser to a page of a channel; `fields` are posted, if there are any."""

    url: str
    fields: dict[str, str] = {}


class Paid(Struct, frozen=True):
    """Money that a channel took; `ref` is its own id of the payment."""

    ref: str
    amount: int


class GivenBack(Struct, frozen=True):
    """A refund at a channel, by our number; it moved money if it is `done`."""

    number: str
    amount: int
    state: str


class Code(Struct, frozen=True):
    """What a wallet can pay, by its number at the channel, and what came of it."""

    channel: str
    number: str
    captures: tuple[Paid, ...]
    refunds: tuple[GivenBack, ...]


class World:
    def __init__(self, rig: Rig, postbox: Postbox, tempers: dict[str, Temper]) -> None:
        self.rig = rig
        self.desk = rig.desk
        self.api = Api(rig)
        self.buyer = Api(rig, "")
        self.operators: tuple[Api, ...] = ()
        self.postbox = postbox
        self.tempers = tempers
        self.orders: list[Wanted] = []
        self.links: list[Link] = []  # of all who were shown one
        self.versions: dict[str, int] = {}
        self.read_events: list[str] = []  # the merchant's program, which pages through its log
        self.broken: list[str] = []  # of all examples: a race may not come again when it is told
        self.tally: Counter[str] = Counter()  # of all examples: what came of them
        self._notes = 0
        self.errors: list[str] = []  # what the gateway logged as a fault of its own

    async def begin(self) -> None:
        """Forget everything but the merchant, its accounts and the operators."""
        await self.desk.errands.finish(10)
        await self.desk.pool.execute(_CLEAR)
        await self.desk.redis.flushdb()
        await self.rig.control("reset")
        for channel in CHANNELS:
            self.tempers[channel].on_their_way.clear()
            self.tempers[channel].mend()
            await self.rig.faults(channel, **_AT_ONCE)
        await self.rig.faults("boleto", boleto_cancel="still_pays")
        self.postbox.letters.clear()
        self.rig.receiver.received.clear()
        self.rig.receiver.status = 204
        for kept in (self.orders, self.links, self.versions, self.read_events, self.errors):
            kept.clear()

    async def calm(self) -> None:
        """All faults stop, and what was held up arrives."""
        self.rig.receiver.status = 204
        for channel in CHANNELS:
            await self.rig.faults(channel, reset=True, **_AT_ONCE)
            self.tempers[channel].mend()
            while await self.tempers[channel].arrive():
                pass

    async def codes(self) -> list[Code]:
        """What was ever ordered at the channels, and what was paid and given back: the truth."""
        return convert(await self.rig.ledger(), list[Code])

    def order(self, which: int) -> Wanted:
        return self.orders[-1 - which % len(self.orders)]

    async def code(self, which: int) -> Code | None:
        return counted_back(await self.codes(), which)

    async def channel(self, name: str) -> str:
        """Return the channel of that name; of none, that of the newest code."""
        code = await self.code(0)
        return name or (code.channel if code else CHANNELS[0])

    async def temper(self, channel: str) -> Temper:
        return self.tempers[await self.channel(channel)]

    async def wallet(self, verb: str, code: Code | None, **said: object) -> str:
        """A wallet does something with a code; what it may not do it is told."""
        if code is None:
            return "there is no code"
        body = {"channel": code.channel, "number": code.number, **said}
        url = f"{self.rig.sandbox_url}/_control/{verb}"
        async with self.rig.http.post(url, json=body) as answer:
            said_back = await answer.json()
        return f"{code.channel} {code.number[-4:]} {said_back.get('code', 'done')}"

    def remember_link(self, answer: Answer) -> bool:
        """Keep the link that a buyer was given, if it was one; False: nothing to pay with."""
        action = convert(answer.json["next_action"], dict[str, object] | None)
        if action is not None and action["type"] in ("redirect", "form"):
            self.links.append(convert(action, Link))
        return action is not None

    async def follow(self, link: Link) -> str:
        """A buyer's browser opens a page of a channel."""
        verb, url = ("POST" if link.fields else "GET"), URL(link.url, encoded=True)
        async with self.rig.http.request(
            verb, url, data=link.fields or None, allow_redirects=False
        ) as answer:
            return f"the channel's page answered {answer.status}"

    async def decide(self, refund: str, verb: str, operator: int) -> str:
        """An operator decides about a refund."""
        path = f"/v1/refunds/{refund}/{verb}"
        self._notes += 1  # the same note twice within a moment is a double click
        note = f"the buyer called {self._notes}"
        answer = await self.operators[operator].post(path, {"note": note})
        expected = ("refund_conflict", "refund_exceeds_captured", "refund_not_supported")
        return told(answer, *expected, "forbidden", "channel_unavailable")

    async def return_by_hand(self, refund: str) -> None:
        """A person pays the buyer back by other means, and says so."""
        said = {"note": "by hand", "reference": f"transfer of {refund}"}
        told(await self.operators[0].post(f"/v1/refunds/{refund}/mark-returned", said))

    async def state(self, order: Wanted) -> str:
        """How the order stands; `expired`: still open, and to be paid no more."""
        return str(await self.desk.pool.fetchval(_STATE, order.id))

    async def sweep(self) -> int:
        """Every sweep of the worker once; returns how much there was to do."""
        found = await ask_overdue(self.desk, _BATCH)
        found += await expire_due(self.desk, _BATCH)
        found += await refund_due(self.desk, _BATCH)
        found += await settle_unknown(self.desk)
        found += await self.desk.webhooks.deliver_overdue(_BATCH)
        async with self.desk.pool.acquire() as conn:
            found += len(await events.number_fresh(conn, _BATCH))
        await self.desk.errands.finish(10)
        return found

    async def read_on(self) -> None:
        """The merchant's program reads on in its log, from where it was."""
        while True:
            after = f"&after={self.read_events[-1]}" if self.read_events else ""
            answer = await self.api.get(f"/v1/events?limit=5{after}")
            if not answer.data:
                return
            self.read_events += [str(event["id"]) for event in answer.data]


def counted_back(items: Sequence[Item], which: int) -> Item | None:
    """Return the newest for 0, the one before for 1, and so on, beginning again at the end."""
    return items[-1 - which % len(items)] if items else None


def told(answer: Answer, *expected: str) -> str:
    """Return an answer in words. Raises Broken for a problem that is none of those expected."""
    if answer.status < 300:
        return str(answer.status)
    if answer.code not in expected:
        raise Broken(f"the gateway answered {answer.status} {answer.code}: {answer.json['detail']}")
    return f"{answer.status} {answer.code}"


@asynccontextmanager
async def opened_world(
    database_url: str, redis_url: str, keys: SandboxKeys, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    port = free_port()
    postbox = Postbox()
    tempers = {channel: Temper() for channel in CHANNELS}
    for kind, honest in accounts.MAKERS.items():
        liars = tuple(with_temper(make, tempers) for make in honest)
        monkeypatch.setitem(accounts.MAKERS, kind, liars)
    # Nothing goes on meanwhile, so nobody has to wait for it.
    monkeypatch.setattr(webhooks, "_SYNC_PAUSE_S", 0.0)
    monkeypatch.setattr(claiming, "_WAIT_FOR_RIVAL_S", 0.5)
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        port=free_port(),
        public_url=f"http://127.0.0.1:{port}",
        secret_keys=(Fernet.generate_key().decode(),),
        allow_private_webhooks=True,
        max_attempts=_MOST_ATTEMPTS,
    )
    async with (
        serving(postbox.app, "127.0.0.1", port),
        running_rig(settings, keys, worker=False, alipay=True) as rig,
    ):
        # Everybody but the channels goes to the gateway itself.
        direct = Rig(
            rig.desk,
            replace(settings, public_url=""),
            rig.sandbox_url,
            rig.http,
            rig.receiver,
            rig.api_key,
        )
        world = World(direct, postbox, tempers)
        async with rig.desk.pool.acquire() as conn:
            tokens = [(await add_operator(conn, name))[1] for name in ("Ann", "Bob")]
            await conn.execute(_LIMIT, ALIPAY_ACCOUNT, str(_A_DAYS_REFUNDS))
            cipher = Cipher(settings.secret_keys)
            for kind, said in _more_accounts(keys, rig.sandbox_url).items():
                await add_channel(conn, cipher, MERCHANT, kind, kind, said)
                url = f"{settings.public_url}/callbacks/{kind}"
                await rig.control("webhooks", kind=kind, url=url)
        world.operators = tuple(Api(direct, token) for token in tokens)
        with _errors_noted(world.errors):
            yield world


def _more_accounts(keys: SandboxKeys, sandbox_url: str) -> dict[str, dict[str, str]]:
    """The settings of those that a rig has not."""
    return {
        "unionpay": unionpay_account(keys, f"{sandbox_url}/unionpay"),
        "paypal": paypal_account(keys, f"{sandbox_url}/paypal"),
        "stripe": stripe_account(keys, f"{sandbox_url}/stripe"),
    }


@contextmanager
def _errors_noted(errors: list[str]) -> Iterator[None]:
    """Note what is logged as an error: it is swallowed where it happens, and is a bug."""

    def note(_logger: WrappedLogger, _method: str, event: EventDict) -> NoReturn:
        errors.append(" ".join(f"{name}={value!r}" for name, value in event.items()))
        raise structlog.DropEvent

    before = structlog.get_config()
    wrapper = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(processors=[note], wrapper_class=wrapper)
    try:
        yield
    finally:
        structlog.configure(**before)
