"""The figures: which sides are measured against each other, slice by slice, turn and turn about."""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from benchmarks.load import Measured, Plan, send_load
from benchmarks.place import cpu_s
from benchmarks.product import HMAC_CHANNEL
from benchmarks.rows import make_template
from benchmarks.sides import (
    Counts,
    FloorApply,
    FloorCallback,
    FloorReplay,
    ProductApply,
    ProductCallback,
    ProductReplay,
    Side,
    Wrong,
)
from benchmarks.stage import Stage

# A live answer is cached for ten seconds, so nothing that is to be replayed is measured for longer.
LONGEST_S: Final = 6.0
_FIRST_GUESS_PER_S: Final = 1500.0
_SPARE: Final = 1.5
_AFTERWARDS_S: Final = 0.2  # what follows an answer is the answer's cost too


class Figure(Struct, frozen=True):
    """One line of the table. `of`: what the ratio is of; a p50 is the better the lower it is."""

    name: str
    says: str
    connections: int
    floor: Side
    product: Side
    of: Literal["rate", "p50"] = "rate"


class Slice(Struct, frozen=True):
    """What one side did in one slice of time; the CPU is in microseconds for one answer."""

    per_s: float
    p50_ms: float
    p99_ms: float
    answered: int
    app_us: float
    postgres_us: float
    valkey_us: float
    load_busy: float


class Result(Struct, frozen=True):
    """A figure with its slices; the n-th of the floor and of the product were neighbours."""

    name: str
    says: str
    connections: int
    of: str
    floor: list[Slice]
    product: list[Slice]

    def ratios(self) -> list[float]:
        """Product to floor, round by round."""
        pairs = zip(self.product, self.floor, strict=True)
        if self.of == "p50":
            return [product.p50_ms / floor.p50_ms for product, floor in pairs]
        return [product.per_s / floor.per_s for product, floor in pairs]


async def figures_on(stage: Stage) -> list[Figure]:
    """Return every figure, ready to be measured."""
    template = await make_template(stage.product.port, stage.api_key, "wechat")
    replay = FloorReplay(stage), ProductReplay(stage, template)
    by_hmac = FloorApply(stage, "apply_hmac"), ProductApply(stage, template, HMAC_CHANNEL)
    by_rsa = FloorApply(stage, "apply_rsa"), ProductApply(stage, template, "wechat")
    callback = FloorCallback(stage), ProductCallback(stage, template)
    return [
        Figure("replay-64", "cached apply", 64, *replay),
        Figure("apply-16", "new apply, HMAC channel", 16, *by_hmac),
        Figure("apply-64", "new apply, HMAC channel", 64, *by_hmac),
        Figure("apply-rsa-16", "new apply, RSA channel", 16, *by_rsa),
        Figure("callback-16", "callback", 16, *callback),
        Figure("callback-64", "callback", 64, *callback),
        Figure("apply-1", "new apply, HMAC, one buyer", 1, *by_hmac, of="p50"),
    ]


class Measuring:
    """Measures figures in rounds; the first round warms up and is not kept."""

    def __init__(self, stage: Stage, seconds: float) -> None:
        self._stage = stage
        self._seconds = min(seconds, LONGEST_S)
        self._fastest: dict[tuple[str, str], float] = {}

    async def run(self, figures: Sequence[Figure], rounds: int) -> list[Result]:
        """Measure every figure once a round, and let the sides take turns in going first."""
        results = [Result(f.name, f.says, f.connections, f.of, [], []) for f in figures]
        for number in range(rounds + 1):
            for figure, result in zip(figures, results, strict=True):
                pairs = [(figure.floor, result.floor), (figure.product, result.product)]
                for side, slices in pairs if number % 2 else reversed(pairs):
                    measured = await self._slice(figure, side)
                    if number:
                        slices.append(measured)
        return results

    async def _slice(self, figure: Figure, side: Side) -> Slice:
        known = figure.name, side.program.name
        per_s = self._fastest.get(known, _FIRST_GUESS_PER_S)
        work = await side.prepare(int(per_s * self._seconds * _SPARE) + figure.connections)
        before = await side.count()
        cpu = await self._cpu_s(side)
        plan = Plan(side.program.port, figure.connections, self._seconds, work.requests, work.again)
        measured = await send_load(plan)
        await asyncio.sleep(_AFTERWARDS_S)
        app_us, postgres_us, valkey_us = (
            1e6 * (after - begun) / measured.answered
            for begun, after in zip(cpu, await self._cpu_s(side), strict=True)
        )
        _must_be_whole(figure.name, side, measured, before, await side.count())
        self._fastest[known] = max(self._fastest.get(known, 0.0), measured.per_s)
        return Slice(
            measured.per_s,
            measured.p50_ms,
            measured.p99_ms,
            measured.answered,
            app_us,
            postgres_us,
            valkey_us,
            measured.busy,
        )

    async def _cpu_s(self, side: Side) -> tuple[float, float, float]:
        """What the program, PostgreSQL and Valkey have computed so far."""
        stage = self._stage
        return cpu_s(side.program.pid), stage.postgres_cpu_s(), await stage.valkey_cpu_s()


def _must_be_whole(
    name: str, side: Side, measured: Measured, before: Counts, after: Counts
) -> None:
    """Raise Wrong unless every answer was the right one and every count rose as it must."""
    who = f"{name}, {side.program.name}"
    if set(measured.answers) != {side.status}:
        raise Wrong(f"{who}: answered {measured.answers}, not only {side.status}")
    risen = {what: after[what] - before[what] for what in before}
    expected = side.rises * measured.answered
    if any(rise != expected for rise in risen.values()):
        raise Wrong(f"{who}: {measured.answered} answers should raise each by {expected}: {risen}")
