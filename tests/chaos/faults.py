"""What goes wrong, and how often it did.

Every kind is drawn from a shuffled deck, so that each comes before any comes again. One deck is of
blows to processes and servers, one of lies for each channel; they are dealt at the same time. A
fault counts when it has struck: an answer that was to be lost counts when a call came and lost it.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from msgspec import Struct
from redis.asyncio import Redis

from tests.chaos.client import Client
from tests.chaos.place import BY_HAND, CAPTURING, CHANNELS, Place
from tests.chaos.processes import Programs
from tests.chaos.servers import Server
from tests.chaos.sightings import Trouble

# The waits between two sends of a callback are so much shorter than the channels document.
PACE: Final = 0.01
_VERBS: Final = ("create", "create", "query", "query", "refund", "query_refund")
# What only some channels do, and so can do badly.
_CLOSING: Final = ("wechat", "alipay", "card", "boleto")
_SANDBOX_ANSWERS_WITHIN_S: Final = 60.0
_TIMES: Final = 3  # so many calls in a row meet a lost answer or an error
_REDIS_TROUBLE_LASTS_S: Final = 1.0  # as long as a gateway does not ask Redis after a failure

Card = TypeVar("Card")


class Left(Struct, frozen=True):
    """How many times a fault is still to strike."""

    times: int = 0


class FaultsNow(Struct, frozen=True):
    lose_answer: Left | None = None
    error: Left | None = None


class Tally:
    """How often each kind struck, and when Redis was not to be relied on."""

    def __init__(self) -> None:
        self.struck: Counter[str] = Counter()
        self.story: list[tuple[float, str]] = []  # by the monotonic clock
        self.troubles: list[Trouble] = []

    def strikes(self, kind: str) -> None:
        self.story.append((time.monotonic(), kind))

    def redis_failed_since(self, since: float) -> None:
        self.troubles.append(Trouble(since, time.monotonic() + _REDIS_TROUBLE_LASTS_S))


class Blows:
    """What strikes processes and servers."""

    def __init__(
        self,
        random_: random.Random,
        tally: Tally,
        programs: Programs,
        postgres: Server,
        valkey: Server,
        redis_url: str,
    ) -> None:
        self._random = random_
        self._tally = tally
        self._programs = programs
        self._postgres = postgres
        self._valkey = valkey
        self._redis_url = redis_url
        self._frozen: list[asyncio.Task[None]] = []
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "gateway killed": self._kill_gateway,
            "gateway frozen": self._freeze_gateway,
            "worker killed": self._kill_worker,
            "Valkey flushed": self._flush_valkey,
            "Valkey killed": self._kill_valkey,
            "Valkey paused": self._pause_valkey,
            "PostgreSQL restarted": self._restart_postgres,
        }

    async def deal(self, calm: asyncio.Event) -> None:
        """Strike again and again until it is to be calm; then everything is up again."""
        for kind in _dealt(self._random, list(self.kinds)):
            await asyncio.sleep(self._random.uniform(1.0, 2.4))
            if calm.is_set():
                await asyncio.gather(*self._frozen)
                return
            self._tally.strikes(kind)
            await self.kinds[kind]()
            self._tally.struck[kind] += 1

    async def _kill_gateway(self) -> None:
        self._random.choice(self._programs.gateways).kill()

    async def _freeze_gateway(self) -> None:
        """For longer than it may call a channel, sometimes; the other blows do not wait for it."""
        gateway = self._random.choice(self._programs.gateways)
        self._frozen.append(asyncio.create_task(gateway.freeze(self._random.uniform(0.5, 7.5))))

    async def _kill_worker(self) -> None:
        self._random.choice(self._programs.workers).kill()

    async def _flush_valkey(self) -> None:
        since = time.monotonic()
        async with Redis.from_url(self._redis_url) as redis:
            await redis.flushall()
        self._tally.redis_failed_since(since)

    async def _kill_valkey(self) -> None:
        since = time.monotonic()
        await self._valkey.restart(signal.SIGKILL)
        self._tally.redis_failed_since(since)

    async def _pause_valkey(self) -> None:
        since = time.monotonic()
        await self._valkey.pause(self._random.uniform(0.2, 2.5))
        self._tally.redis_failed_since(since)

    async def _restart_postgres(self) -> None:
        """At once, without a checkpoint, so that it comes back by crash recovery."""
        await self._postgres.restart(signal.SIGQUIT)


class Lies:
    """What one channel does wrong."""

    def __init__(
        self, random_: random.Random, tally: Tally, channel: str, place: Place, client: Client
    ) -> None:
        self._random = random_
        self._tally = tally
        self._channel = channel
        self._url = f"{place.sandbox_url}/_control/faults"
        self._client = client
        self.kinds: dict[str, Callable[[], dict[str, object]]] = {
            "callbacks lost": lambda: {"drop_callbacks": 1.0},
            "callbacks repeated": lambda: {"duplicate_callbacks": random_.randint(1, 4)},
            "callbacks late": lambda: {"delay_callbacks_s": random_.uniform(0.5, 3.0)},
            "callbacks out of order": lambda: {"reorder_callbacks": True},
            "callbacks forged": lambda: {"forge_callbacks": True},
            "answers lost before acting": lambda: self._lost(after=False),
            "answers lost after acting": lambda: self._lost(after=True),
            "errors before acting": lambda: self._error(after=False),
            "errors after acting": lambda: self._error(after=True),
            "answers late": lambda: {"latency_s": random_.choice((0.3, 1.0, 6.0))},
            "clock ahead": lambda: {"clock_shift_s": random_.uniform(60, 120)},
            "clock behind": lambda: {"clock_shift_s": random_.uniform(-120, -60)},
        }
        self._verbs: tuple[str, ...] = _VERBS
        if channel in _CLOSING:
            self._verbs += ("close",)
            self.kinds["closes refused"] = lambda: {"close": "refuse"}
            self.kinds["closes that race a payment"] = lambda: {"close": "paid_race"}
        if channel in CAPTURING:
            self._verbs += ("capture", "capture")
            self.kinds["answers lost before debiting"] = lambda: self._lost("capture", after=False)
            self.kinds["answers lost after debiting"] = lambda: self._lost("capture", after=True)
        if channel in BY_HAND:
            self.kinds["cancelled slips not paid"] = lambda: {"boleto_cancel": "blocks"}
        if channel == "wechat":
            self.kinds["answers badly signed"] = lambda: {"probe_answers": _TIMES}
        if channel == "alipay":
            self.kinds["unscanned codes closed"] = lambda: {"unscanned_close": "sticky"}

    async def deal(self, calm: asyncio.Event) -> None:
        """Lie again and again, twice at a time, until it is to be calm; then be honest."""
        deck = _dealt(self._random, list(self.kinds))
        while not calm.is_set():
            kinds = [next(deck)]
            said, also = self.kinds[kinds[0]](), next(deck)
            more = self.kinds[also]()
            if not said.keys() & more.keys():  # a clock is not ahead and behind
                said |= more
                kinds.append(also)
            await self._say(said)
            self._tally.strikes(f"{self._channel}: {said}")
            await asyncio.sleep(self._random.uniform(0.8, 2.2))
            await self._count(kinds)
            await self.be_honest()
            await asyncio.sleep(self._random.uniform(0.2, 1.2))

    async def be_honest(self) -> None:
        await self._say({"reset": True})

    async def _say(self, said: dict[str, object]) -> None:
        answer = await self._client.call(
            "POST",
            self._url,
            {"channel": self._channel, "pace": PACE, "boleto_cancel": "still_pays", **said},
            patience_s=_SANDBOX_ANSWERS_WITHIN_S,
        )
        assert answer.good, answer.body

    async def _count(self, kinds: Iterable[str]) -> None:
        """Count what was in force; of answers to be lost and of errors, those that came to pass."""
        answer = await self._client.call("GET", self._url)
        now = answer.read(dict[str, FaultsNow])[self._channel]
        for kind in kinds:
            if kind.startswith("answers lost"):
                left = now.lose_answer.times if now.lose_answer else 0
            elif kind.startswith("errors"):
                left = now.error.times if now.error else 0
            else:
                left = _TIMES - 1
            self._tally.struck[kind] += _TIMES - left

    def _lost(self, verb: str = "", *, after: bool) -> dict[str, object]:
        verb = verb or self._random.choice(self._verbs)
        return {"lose_answer": {"verb": verb, "after_executing": after, "times": _TIMES}}

    def _error(self, *, after: bool) -> dict[str, object]:
        status = self._random.choice((500, 502, 503) if after else (429, 500, 503))
        verb = self._random.choice(self._verbs)
        said = {"verb": verb, "status": status, "after_executing": after, "times": _TIMES}
        return {"error": said}


def lies_of_all(random_: random.Random, tally: Tally, place: Place, client: Client) -> list[Lies]:
    return [
        Lies(random.Random(random_.random()), tally, channel, place, client) for channel in CHANNELS
    ]


def _dealt(random_: random.Random, cards: Sequence[Card]) -> Iterator[Card]:
    """Deal a deck, shuffle it again, and so on."""
    while True:
        yield from random_.sample(list(cards), len(cards))
