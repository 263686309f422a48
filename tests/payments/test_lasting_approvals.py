"""An approval that does not become money for long: a person is told, and the bank is left alone."""

import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from gateway.db import capture_moves
from gateway.model import AttemptState
from gateway.payments import capturing
from gateway.payments.asking import ask_overdue
from tests.payments.test_capturing import PAUSE_S, asked_in_s, only, stage
from tests.schedules.ledger import FirstCapture, Lost
from tests.schedules.stage import Stage

__all__ = ["stage"]


async def ask_now(stage: Stage) -> None:
    await stage.pool.execute("UPDATE attempts SET ask_at = now()")
    await ask_overdue(stage.raw, 10)


@pytest.mark.parametrize(("asks", "worries"), [(0, False), (1, True)])
@pytest.mark.parametrize("how", ["unanswered", "refused"])
async def test_after_the_ladder_a_person_is_told(
    stage: Stage, how: str, asks: int, worries: bool
) -> None:
    """The purse's ladder has two rungs."""
    if how == "unanswered":
        stage.ledger.misbehave(Lost.BEFORE)
    else:
        stage.ledger.first_capture = FirstCapture.IS_REFUSED
    stage.ledger.approve((await only(stage)).number)
    await stage.pool.execute("UPDATE attempts SET asks = $1", asks)
    await ask_now(stage)
    after = await only(stage)
    assert (after.state, after.needs_attention) == (AttemptState.PAYING, worries)


async def test_who_needed_a_person_still_does_when_it_is_claimed_again(stage: Stage) -> None:
    stage.ledger.misbehave(Lost.BEFORE)
    stage.ledger.approve((await only(stage)).number)
    await stage.pool.execute("UPDATE attempts SET needs_attention = true")
    await ask_now(stage)
    assert (await only(stage)).needs_attention


@pytest.mark.parametrize(("stood_still_s", "calls"), [(29, 1), (31, 0)])
async def test_who_stood_still_after_the_claim_does_not_call_any_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, stood_still_s: int, calls: int
) -> None:
    """A minute after the claim a rival may be debited, because this one is taken for dead."""
    stood = 0.0
    claim = capture_moves.claim

    async def stand_still(*said: object, **more: object) -> datetime | None:
        nonlocal stood
        claimed_at = await claim(*said, **more)  # type: ignore[arg-type]
        stood = stood_still_s
        return claimed_at

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + stood)
    monkeypatch.setattr(capture_moves, "claim", stand_still)
    monkeypatch.setattr(capturing, "time", clock)
    stage.ledger.approve((await only(stage)).number)
    await ask_now(stage)
    assert len(stage.ledger.debits) == calls
    assert (await only(stage)).capture_claimed_at is not None


async def test_who_is_refused_again_and_again_is_tried_less_and_less(stage: Stage) -> None:
    """An order may be open for weeks, and banks count how often a card is tried."""
    stage.ledger.first_capture = FirstCapture.IS_REFUSED
    attempt = await only(stage)
    stage.ledger.approve(attempt.number)
    waits = []
    for refusals in range(9):
        await ask_now(stage)
        after = await only(stage)
        assert after.captures == refusals + 1
        waits.append(asked_in_s(after) / PAUSE_S)
        stage.ledger.entries[attempt.number].refused.clear()
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]
