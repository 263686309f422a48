"""Every schedule of a scene, up to so many preemptions, and every crash of each; one that fails is
printed as a list of names that runs again.

A schedule is re-run from its beginning with an order of its own. To let another go first where the
one that went last has ended, or waits, is free; everywhere else it is a preemption. Nearly all bugs
of concurrency show with two of them, and the number of schedules stays finite enough to run all.
"""

import heapq
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from msgspec import Struct

from tests.schedules.judging import (
    faults_of_the_codes,
    faults_of_the_end,
    faults_of_the_flows,
    faults_of_the_losers,
    faults_of_the_moment,
)
from tests.schedules.ledger import Lost
from tests.schedules.scheduler import Diverged, Path, Scheduler, Taken
from tests.schedules.stage import Stage
from tests.schedules.traces import Past

Flows = dict[str, Coroutine[object, object, object]]


class Conditions(Struct, frozen=True):
    """How bad the world is; `redis` False: Redis is away and PostgreSQL alone decides."""

    unclosable: bool = False
    lost: Lost = Lost.NONE
    redis: bool = True
    hollow: bool = False

    def __str__(self) -> str:
        said = ["unclosable"] * self.unclosable + ["hollow"] * self.hollow
        said += ["no_redis"] * (not self.redis)
        if self.lost is not Lost.NONE:
            said.append(self.lost)
        return "-".join(said) or "plain"


PLAIN: Final = Conditions()
AWAY: Final = Conditions(redis=False)
STUCK: Final = Conditions(unclosable=True)
HOLLOW_AWAY: Final = Conditions(hollow=True, redis=False)
STUCK_AWAY: Final = Conditions(unclosable=True, redis=False)
UNHEARD: Final = Conditions(lost=Lost.BEFORE)
UNHEARD_AWAY: Final = Conditions(lost=Lost.BEFORE, redis=False)
UNANSWERED: Final = Conditions(lost=Lost.AFTER)
UNANSWERED_AWAY: Final = Conditions(lost=Lost.AFTER, redis=False)
UNANSWERED_STUCK: Final = Conditions(lost=Lost.AFTER, unclosable=True)


class Scene(Struct, frozen=True):
    """What is there before, who then acts at once, and how bad the world is."""

    flows: Callable[[Stage], Awaitable[Flows]]
    conditions: Conditions

    @property
    def name(self) -> str:
        return self.flows.__name__

    def __str__(self) -> str:
        return f"{self.name}-{self.conditions}"


class Broken(Exception):
    """A schedule after which something is not as it must be."""

    def __init__(self, scene: Scene, path: Path, taken: list[Taken], faults: list[str]) -> None:
        crashed = path.crash_after is not None
        again = path if crashed else Path(tuple(each.name for each in taken))
        found = [f"fault: {fault}" for fault in faults]
        again_with = f'again: SCHEDULE="{again}" and this test alone'
        super().__init__("\n".join([str(scene), *found, *told(taken), again_with]))


def told(taken: list[Taken]) -> list[str]:
    """Tell a schedule step by step."""
    return [f"{i:4} {each.name:4} {each.step}" for i, each in enumerate(taken, start=1)]


class Tally(Struct):
    """How many were run: schedules by their preemptions, and crashes; and how many that are known
    of were not.
    """

    schedules: list[int]
    crashes: int = 0
    schedules_left: int = 0
    crashes_left: int = 0

    @property
    def total(self) -> int:
        return sum(self.schedules) + self.crashes


async def play(stage: Stage, scene: Scene, path: Path) -> list[Taken]:
    """Run one schedule, let what follows follow, and judge; raises Broken."""
    scheduler = await _run(stage, scene, path)
    crashed = path.crash_after is not None
    faults = faults_of_the_flows(stage, scheduler)
    order = await stage.read()
    faults += faults_of_the_moment(order)
    if not crashed:
        faults += faults_of_the_codes(stage)
    if not faults:
        if await stage.minutes_later():
            order = await stage.read()
        faults += faults_of_the_moment(order) + faults_of_the_losers(stage, order)
    if not faults:
        if not crashed:
            stage.ledger.pay_all()  # the worst of buyers: whatever can be paid is paid
        await stage.days_later()
        faults += await faults_of_the_end(stage, scheduler)
    if faults:
        raise Broken(scene, path, scheduler.taken, faults)
    return scheduler.taken


