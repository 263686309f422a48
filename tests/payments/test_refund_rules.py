"""The rules about refunds over their whole domain."""

import itertools
from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.errors import ConfigurationError
from gateway.ids import AttemptId, RefundId
from gateway.model import (
    LEGAL_MOVES,
    Attempt,
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    Refund,
    RefundReason,
    RefundReport,
    RefundState,
    Source,
)
from gateway.money import Money
from gateway.payments.refund_rules import (
    Limits,
    decide_refund,
    left_of,
    over_limit,
    read_limits,
    renumbered,
    why_held,
)
from tests.factories import NOW, PRICE, a_report, an_attempt, an_order

NEWS = (RefundState.SENT, RefundState.DONE, RefundState.FAILED)


def a_refund(state: RefundState = RefundState.SENT, amount: int = PRICE.amount) -> Refund:
    under_way = state in (RefundState.READY, RefundState.SENT)
    return Refund(
        id=RefundId("ref_" + "0" * 26),
        order_id=an_order().id,
        attempt=AttemptId("att_" + "0" * 25 + "2"),
        account="wx",
        reason=RefundReason.SURPLUS,
        number="0" * 25 + "2R1",
        tries=1,
        amount=amount,
        currency="CNY",
        state=state,
        created_at=NOW,
        updated_at=NOW,
        check_at=NOW if under_way else None,
    )


def news(state: RefundState, money: Money | None = PRICE) -> RefundReport:
    return RefundReport("wx", a_refund().number, state, Source.POLL, "ref", money)


def test_every_piece_of_news_has_a_meaning_that_is_a_legal_move() -> None:
    for state, said, money in itertools.product(RefundState, NEWS, (PRICE, None)):
        after = decide_refund(a_refund(state), news(said, money))
        assert after is state or after.value in LEGAL_MOVES["refund"][state.value]


def test_nothing_becomes_done_or_failed_but_by_the_channels_word() -> None:
    for state, said in itertools.product(RefundState, NEWS):
        after = decide_refund(a_refund(state), news(said))
        if after is not state and after is not RefundState.HELD:
            assert after is said


def test_what_is_done_stays_done() -> None:
    for said in NEWS:
        assert decide_refund(a_refund(RefundState.DONE), news(said)) is RefundState.DONE


def test_old_news_that_it_is_under_way_undoes_no_end() -> None:
    for state in RefundState:
        assert decide_refund(a_refund(state), news(RefundState.SENT)) is state


def test_a_refund_that_ended_otherwise_and_was_done_after_all_is_held() -> None:
    for state in (RefundState.FAILED, RefundState.REJECTED):
        assert decide_refund(a_refund(state), news(RefundState.DONE)) is RefundState.HELD


def test_news_of_another_amount_changes_nothing() -> None:
    for state, said, money in itertools.product(
        RefundState, NEWS, (Money(99, "CNY"), Money(100, "USD"))
    ):
        assert decide_refund(a_refund(state), news(said, money)) is state


def test_who_sends_the_news_is_never_read() -> None:
    for state, said in itertools.product(RefundState, NEWS):
        meanings = {
            decide_refund(a_refund(state), replace(news(said), source=source)) for source in Source
        }
        assert len(meanings) == 1


def paid_twice() -> tuple[Order, Attempt, ChannelReport, ChannelReport]:
    winner = an_attempt("1", AttemptState.CAPTURED)
    surplus = an_attempt("2", AttemptState.SURPLUS)
    order = an_order(winner, surplus, state=OrderState.PAID)
    said, winner_said = (
        a_report(each, payment_ref=each.payment_ref or "", money=PRICE)
        for each in (surplus, winner)
    )
    return order, surplus, said, winner_said


def test_surplus_goes_only_when_the_channel_confirms_both_payments() -> None:
    order, surplus, said, winner_said = paid_twice()
    assert why_held(order, surplus, said, winner_said) is None
    assert why_held(order, surplus, said, replace(winner_said, refunded=None)) is None
    for wrong in (
        replace(said, payment_ref="another"),
        replace(said, money=Money(99, "CNY")),
        replace(said, money=Money(100, "USD")),
        replace(said, refunded=1),
        replace(said, refunded=None),
        *(ChannelReport("wx", said.number, o, Source.POLL) for o in Outcome if o != "paid"),
    ):
        assert why_held(order, surplus, wrong, winner_said)
    for winner_wrong in (
        None,
        replace(winner_said, payment_ref="another"),
        *(ChannelReport("wx", said.number, o, Source.POLL) for o in Outcome if o != "paid"),
    ):
        assert why_held(order, surplus, said, winner_wrong)


def test_a_closed_order_has_no_winner_to_confirm() -> None:
    _, surplus, said, _ = paid_twice()
    assert why_held(an_order(surplus, state=OrderState.CLOSED), surplus, said, None) is None


@pytest.mark.parametrize(
    ("amount", "given", "goes"),
    [(100, 0, True), (101, 0, False), (100, 150, True), (100, 151, False), (1, 250, False)],
)
def test_limits_are_inclusive(amount: int, given: int, goes: bool) -> None:
    above = over_limit(a_refund(amount=amount), Limits(one=100, a_day=250), given)
    assert (above is None) is goes


def test_limits_have_defaults_and_are_whole_minor_units() -> None:
    assert read_limits({}) == Limits(100_000, 1_000_000)
    assert read_limits({"refund_limit": "0", "refund_daily_limit": "5"}) == Limits(0, 5)
    for wrong in ("-1", "1.5", "", "ten", "１"):
        with pytest.raises(ConfigurationError, match="refund_limit"):
            read_limits({"refund_limit": wrong})


def test_another_try_has_another_number_and_was_let_go_by_nobody() -> None:
    failed = replace(
        a_refund(RefundState.FAILED),
        released_at=NOW,
        asked_by="op_1",
        approved_by="op_2",
        sent_at=NOW,
    )
    for tries in (2, 3, 11):
        again = renumbered(replace(failed, tries=tries - 1), "again", NOW + timedelta(minutes=1))
        assert again.number == "0" * 25 + f"2R{tries}"
        assert again.waits
        nobody = (again.released_at, again.asked_by, again.approved_by, again.sent_at)
        assert nobody == (None,) * 4


def test_only_what_went_or_may_go_of_the_merchants_refunds_counts() -> None:
    order = an_order()
    for state, reason in itertools.product(RefundState, RefundReason):
        refund = replace(a_refund(state, amount=30), reason=reason)
        counts = reason is RefundReason.MERCHANT and state.value not in ("failed", "rejected")
        assert left_of(order, [refund]) == (70 if counts else 100)
