"""decide() over its whole domain, and that the database allows exactly the same moves."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

from gateway.model import (
    BIRTHS,
    LEGAL_MOVES,
    Attempt,
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    RefundState,
    Source,
)
from gateway.money import Money
from gateway.payments.announcing import EventType
from gateway.payments.settle import Verdict, decide
from tests.factories import NOW, PRICE, a_report, an_attempt, an_order

AFTER_LIFE = NOW + timedelta(hours=2)
END_OF_LIFE = NOW + timedelta(hours=1)
MONEYS = (PRICE, Money(99, "CNY"), Money(100, "USD"))


def domain() -> Iterator[tuple[Order, Attempt, ChannelReport, datetime]]:
    """Yield every kind of order, attempt, report and moment that decide() can be shown."""
    for state, order_state, rival_captured, claimed_at in itertools.product(
        AttemptState, OrderState, (False, True), (None, NOW)
    ):
        attempt = replace(an_attempt("1", state), capture_claimed_at=claimed_at)
        captured = (state is AttemptState.CAPTURED) + rival_captured
        if captured != (order_state is OrderState.PAID):
            continue  # such an order cannot be in the database
        rival_state = AttemptState.CAPTURED if rival_captured else AttemptState.CLOSED
        rival = an_attempt("2", rival_state)
        elsewhere = replace(an_attempt("3", AttemptState.SURPLUS), account="ali")
        order = an_order(attempt, rival, elsewhere, state=order_state)
        for outcome, now in itertools.product(Outcome, (NOW, AFTER_LIFE)):
            if outcome is not Outcome.PAID:
                yield order, attempt, a_report(attempt, outcome), now
                continue
            for ref, money, refunded in itertools.product(
                ("ref-new", "ref-1", "ref-2", "ref-3"), MONEYS, (0, None, 40, 99, 100, 101)
            ):
                yield (
                    order,
                    attempt,
                    a_report(attempt, payment_ref=ref, money=money, refunded=refunded),
                    now,
                )


CASES = list(domain())


def test_every_report_has_a_verdict() -> None:
    assert len(CASES) > 1000
    for order, attempt, report, now in CASES:
        assert isinstance(decide(order, attempt, report, now), Verdict)


def test_the_source_is_never_read() -> None:
    for order, attempt, report, now in CASES:
        verdicts = {
            decide(order, attempt, replace(report, source=source), now) for source in Source
        }
        assert len(verdicts) == 1


def test_money_is_recorded_in_every_state() -> None:
    for order, attempt, report, now in CASES:
        if report.outcome is not Outcome.PAID:
            continue
        verdict = decide(order, attempt, report, now)
        assert is_known(order, report) or verdict.sibling or verdict.attempt.holds_money


def is_known(order: Order, report: ChannelReport) -> bool:
    """Is that payment recorded? Another account may use the same words for another payment."""
    recorded = {(each.account, each.payment_ref) for each in order.attempts}
    return (report.account, report.payment_ref) in recorded


def test_a_payment_that_is_recorded_is_no_news() -> None:
    for order, attempt, report, now in CASES:
        if report.outcome is Outcome.PAID and is_known(order, report):
            unchanged = Verdict(attempt.state, order.state)
            assert decide(order, attempt, report, now) == unchanged


def test_an_order_becomes_paid_by_its_price_in_full_while_it_is_open_and_in_no_other_way() -> None:
    for order, attempt, report, now in CASES:
        pays = (
            report.outcome is Outcome.PAID
            and not is_known(order, report)
            and not attempt.state.holds_money
            and order.state is OrderState.OPEN
            and (report.money, report.refunded) == (order.money, 0)
        )
        verdict = decide(order, attempt, report, now)
        captured = Verdict(AttemptState.CAPTURED, OrderState.PAID, EventType.ORDER_PAID)
        assert (verdict == captured) == pays
        assert pays or verdict.order is order.state


def test_money_that_arrived_is_never_undone_by_later_news() -> None:
    """F11: whatever comes late, "failed", "closed" or an older state."""
    for order, attempt, report, now in CASES:
        if attempt.state.holds_money:
            assert decide(order, attempt, report, now).attempt is attempt.state


def test_surplus_is_told_and_owed_back_from_the_moment_it_is_known() -> None:
    for order, attempt, report, now in CASES:
        verdict = decide(order, attempt, report, now)
        becomes_surplus = verdict.attempt is AttemptState.SURPLUS is not attempt.state
        surplus = verdict.sibling or becomes_surplus
        assert (verdict.event is EventType.ATTEMPT_SURPLUS) == surplus
        assert (verdict.refund is not None) == surplus
        if verdict.refund is not None:
            assert report.money is not None
            given_back = report.refunded is not None and report.refunded >= report.money.amount
            assert verdict.refund is (RefundState.DONE if given_back else RefundState.HELD)


def test_only_the_plain_price_is_given_back_without_a_person() -> None:
    for order, attempt, report, now in CASES:
        verdict = decide(order, attempt, report, now)
        plain = (report.money, report.refunded) == (attempt.money, 0)
        assert verdict.releasable is (verdict.refund is not None and plain)


@pytest.mark.parametrize("state", AttemptState)
@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.CLOSED])
def test_an_attempt_ends_on_the_word_of_its_channel_unless_it_has_ended(
    state: AttemptState, outcome: Outcome
) -> None:
    attempt = an_attempt("1", state)
    order = an_order(attempt)
    ends = AttemptState(outcome.value) if state.live else state
    assert decide(order, attempt, a_report(attempt, outcome), NOW) == Verdict(ends, order.state)


@pytest.mark.parametrize("outcome", [Outcome.UNPAID, Outcome.NOT_FOUND, Outcome.APPROVED])
def test_an_attempt_ends_by_time_only_when_the_channel_says_unpaid_after_live_until(
    outcome: Outcome,
) -> None:
    attempt = an_attempt()
    report = a_report(attempt, outcome)
    for moment, state in (
        (END_OF_LIFE - timedelta(microseconds=1), AttemptState.PAYING),
        (END_OF_LIFE, AttemptState.CLOSED),
        (AFTER_LIFE, AttemptState.CLOSED),
    ):
        assert decide(an_order(attempt), attempt, report, moment).attempt is state


def test_money_on_its_way_keeps_an_attempt_alive_for_ever() -> None:
    attempt = an_attempt()
    report = a_report(attempt, Outcome.PROCESSING)
    verdict = decide(an_order(attempt), attempt, report, AFTER_LIFE)
    assert verdict == Verdict(AttemptState.PAYING, OrderState.OPEN)


def test_what_may_be_being_debited_ends_only_with_money() -> None:
    for order, attempt, report, now in CASES:
        if attempt.capture_claimed_at is not None and report.outcome is not Outcome.PAID:
            assert decide(order, attempt, report, now).attempt is attempt.state


async def test_the_rules_and_the_database_allow_the_same_moves(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        rows = await conn.fetch("SELECT noun, from_state, to_state FROM legal_moves")
    in_sql = {tuple(row) for row in rows}
    in_python = {
        (noun, from_state, to_state)
        for noun, moves in LEGAL_MOVES.items()
        for from_state, ends in moves.items()
        for to_state in ends
    } | {(noun, "none", state) for noun, states in BIRTHS.items() for state in states}
    assert in_sql == in_python


def test_decide_makes_every_legal_move_of_an_attempt_and_no_other() -> None:
    made = {
        (attempt.state.value, verdict.attempt.value)
        for order, attempt, report, now in CASES
        for verdict in (decide(order, attempt, report, now),)
        if verdict.attempt is not attempt.state
    }
    legal = {(a, b) for a, ends in LEGAL_MOVES["attempt"].items() for b in ends}
    # `created -> paying` is the channel's answer to create, which is not a report.
    assert made == legal - {("created", "paying")}
