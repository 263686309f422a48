"""What we do about an approval, one at a time; `tests/schedules` shows it among rivals.

The channel is the purse of `tests.schedules.tills`.
"""

import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Concatenate, Final, ParamSpec, TypeVar, cast

import asyncpg
import pytest
import structlog
from msgspec.structs import replace
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.channels.base import CaptureRequest, CloseResult
from gateway.db import capture_moves
from gateway.db.orders import Connection
from gateway.errors import ChannelDown, ChannelUnavailable, OrderAlreadyPaid
from gateway.model import Attempt, AttemptState, ChannelReport, Order, OrderState, Outcome, Source
from gateway.payments import capturing
from gateway.payments.capturing import FORGOTTEN_S, go_on
from gateway.payments.closing import close_order
from gateway.payments.desk import Desk
from gateway.payments.settle import Settled
from tests.factories import NOW, an_attempt, an_order
from tests.schedules.ledger import FirstCapture, Lost
from tests.schedules.stage import MERCHANT, Stage, staged
from tests.schedules.tills import NATIVE, PURSE_HERE, PURSE_THERE, Till, ref_of

PAUSE_S: Final = 60
CALL_S: Final = 6
P = ParamSpec("P")
T = TypeVar("T")
NOBODY: Final = cast(Desk, None)  # whoever looks for anything fails


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """A gateway with an order that the buyer may let us debit."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    try:
        async with staged(database_url, redis_url, monkeypatch) as built:
            await built.new_order()
            await built.applied_before(PURSE_HERE)
            yield built
            await built.errands_are_done()
    finally:
        structlog.configure(**before)


async def approve(stage: Stage) -> Settled:
    """The buyer approves the last attempt, and the channel says so."""
    attempt = (await stage.attempts())[-1]
    stage.ledger.approve(attempt.number)
    return await hear(stage, attempt)


async def hear(stage: Stage, attempt: Attempt) -> Settled:
    report = stage.ledger.report(attempt.account, attempt.number, Source.POLL)
    return await go_on(stage.raw, await stage.raw.settle(report), report)


async def only(stage: Stage) -> Attempt:
    (attempt,) = await stage.attempts()
    return attempt


async def claim_before(stage: Stage, seconds: float) -> datetime:
    """Let the claim be so old; returns since when it is there."""
    return cast(
        datetime,
        await stage.pool.fetchval(
            "UPDATE attempts SET capture_claimed_at = now() - $2 * interval '1 second' "
            "WHERE id = $1 RETURNING capture_claimed_at",
            (await only(stage)).id,
            seconds,
        ),
    )


def said(attempt: Attempt, outcome: Outcome) -> ChannelReport:
    money = attempt.money if outcome is Outcome.PAID else None
    ref = "ref" if outcome is Outcome.PAID else None
    return ChannelReport(attempt.account, attempt.number, outcome, Source.POLL, ref, money)


def asked_in_s(attempt: Attempt) -> float:
    assert attempt.ask_at is not None
    return (attempt.ask_at - attempt.updated_at).total_seconds()


def calls_counted(verb: str = "capture") -> float:
    labels = {"channel": "purse", "verb": verb, "result": "answered"}
    return REGISTRY.get_sample_value("payonce_channel_call_seconds_count", labels) or 0


def requests(stage: Stage) -> list[CaptureRequest]:
    return [debit.request for debit in stage.ledger.debits]


def moving(
    stage: Stage, write: Callable[Concatenate[Connection, Order, P], Awaitable[T]], times: int
) -> tuple[list[int], Callable[Concatenate[Connection, Order, P], Awaitable[T]]]:
    """A write before which a rival writes so many times; and the versions that it was told."""
    told: list[int] = []

    async def moved(conn: Connection, order: Order, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if len(told) < times:
            await stage.pool.execute("UPDATE orders SET version = version + 1")
        told.append(order.version)
        return await write(conn, order, *args, **kwargs)

    return told, moved


async def test_what_the_buyer_approved_is_debited_and_pays_the_order(stage: Stage) -> None:
    attempt, before = await only(stage), calls_counted()
    with capture_logs() as lines:
        settled = await approve(stage)
    assert settled.order == await stage.read()
    assert settled.order.state is OrderState.PAID
    assert settled.attempt.state is AttemptState.CAPTURED
    number = attempt.number
    assert requests(stage) == [CaptureRequest(number, ref_of(number), f"{number}C1", attempt.money)]
    assert calls_counted() == before + 1
    (line,) = (each for each in lines if each["event"] == "capture_claimed")
    assert (line["order"], line["attempt"]) == (stage.order, attempt.id)


@pytest.mark.parametrize("outcome", [Outcome.UNPAID, Outcome.PROCESSING, Outcome.DECLINED])
async def test_what_the_buyer_did_not_approve_is_not_debited(
    stage: Stage, outcome: Outcome
) -> None:
    attempt = await only(stage)
    stage.ledger.approve(attempt.number)
    before = Settled(await stage.read(), attempt, moved=False)
    assert await go_on(NOBODY, before, said(attempt, outcome)) == before
    assert not requests(stage)


async def test_a_channel_that_debits_by_itself_is_told_nothing(stage: Stage) -> None:
    await stage.new_order()
    await stage.applied_before(NATIVE)
    attempt = await only(stage)
    before = Settled(await stage.read(), attempt, moved=False)
    assert await go_on(stage.raw, before, said(attempt, Outcome.APPROVED)) == before
    assert await stage.read() == before.order


async def test_without_a_usable_account_nothing_is_claimed(stage: Stage) -> None:
    order = await stage.read()
    attempt = replace(await only(stage), account="gone")
    before = Settled(order, attempt, moved=False)
    assert await go_on(stage.raw, before, said(attempt, Outcome.APPROVED)) == before
    assert await stage.read() == order


async def test_a_capture_without_an_answer_is_asked_about_and_repeated_under_its_id(
    stage: Stage,
) -> None:
    stage.ledger.misbehave(Lost.BEFORE)
    before = await only(stage)
    with capture_logs() as lines:
        settled = await approve(stage)
    assert settled.attempt == before
    claimed = await only(stage)
    assert claimed.capture_claimed_at == claimed.updated_at
    assert asked_in_s(claimed) == CALL_S
    (line,) = (each for each in lines if each["event"] == "capture_unanswered")
    assert line["attempt"] == before.id
    assert "lost" in line["error"]
    assert await hear(stage, before) is not None
    assert len(requests(stage)) == 1  # the call may still be on its way
    await claim_before(stage, CALL_S)
    stage.ledger.first_capture = FirstCapture.PENDS
    await hear(stage, before)
    again = await only(stage)
    assert asked_in_s(again) == PAUSE_S
    first, second = requests(stage)
    assert first == second


async def test_a_refused_capture_is_given_up_at_once_and_the_next_one_is_another(
    stage: Stage,
) -> None:
    stage.ledger.first_capture = FirstCapture.IS_REFUSED
    attempt = await only(stage)
    with capture_logs() as lines:
        settled = await approve(stage)
    assert settled.attempt == attempt
    after = await only(stage)
    assert (after.state, after.captures) == (AttemptState.PAYING, 1)
    assert after.capture_claimed_at is None
    assert asked_in_s(after) == PAUSE_S
    told = {line["event"]: line for line in lines}
    assert told["capture_refused"]["attempt"] == attempt.id
    assert told["capture_refused"]["code"] == "NO_FUNDS"
    assert (told["capture_dropped"]["order"], told["capture_dropped"]["attempt"]) == (
        stage.order,
        attempt.id,
    )
    assert (await approve(stage)).order.state is OrderState.PAID
    assert [each.request_id[-2:] for each in requests(stage)] == ["C1", "C2"]


async def test_one_attempt_of_an_order_is_debited_at_a_time(stage: Stage) -> None:
    """F37: it was offered no longer, and may be being debited all the same."""
    stage.ledger.misbehave(Lost.BEFORE, unclosable=True)
    await approve(stage)
    stage.patience.let_pass(40)
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(PURSE_THERE)
    settled = await approve(stage)
    assert settled.attempt.capture_claimed_at is None
    assert len(requests(stage)) == 1


@pytest.mark.parametrize(
    ("age_s", "outcome", "kept"),
    [
        pytest.param(FORGOTTEN_S - 30, Outcome.UNPAID, True, id="too young"),
        pytest.param(FORGOTTEN_S, Outcome.UNPAID, False, id="old"),
        pytest.param(FORGOTTEN_S, Outcome.CLOSED, False, id="old, and closed"),
        pytest.param(FORGOTTEN_S, Outcome.PROCESSING, True, id="on its way"),
        pytest.param(FORGOTTEN_S, Outcome.PAID, True, id="paid"),
    ],
)
async def test_a_claim_is_given_up_when_long_after_it_nothing_was_debited(
    stage: Stage, age_s: float, outcome: Outcome, kept: bool
) -> None:
    claimed_at = await claim_before(stage, age_s)
    attempt = await only(stage)
    before = Settled(await stage.read(), attempt, moved=False)
    assert await go_on(stage.raw, before, said(attempt, outcome)) == before
    after = await only(stage)
    assert after.capture_claimed_at == (claimed_at if kept else None)
    assert after.captures == 0
    if not kept:
        assert asked_in_s(after) == PAUSE_S


async def test_an_approval_that_comes_when_the_order_is_paid_ends_an_old_claim(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F37: a worker that died after its claim comes back when a rival has paid."""
    await stage.new_order()
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(NATIVE)
    await stage.applied_before(PURSE_HERE)
    rival, attempt = await stage.attempts()
    await stage.paid_before(rival.number)
    await stage.pool.execute(
        "UPDATE attempts SET capture_claimed_at = now() - interval '2 minutes' WHERE id = $1",
        attempt.id,
    )
    told, claim = moving(stage, capture_moves.claim, 0)
    monkeypatch.setattr(capture_moves, "claim", claim)
    await approve(stage)
    assert not told  # not even the database is asked for the right
    assert (await stage.read()).attempt(attempt.id).capture_claimed_at is None
    assert not requests(stage)


