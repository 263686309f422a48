"""The machine: hypothesis chooses what happens next, and makes a list that fails short."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.fuzz import choices
from tests.fuzz.judging import faults_of_the_moment, faults_of_what_is_shown
from tests.fuzz.settling import must_be_whole, settle_down
from tests.fuzz.steps import Apply, AtOnce, Deliver, Follow, Open, Pay, PayAll, Refund, Step
from tests.fuzz.world import Broken, World

# Each step, and what came of it.
Taken = list[tuple[Step, str]]


class Machine(RuleBasedStateMachine):
    """One list of steps: each is taken, and judged; in the end everything must settle."""

    world: ClassVar[World]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.taken: Taken = []
        self.broken = False
        self.runner.run(self.world.begin())

    def take(self, step: Step) -> None:
        self.broken = True
        self.runner.run(take(self.world, step, self.taken))
        self.broken = False

    def teardown(self) -> None:
        if not self.broken:
            self.runner.run(end(self.world, self.taken))

    @initialize()
    def begin(self) -> None:
        self.take(Open())

    @rule(way=choices.WAY)
    def buy_and_click_again(self, way: str) -> None:
        self._buy(way)
        self.take(Apply(way=way))

    @rule(ways=choices.WAYS_OF_ONE, letter=choices.RECENT)
    def pay_several_codes(self, ways: list[str], letter: int) -> None:
        opens = Open(currency="BRL" if "boleto" in ways else "CNY")
        self._take_all(opens, *(Apply(way=way) for way in ways), PayAll(), Deliver(letter))

    @rule(way=choices.WAY, amounts=choices.AMOUNTS)
    def buy_and_return(self, way: str, amounts: list[int]) -> None:
        self._buy(way)
        self.take(AtOnce(tuple(Refund(amount=amount) for amount in amounts)))

    @rule(step=choices.OPEN | choices.OPEN_AGAIN)
    def open(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.APPLY)
    def apply(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.PAY)
    def pay(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.PAY_BADLY | choices.SCAN)
    def pay_badly(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.DELIVER)
    def deliver(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.POLL | choices.COME_BACK)
    def ask(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.CLOSE | choices.EXPIRE)
    def close(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.SWEEP | choices.READ_ON)
    def sweep(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.REFUND | choices.DECIDE)
    def refund(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.AT_ONCE)
    def at_once(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.TELL_AND_ACT)
    def tell_and_act(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.LIE | choices.HOLD_UP)
    def lie(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.FAULT)
    def misbehave(self, step: Step) -> None:
        self.take(step)

    @rule(step=choices.LOSE_REDIS | choices.SHOP | choices.ARRIVE | choices.FORGE)
    def trouble(self, step: Step) -> None:
        self.take(step)

    def _buy(self, way: str) -> None:
        opens = Open(currency="BRL" if way == "boleto" else "CNY")
        self._take_all(opens, Apply(way=way), Follow(), Pay(), Deliver())

    def _take_all(self, *steps: Step) -> None:
        for step in steps:
            self.take(step)


async def play(world: World, steps: Sequence[Step]) -> None:
    """Take a list of steps, let everything settle, and judge. Raises Broken."""
    taken: Taken = []
    await world.begin()
    for step in steps:
        await take(world, step, taken)
    await end(world, taken)


async def take(world: World, step: Step, taken: Taken) -> None:
    """Take one step, and judge. Raises Broken with the story so far."""
    taken.append((step, "it went wrong here"))
    try:
        taken[-1] = (step, await step.take(world))
        await world.desk.errands.finish(10)
        await must_be_whole(await faults_of_the_moment(world))
    except Broken as broken:
        raise _with_story(world, broken, taken) from None


async def end(world: World, taken: Taken) -> None:
    """Let everything settle, and judge. Raises Broken with the whole story."""
    try:
        await must_be_whole(await faults_of_what_is_shown(world))
        await settle_down(world)
        world.tally += Counter({"lists": 1, "steps": len(taken)})
    except Broken as broken:
        raise _with_story(world, broken, taken) from None


def _with_story(world: World, broken: Broken, taken: Taken) -> Broken:
    """Say what was done and what came of it, as a list that `play` takes again."""
    told = [f"    {step},  # {came}" for step, came in taken]
    world.broken.append("\n".join([str(broken), "play(world, [", *told, "])"]))
    return Broken(world.broken[-1])