async def _run(stage: Stage, scene: Scene, path: Path) -> Scheduler:
    conditions = scene.conditions
    stage.claims.away = not conditions.redis
    stage.ledger.reset()
    await stage.new_order()
    flows = await scene.flows(stage)
    stage.ledger.misbehave(
        conditions.lost, unclosable=conditions.unclosable, hollow=conditions.hollow
    )
    scheduler = Scheduler(path)
    for name, flow in flows.items():
        scheduler.start(name, flow)
    try:
        await scheduler.run()
    except (Diverged, AssertionError):
        await scheduler.abandon()
        raise
    return scheduler


class Explorer:
    """Runs the schedules of a scene, those with the fewest surprises (preemptions, a crash) first.

    A crash is tried before every step of every schedule. Of schedules that differ only in the order
    of steps that share nothing, one is run; of crashes, one of those that leave the same behind.
    """

    def __init__(
        self, stage: Stage, scene: Scene, preemptions: int, *, crashes: bool = True
    ) -> None:
        self.tally = Tally([0] * (preemptions + 1))
        self._stage = stage
        self._scene = scene
        self._most = preemptions
        self._crashes = crashes
        self._random = random.Random(str(scene))
        self._todo: list[tuple[int, float, int, Path]] = []
        self._seen: dict[object, int] = {}  # with how few preemptions we have been there

    async def run(self, limit: int | None = None) -> Tally:
        """Run them all, or as many as `limit` says. Raises Broken at the first that fails."""
        self._add(Path(), 0)
        while self._todo and (limit is None or self.tally.total < limit):
            _, _, preemptions, path = heapq.heappop(self._todo)
            taken = await play(self._stage, self._scene, path)
            if path.crash_after is not None:
                self.tally.crashes += 1
            else:
                self.tally.schedules[preemptions] += 1
                self._branch(path, preemptions, taken)
        crashes = sum(path.crash_after is not None for *_, path in self._todo)
        self.tally.crashes_left = crashes
        self.tally.schedules_left = len(self._todo) - crashes
        return self.tally

    def _add(self, path: Path, preemptions: int) -> None:
        surprises = preemptions + (path.crash_after is not None)
        # Where a limit ends the run, chance decides which of those with as many were run.
        heapq.heappush(self._todo, (surprises, self._random.random(), preemptions, path))

    def _branch(self, path: Path, preemptions: int, taken: list[Taken]) -> None:
        """Add what leaves this schedule after the end of `path`: other choices, and crashes."""
        names = tuple(each.name for each in taken)
        past = Past()
        for at, each in enumerate(taken):
            if at >= len(path.names):
                if self._crashes:
                    self._add_crashes(past, names[:at], each, preemptions)
                for other, step in each.others:
                    cost = preemptions + (each.goes_on != "")
                    is_new = self._is_new((past.whole.then(other, step).key, other), cost)
                    if cost <= self._most and is_new:
                        self._add(Path((*names[:at], other)), cost)
            past.then(each.name, each.step)
            if at >= len(path.names) and not self._is_new((past.whole.key, each.name), preemptions):
                break  # from here on we have been

    def _add_crashes(
        self, past: Past, names: tuple[str, ...], following: Taken, preemptions: int
    ) -> None:
        """Everything dies; or only the process that was to go on, and the others live."""
        victims = ["", following.name.partition("'")[0]] if following.others else [""]
        for dies in victims:
            if self._is_new((past.without_last_reads_of(dies).key, "crash", dies), 0):
                self._add(Path(names, len(names), dies), preemptions)

    def _is_new(self, place: object, preemptions: int) -> bool:
        """Is it the first time there, or the first with so few preemptions?"""
        known = self._seen.get(place)
        if known is not None and known <= preemptions:
            return False
        self._seen[place] = preemptions
        return True
