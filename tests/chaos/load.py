"""The load: buyers who come one after the other, each with a story of its own, many at once."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.chaos.buyers import Buyer, World
from tests.chaos.stories import SHARES, Story, live, pays_after_the_expiry

_AT_ONCE: Final = 100  # beside those who wait for their order to expire
_COMES_EVERY_S: Final = 1 / 24
# Orders that are to expire within the run are made in its first seconds, every so often.
_EXPIRING_EVERY_S: Final = 1.0


class Load:
    """Buyers come until they are told not to; those who are there stay to the end of theirs."""

    def __init__(self, world: World, random_: random.Random, *, expiring_for_s: float) -> None:
        self.stories: Counter[str] = Counter()
        self.gave_up = 0
        self._world = world
        self._random = random_
        self._until = time.monotonic() + expiring_for_s
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._buyers: set[asyncio.Task[None]] = set()
        self._name = f"B{random_.randrange(10**9)}"

    @property
    def came(self) -> int:
        return self.stories.total()

    async def flow(self, over: asyncio.Event) -> None:
        """Let buyers come until it is over."""
        next_expiring = time.monotonic()
        while not over.is_set():
            if next_expiring <= time.monotonic() < self._until:
                next_expiring = time.monotonic() + _EXPIRING_EVERY_S
                self._come(pays_after_the_expiry)
            await self._free.acquire()
            story = self._random.choices(list(SHARES), list(SHARES.values()))[0]
            self._come(story, self._free.release)
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * _COMES_EVERY_S)

    def _come(self, story: Story, leave: Callable[[], None] | None = None) -> None:
        self.stories[story.__name__] += 1
        random_ = random.Random(self._random.random())
        buyer = Buyer(self._world, random_, f"{self._name}-{self.came}")
        task = asyncio.create_task(self._live(story, buyer))
        self._buyers.add(task)
        task.add_done_callback(self._left)
        if leave is not None:
            task.add_done_callback(lambda _: leave())

    async def _live(self, story: Story, buyer: Buyer) -> None:
        if not await live(story, buyer):
            self.gave_up += 1

    def _left(self, buyer: "asyncio.Task[None]") -> None:
        self._buyers.discard(buyer)
        if not buyer.cancelled() and (error := buyer.exception()) is not None:
            self._world.sightings.problems.append(f"a buyer met {error!r}")

    async def see_off(self, within_s: float) -> None:
        """Wait for the last buyers; those who take longer are sent away."""
        if self._buyers:
            _, late = await asyncio.wait(self._buyers, timeout=within_s)
            for buyer in late:
                buyer.cancel()