@pytest.mark.parametrize("state", [AttemptState.CAPTURED, AttemptState.CLOSED])
async def test_a_claim_of_what_has_ended_is_history(state: AttemptState) -> None:
    attempt = replace(an_attempt("1", state), capture_claimed_at=NOW)
    settled = Settled(an_order(attempt), attempt, moved=False)
    assert await go_on(NOBODY, settled, said(attempt, Outcome.UNPAID)) == settled


async def test_a_claim_that_is_another_one_by_now_is_left_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, drop = moving(stage, capture_moves.drop, 0)
    monkeypatch.setattr(capture_moves, "drop", drop)
    await claim_before(stage, FORGOTTEN_S + 60)
    stale = Settled(await stage.read(), await only(stage), moved=False)
    claimed_at = await claim_before(stage, FORGOTTEN_S)
    report = said(stale.attempt, Outcome.UNPAID)
    assert await go_on(stage.raw, stale, report) == stale
    assert (await only(stage)).capture_claimed_at == claimed_at
    await stage.pool.execute("UPDATE attempts SET capture_claimed_at = NULL")
    before = await stage.read()
    assert await go_on(stage.raw, stale, report) == stale
    assert await stage.read() == before
    assert not told  # not even the database is asked to


@pytest.mark.parametrize(("rivals", "claims"), [(3, True), (4, False)])
async def test_a_claim_is_tried_again_where_a_rival_wrote_but_not_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, rivals: int, claims: bool
) -> None:
    told, claim = moving(stage, capture_moves.claim, rivals)
    monkeypatch.setattr(capture_moves, "claim", claim)
    assert (await approve(stage)).attempt.state.holds_money == claims
    assert len(told) == len(set(told)) == 4


