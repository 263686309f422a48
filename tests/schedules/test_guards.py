"""Each guard taken away is missed: there is a schedule that goes wrong, and it is found.

Where two guards stand behind each other, either alone holds, and both must be taken away.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import pytest
from msgspec import Struct

from gateway.db import moves
from gateway.ids import OrderId
from gateway.locks.claims import Claims
from gateway.payments import planning
from tests.schedules import scenes
from tests.schedules.exploring import Broken, Explorer, Scene
from tests.schedules.stage import Stage

_ENOUGH: Final = 1000

Remove = Callable[[Stage, pytest.MonkeyPatch], Awaitable[None]]


def _weaken(statement: str, guard: str, instead: str) -> Remove:
    async def remove(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        text = getattr(moves, statement)
        assert guard in text
        monkeypatch.setattr(moves, statement, text.replace(guard, instead))

    return remove


def _drop(index: str) -> Remove:
    async def remove(stage: Stage, _monkeypatch: pytest.MonkeyPatch) -> None:
        await stage.pool.execute(f"DROP INDEX {index}")

    return remove


async def _without_lease(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CALL_LEASE", timedelta())


async def _without_hush(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Claims, "hush", nothing)


async def _with_one_hush(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not repeated where the order has moved and the money is written at a second try."""
    hush, hushed = Claims.hush, set[OrderId]()

    async def once(claims: Claims, order: OrderId, version: int) -> None:
        if order not in hushed:
            hushed.add(order)
            await hush(claims, order, version)

    monkeypatch.setattr(Claims, "hush", once)


WINNER_INDEX: Final = _drop("one_captured_per_order")
OFFERED_INDEX: Final = _drop("one_offered_per_order")
VERSION_OF_SETTLE: Final = _weaken("_SETTLE", "AND version = $7", "AND $7::bigint > 0")
VERSION_OF_OPEN: Final = _weaken("_OPEN_ATTEMPT", "AND version = $3", "AND $3::bigint > 0")
ORDER_AT_ACCEPT: Final = _weaken(
    "_ACCEPT", "superseded = a.superseded OR moved.state <> 'open'", "superseded = false"
)
LOSERS: Final = _weaken("_SETTLE", "SET superseded = true", "SET superseded = a.superseded")

TWO_CALLBACKS: Final = Scene(scenes.two_callbacks, scenes.AWAY)
TWO_CLICKS: Final = Scene(scenes.two_applies_of_one_kind, scenes.AWAY)
PAID_MEANWHILE: Final = Scene(scenes.apply_and_payment_of_another, scenes.STUCK)
CLICK_AGAIN: Final = Scene(scenes.apply_and_callback, scenes.PLAIN)
NEWS: Final = Scene(scenes.callback_and_news_of_another, scenes.PLAIN)


class Case(Struct, frozen=True):
    """Guards that are away, where that is looked at, and what is then found (None: nothing)."""

    name: str
    away: tuple[Remove, ...]
    scene: Scene
    fault: str | None


CASES: Final = (
    Case("no winner index", (WINNER_INDEX,), TWO_CALLBACKS, None),
    Case("settle without version", (VERSION_OF_SETTLE,), TWO_CALLBACKS, None),
    Case(
        "neither winner index nor version",
        (WINNER_INDEX, VERSION_OF_SETTLE),
        TWO_CALLBACKS,
        "paid twice",
    ),
    Case("no offered index", (OFFERED_INDEX,), TWO_CLICKS, None),
    Case("open without version", (VERSION_OF_OPEN,), TWO_CLICKS, None),
    Case(
        "neither offered index nor version",
        (OFFERED_INDEX, VERSION_OF_OPEN),
        TWO_CLICKS,
        "offered at once",
    ),
    Case("no lease", (_without_lease,), TWO_CLICKS, "create a payment at once"),
    Case("accept without order", (ORDER_AT_ACCEPT,), PAID_MEANWHILE, "still offers an attempt"),
    Case("losers stay offered", (LOSERS,), PAID_MEANWHILE, "still offers an attempt"),
    Case("one hush for several tries", (_with_one_hush,), NEWS, "asked after the payment"),
    Case("no hush", (_without_hush,), CLICK_AGAIN, "asked after the payment"),
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_guard_that_is_away_is_missed_unless_another_stands_behind_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    for remove in case.away:
        await remove(stage, monkeypatch)
    explorer = Explorer(stage, case.scene, preemptions=2)
    if case.fault is None:
        assert (await explorer.run(_ENOUGH)).total > 10
        return
    with pytest.raises(Broken, match=case.fault):
        await explorer.run(_ENOUGH)
