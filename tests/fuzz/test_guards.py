"""Without a guard something goes wrong, and the machine finds it: so it would see it otherwise."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

import pytest
from hypothesis import Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from msgspec import Struct
from msgspec.structs import replace

from gateway.db import capture_moves, moves
from gateway.locks.claims import Claims
from gateway.model import Attempt, ChannelReport, Order, OrderState
from gateway.payments import capturing, refund_requests, settle
from tests.fuzz.machine import Machine
from tests.fuzz.test_machine import FUZZ
from tests.fuzz.world import Broken
from tests.payments.refunds import unguard

# What is looked for is found, not made short.
SEARCH: Final = settings(FUZZ, max_examples=100, derandomize=True, phases=(Phase.generate,))

Remove = Callable[[pytest.MonkeyPatch], None]


def _one_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    unguard(monkeypatch, moves, "_SETTLE", "AND version = $7", "AND $7::bigint > 0")


def _losers_are_superseded(monkeypatch: pytest.MonkeyPatch) -> None:
    unguard(monkeypatch, moves, "_SETTLE", "SET superseded = true", "SET superseded = a.superseded")


def _cached_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Claims, "hush", nothing)
    monkeypatch.setattr(Claims, "conclude", nothing)


def _money_always_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = settle._decide_paid

    def unless_it_ended(order: Order, attempt: Attempt, report: ChannelReport) -> settle.Verdict:
        if order.state is not OrderState.OPEN:
            return settle.Verdict(attempt.state, order.state)
        return decide(order, attempt, report)

    monkeypatch.setattr(settle, "_decide_paid", unless_it_ended)


def _what_ended_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = settle._moved

    def for_good(
        attempt: Attempt, report: ChannelReport, verdict: settle.Verdict, now: datetime
    ) -> Attempt:
        return replace(moved(attempt, report, verdict, now), ask_at=None)

    monkeypatch.setattr(settle, "_moved", for_good)


def _no_more_than_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refund_requests, "left_of", lambda order, _known: order.amount)


def _capture_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    for guard, instead in (
        ("AND version = $3 AND state = 'open' AND expires_at > now()", "AND $3::bigint > 0"),
        ("AND NOT superseded", ""),
    ):
        unguard(monkeypatch, capture_moves, "_CLAIM", guard, instead)
    monkeypatch.setattr(capturing, "_is_to_be_debited", lambda *_: True)


class Case(Struct, frozen=True):
    """A guard, what takes it away, and what is then found, one or the other; `index` is dropped
    with it.
    """

    guard: str
    remove: Remove
    found: str
    index: str | None = None


CASES: Final = (
    Case("one winner", _one_winner, "paid twice|paid was told", "one_captured_per_order"),
    Case("losers are superseded", _losers_are_superseded, "and offers 1 attempts"),
    Case("cached answers are forgotten", _cached_answers_are_forgotten, "asked when the order was"),
    Case("money always wins", _money_always_wins, "was paid and is not recorded"),
    Case("what ended is asked again", _what_ended_is_asked_again, "was paid and is not recorded"),
    Case("capture claim", _capture_claim, "to be debited after the order had ended"),
    Case("no more than captured", _no_more_than_captured, "gave back"),
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=[case.guard for case in CASES])
def test_a_guard_that_is_away_is_missed(
    machine: type[Machine], monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    case.remove(monkeypatch)
    if case.index is not None:
        pool = machine.world.desk.pool
        machine.runner.run(pool.execute(f"DROP INDEX {case.index}"))
    with pytest.raises((Broken, Flaky)):
        run_state_machine_as_test(machine, settings=SEARCH)
    assert re.search(case.found, machine.world.broken[0])