@pytest.mark.parametrize(("rivals", "drops"), [(3, True), (4, False)])
async def test_a_claim_is_given_up_again_where_a_rival_wrote_but_not_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, rivals: int, drops: bool
) -> None:
    stage.ledger.first_capture = FirstCapture.IS_REFUSED
    told, drop = moving(stage, capture_moves.drop, rivals)
    monkeypatch.setattr(capture_moves, "drop", drop)
    await approve(stage)
    assert ((await only(stage)).capture_claimed_at is None) == drops
    assert len(told) == len(set(told)) == 4


async def test_a_rival_that_is_faster_leaves_nothing_to_claim(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def superseded(*_: object, **__: object) -> None:
        await stage.pool.execute(
            "WITH moved AS (UPDATE orders SET version = version + 1) "
            "UPDATE attempts SET superseded = true"
        )

    monkeypatch.setattr(capture_moves, "claim", superseded)
    assert (await approve(stage)).attempt.capture_claimed_at is None
    assert not requests(stage)


async def test_an_index_that_forbids_the_claim_is_asked_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    async def forbidden(*_: object, **__: object) -> None:
        tries.append(1)
        raise asyncpg.UniqueViolationError

    monkeypatch.setattr(capture_moves, "claim", forbidden)
    await approve(stage)
    assert (tries, requests(stage)) == ([1], [])


def test_only_what_the_order_is_to_be_paid_by_is_debited() -> None:
    def to_be_debited(order: Order, attempt: Attempt) -> bool:
        return capturing._is_to_be_debited(order, attempt, NOW)

    attempt = an_attempt()
    order = an_order(attempt)
    moment = timedelta(microseconds=1)
    called_at = NOW - timedelta(seconds=CALL_S)
    assert to_be_debited(order, attempt)
    assert to_be_debited(replace(order, expires_at=NOW + moment), attempt)
    assert to_be_debited(order, replace(attempt, capture_claimed_at=called_at))
    for other in (
        replace(order, state=OrderState.PAID),
        replace(order, state=OrderState.CLOSED),
        replace(order, expires_at=NOW),
    ):
        assert not to_be_debited(other, attempt)
    for another in (
        replace(attempt, superseded=True),
        replace(attempt, state=AttemptState.CREATED),
        replace(attempt, capture_claimed_at=called_at + moment),
        replace(attempt, capture_claimed_at=NOW),
    ):
        assert not to_be_debited(order, another)


def test_a_claim_is_dropped_when_it_is_still_that_one_and_old_enough() -> None:
    def to_be_dropped(claimed_at: datetime | None, now: datetime) -> bool:
        claimed = replace(an_attempt(), capture_claimed_at=NOW)
        attempt = replace(claimed, capture_claimed_at=claimed_at)
        return capturing._is_to_be_dropped(attempt, claimed, now, after_s=60)

    then, moment = NOW + timedelta(seconds=60), timedelta(microseconds=1)
    assert to_be_dropped(NOW, then)
    assert not to_be_dropped(NOW, then - moment)
    assert not to_be_dropped(NOW + moment, then)
    assert not to_be_dropped(None, then)


async def test_an_order_that_the_buyer_only_approved_can_be_closed(stage: Stage) -> None:
    stage.ledger.misbehave(unclosable=True)
    attempt = await only(stage)
    stage.ledger.approve(attempt.number)
    closed = await close_order(stage.raw, stage.order, MERCHANT)
    assert closed.state is OrderState.CLOSED
    assert (await hear(stage, attempt)).attempt.state is AttemptState.PAYING
    assert not requests(stage)


async def test_an_order_that_is_being_debited_is_not_closed(stage: Stage) -> None:
    stage.ledger.misbehave(Lost.AFTER)
    await approve(stage)
    with pytest.raises(OrderAlreadyPaid):
        await close_order(stage.raw, stage.order, MERCHANT)


async def test_an_order_that_may_be_being_debited_is_not_closed(stage: Stage) -> None:
    stage.ledger.misbehave(Lost.BEFORE)
    await approve(stage)
    with pytest.raises(ChannelDown):
        await close_order(stage.raw, stage.order, MERCHANT)


@pytest.mark.parametrize("state", AttemptState)
async def test_what_is_approved_when_its_attempt_has_ended_is_let_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, state: AttemptState
) -> None:
    told: list[tuple[str, str]] = []

    async def close(_till: Till, number: str, channel_ref: str = "") -> CloseResult:
        told.append((number, channel_ref))
        return CloseResult.CLOSED

    monkeypatch.setattr(Till, "close", close)
    order, before = await stage.read(), calls_counted("close")
    attempt = replace(order.attempts[0], state=state, superseded=True)
    settled = Settled(replace(order, attempts=(attempt,)), attempt, moved=False)
    await stage.pool.execute("UPDATE attempts SET superseded = true")
    assert await go_on(stage.raw, settled, said(attempt, Outcome.APPROVED)) == settled
    ended = state in (AttemptState.CLOSED, AttemptState.DECLINED)
    assert told == [(attempt.number, ref_of(attempt.number))] * ended
    assert calls_counted("close") == before + ended
    assert not requests(stage)


async def test_what_cannot_be_let_go_ends_by_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close(*_: object) -> CloseResult:
        raise ChannelUnavailable("it is away")

    monkeypatch.setattr(Till, "close", close)
    order = await stage.read()
    attempt = replace(order.attempts[0], state=AttemptState.CLOSED)
    settled = Settled(order, attempt, moved=False)
    with capture_logs() as lines:
        assert await go_on(stage.raw, settled, said(attempt, Outcome.APPROVED)) == settled
    (line,) = lines
    assert (line["event"], line["attempt"]) == ("approval_not_let_go", attempt.id)
    assert line["error"] == "it is away"
    gone = replace(settled, attempt=replace(attempt, account="gone"))
    assert await go_on(stage.raw, gone, said(attempt, Outcome.APPROVED)) == gone


async def test_who_begins_to_call_too_late_after_the_claim_does_not_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.cycle((0.0, capturing._BEGIN_WITHIN_S))
    monkeypatch.setattr(capturing, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    await approve(stage)
    assert not requests(stage)
