"""Each guard taken away is missed: there is a schedule that goes wrong, and it is found.

Where guards stand behind each other, each alone holds, and all of them must be taken away.
"""

import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from types import ModuleType
from typing import Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from gateway.channels.base import CaptureRequest
from gateway.db import capture_moves, moves, refund_moves
from gateway.ids import OrderId
from gateway.locks.claims import Claims
from gateway.model import Attempt, ChannelReport, Refund
from gateway.money import Money
from gateway.payments import asking, capturing, planning, refunding, settle
from gateway.payments.accounts import Account
from gateway.payments.desk import Desk
from tests.schedules import capture_scenes, refund_scenes, scenes
from tests.schedules.exploring import (
    AWAY,
    PLAIN,
    STUCK,
    STUCK_AWAY,
    UNANSWERED,
    UNANSWERED_AWAY,
    Broken,
    Explorer,
    Scene,
)
from tests.schedules.seams import NAMES
from tests.schedules.stage import Stage

_ENOUGH_TO_FIND: Final = 1000
_ENOUGH_TO_HOLD: Final = 60

Remove = Callable[[Stage, pytest.MonkeyPatch], Awaitable[None]]


def _weaken(module: ModuleType, statement: str, guard: str, instead: str) -> Remove:
    async def remove(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        text = getattr(module, statement)
        assert guard in text
        weakened = text.replace(guard, instead)
        monkeypatch.setitem(NAMES, weakened, NAMES.get(text, statement))
        monkeypatch.setattr(module, statement, weakened)

    return remove


def _drop(index: str) -> Remove:
    async def remove(stage: Stage, _monkeypatch: pytest.MonkeyPatch) -> None:
        await stage.pool.execute(f"DROP INDEX {index}")

    return remove


async def _with_a_number_for_each_debt(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refund's number does not follow from the attempt."""
    owed = settle._surplus_refund

    def numbered(
        surplus: Attempt, report: ChannelReport, verdict: settle.Verdict, now: datetime
    ) -> Refund:
        refund = owed(surplus, report, verdict, now)
        return replace(refund, number=f"{refund.id.removeprefix('ref_')}R1")

    monkeypatch.setattr(settle, "_surplus_refund", numbered)


async def _without_legal_moves(stage: Stage, _monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.pool.execute("ALTER TABLE journal DROP CONSTRAINT only_legal_moves")


async def _without_asking_first(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refund that was sent is called again, as if the channel had answered that it has none."""

    async def unknown(*_: object) -> None: ...

    monkeypatch.setattr(refunding, "query_refund", unknown)


async def _without_closing_losers(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked about and no more."""

    async def as_seen(_desk: Desk, seen: Attempt) -> Attempt:
        return seen

    monkeypatch.setattr(asking, "_close_unoffered", as_seen)


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


async def _without_claim(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hears that the buyer approved has him debited."""

    async def as_seen(_desk: Desk, _account: Account, approved: Attempt) -> Attempt:
        return approved

    monkeypatch.setattr(capturing, "_claim", as_seen)


async def _with_short_claims(stage: Stage, _monkeypatch: pytest.MonkeyPatch) -> None:
    """They are given back to the first who hears that nothing was debited yet."""
    stage.patience.forgotten_s = 0


async def _with_a_number_for_each_call(_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the channel no call to capture is the repeat of another one."""
    ids = itertools.count()

    def numbered(number: str, channel_ref: str, request_id: str, money: Money) -> CaptureRequest:
        return CaptureRequest(number, channel_ref, f"{request_id}-{next(ids)}", money)

    monkeypatch.setattr(capturing, "CaptureRequest", numbered)


WINNER_INDEX: Final = _drop("one_captured_per_order")
OFFERED_INDEX: Final = _drop("one_offered_per_order")
VERSION_OF_SETTLE: Final = _weaken(moves, "_SETTLE", "AND version = $7", "AND $7::bigint > 0")
VERSION_OF_OPEN: Final = _weaken(moves, "_OPEN_ATTEMPT", "AND version = $3", "AND $3::bigint > 0")
ORDER_AT_ACCEPT: Final = _weaken(
    moves, "_ACCEPT", "superseded = a.superseded OR moved.state <> 'open'", "superseded = false"
)
VERSION_OF_CLAIM: Final = _weaken(capture_moves, "_CLAIM", "AND version = $3", "AND $3::bigint > 0")
ORDER_OF_CLAIM: Final = _weaken(
    capture_moves, "_CLAIM", "AND state = 'open' AND expires_at > now()", ""
)
OFFER_OF_CLAIM: Final = _weaken(capture_moves, "_CLAIM", "AND NOT superseded", "")
CLAIM_INDEX: Final = _drop("one_capture_claim_per_order")
LOSERS: Final = _weaken(moves, "_SETTLE", "SET superseded = true", "SET superseded = a.superseded")

DEBT_INDEX: Final = _drop("one_surplus_refund_per_attempt")
VERSION_OF_REFUND: Final = _weaken(
    refund_moves, "_MOVE", "AND o.version = $7", "AND $7::bigint > 0"
)
STATE_OF_REFUND: Final = _weaken(refund_moves, "_MOVE", "r.state = $10", "$10::text <> ''")
VERSION_OF_OPEN_REFUND: Final = _weaken(
    refund_moves, "_OPEN", "AND version = $3", "AND $3::bigint > 0"
)

TWO_CALLBACKS: Final = Scene(scenes.two_callbacks, AWAY)
TWO_CLICKS: Final = Scene(scenes.two_applies_of_one_kind, AWAY)
PAID_MEANWHILE: Final = Scene(scenes.apply_and_payment_of_another, STUCK)
CLOSED_MEANWHILE: Final = Scene(scenes.apply_and_merchant_close, PLAIN)
CLICK_AGAIN: Final = Scene(scenes.apply_and_callback, PLAIN)
HEARD_TWICE: Final = Scene(refund_scenes.payment_heard_twice_and_refunded, AWAY)
TWO_SWEEPS: Final = Scene(refund_scenes.two_sweeps, AWAY)
LOST_REFUND: Final = Scene(refund_scenes.two_sweeps, UNANSWERED)
TWO_REFUNDS: Final = Scene(refund_scenes.two_merchant_refunds, AWAY)
RIVAL: Final = Scene(capture_scenes.capture_and_rival_callback, AWAY)
TWO_PURSES: Final = Scene(capture_scenes.two_captures_of_one_order, STUCK_AWAY)
CALLED_AGAIN: Final = Scene(capture_scenes.two_captures_later, UNANSWERED_AWAY)
NEWS: Final = Scene(scenes.callback_and_news_of_another, PLAIN)


class Case(Struct, frozen=True):
    """Guards that are away, where that is looked at, and what is then found (None: nothing).

    `of`: which guard of docs/never-twice.md that is.
    """

    of: str
    name: str
    away: tuple[Remove, ...]
    scene: Scene
    fault: str | None


CASES: Final = (
    Case("winner index", "winner index", (WINNER_INDEX,), TWO_CALLBACKS, None),
    Case("version guard", "version of settle", (VERSION_OF_SETTLE,), TWO_CALLBACKS, None),
    Case(
        "winner index",
        "winner index and version of settle",
        (WINNER_INDEX, VERSION_OF_SETTLE),
        TWO_CALLBACKS,
        "paid twice",
    ),
    Case("offered index", "offered index", (OFFERED_INDEX,), TWO_CLICKS, None),
    Case("version guard", "version of open", (VERSION_OF_OPEN,), TWO_CLICKS, None),
    Case(
        "offered index",
        "offered index and version of open",
        (OFFERED_INDEX, VERSION_OF_OPEN),
        TWO_CLICKS,
        "offered at once",
    ),
    Case("lease of create", "lease", (_without_lease,), TWO_CLICKS, "create a payment at once"),
    Case(
        "order guard after create",
        "order at accept",
        (ORDER_AT_ACCEPT,),
        PAID_MEANWHILE,
        "still offers an attempt",
    ),
    Case(
        "closing of losers",
        "losers are superseded",
        (LOSERS,),
        PAID_MEANWHILE,
        "still offers an attempt",
    ),
    Case(
        "closing of losers",
        "losers are closed",
        (_without_closing_losers,),
        CLOSED_MEANWHILE,
        "was not closed",
    ),
    Case("callback's script", "hush again", (_with_one_hush,), NEWS, "asked after the payment"),
    Case("callback's script", "hush", (_without_hush,), CLICK_AGAIN, "asked after the payment"),
    Case("refund uniqueness", "debt index", (DEBT_INDEX,), HEARD_TWICE, None),
    Case(
        "refund uniqueness",
        "debt index, number and version of settle",
        (DEBT_INDEX, _with_a_number_for_each_debt, VERSION_OF_SETTLE),
        HEARD_TWICE,
        "more was given back than was taken",
    ),
    Case("refund uniqueness", "version of refund", (VERSION_OF_REFUND,), TWO_SWEEPS, None),
    Case("refund uniqueness", "state of refund", (STATE_OF_REFUND,), TWO_SWEEPS, None),
    Case(
        "refund uniqueness",
        "version and state of refund",
        (VERSION_OF_REFUND, STATE_OF_REFUND),
        TWO_SWEEPS,
        "only_legal_moves",
    ),
    Case(
        "refund uniqueness",
        "version, state and moves of refund",
        (VERSION_OF_REFUND, STATE_OF_REFUND, _without_legal_moves),
        TWO_SWEEPS,
        "called again by somebody who had not asked",
    ),
    Case("capture claim", "version of claim", (VERSION_OF_CLAIM,), RIVAL, None),
    Case("capture claim", "order in claim", (ORDER_OF_CLAIM,), RIVAL, None),
    Case(
        "capture claim",
        "version, order and offer in claim",
        (VERSION_OF_CLAIM, ORDER_OF_CLAIM, OFFER_OF_CLAIM),
        RIVAL,
        "begun after the order had ended",
    ),
    Case("capture claim", "claim", (_without_claim,), RIVAL, "begun after the order had ended"),
    Case(
        "capture claim", "claim index", (CLAIM_INDEX,), TWO_PURSES, "our calls debited the buyer by"
    ),
    Case(
        "capture claim",
        "life of a claim",
        (_with_short_claims,),
        TWO_PURSES,
        "our calls debited the buyer by",
    ),
    Case(
        "capture claim",
        "number of a capture",
        (_with_a_number_for_each_call,),
        CALLED_AGAIN,
        "a capture got another id",
    ),
    Case(
        "query before a repeat",
        "query before a repeat",
        (_without_asking_first,),
        LOST_REFUND,
        "called again by somebody who had not asked",
    ),
    Case(
        "version guard",
        "version of merchants' refunds",
        (VERSION_OF_OPEN_REFUND,),
        TWO_REFUNDS,
        "more was given back than was taken",
    ),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_a_guard_that_is_away_is_missed_unless_another_stands_behind_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    for remove in case.away:
        await remove(stage, monkeypatch)
    # What goes wrong does so without a crash; what holds, holds through crashes too.
    explorer = Explorer(stage, case.scene, preemptions=2, crashes=case.fault is None)
    if case.fault is None:
        assert (await explorer.run(_ENOUGH_TO_HOLD)).total > 10
        return
    with pytest.raises(Broken, match=case.fault):
        await explorer.run(_ENOUGH_TO_FIND)
