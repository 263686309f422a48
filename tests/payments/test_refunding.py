"""Surplus money goes back under risk control; what is not plain waits for a person."""

import asyncpg
import pytest

from gateway.model import OrderState, RefundReport, RefundState, Source
from gateway.payments.closing import close_order
from gateway.payments.settle import UnknownNumber
from tests.payments.refunds import (
    carry_on,
    entries,
    finish,
    give_back_by_hand,
    limit,
    must_be_given_back_once,
    only_refund,
    paid_twice,
    shown,
    told,
    traits,
    until_owed,
    until_refund,
)
from tests.payments.test_settling import number_in, paid, two_attempts
from tests.rig import ACCOUNT, MERCHANT, PRICE, Rig, StartRig, until


async def test_a_surplus_is_given_back_and_the_order_stays_paid(start_rig: StartRig) -> None:
    """F21: the refund's callback ends the refund and nothing else."""
    rig = await start_rig(worker=True)
    owed = await paid_twice(rig)
    done = await until_refund(rig, owed.order, RefundState.DONE)
    await must_be_given_back_once(rig, owed)
    event = await rig.receiver.wait_for("refund.done", owed.order.id)
    assert event.version == (await rig.read(owed.order)).version
    assert await told(rig, owed.order) == ["order.paid", "attempt.surplus", "refund.done"]
    assert await shown(rig, owed.order) == "returned"
    assert done.refund_ref is not None
    assert done.number == (await rig.read(owed.order)).attempt(done.attempt).number + "R1"


async def test_the_journal_tells_how_the_money_went_back(rig: Rig) -> None:
    owed = await paid_twice(rig)
    assert await shown(rig, owed.order) == "returning"
    await finish(rig, owed.order)
    rows = await rig.desk.pool.fetch(
        "SELECT from_state, to_state FROM journal WHERE noun = 'refund' ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("none", "held"),
        ("held", "ready"),
        ("ready", "sent"),
        ("sent", "done"),
    ]


async def test_a_surplus_of_a_closed_order_is_given_back_though_there_is_no_winner(
    rig: Rig,
) -> None:
    """F35: of its two queries there is one to ask."""
    await rig.faults(close="paid_race", refund_takes_s=0.0)
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await close_order(rig.desk, order.id, MERCHANT)
    await rig.pay(number)
    await until_owed(rig, order)
    await finish(rig, order)
    assert (await entries(rig))[number].refunded == PRICE
    assert (await rig.read(order)).state is OrderState.CLOSED


async def test_a_second_payment_under_one_number_waits_for_a_person(rig: Rig) -> None:
    """F33: a query by our number answers the first payment, so the machine cannot look twice."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.pay(number)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(number, again=True)
    await until_owed(rig, order)
    await carry_on(rig)
    assert (await only_refund(rig, order)).waits
    assert await shown(rig, order) == "held"
    assert (await entries(rig))[number].refunds == []


async def test_a_wrong_amount_is_never_given_back_by_a_machine(rig: Rig) -> None:
    """F22."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.pay(number, amount=PRICE - 1)
    refund = await until_owed(rig, order)
    await carry_on(rig)
    assert refund.waits
    assert await told(rig, order) == ["attempt.surplus", "refund.held"]
    assert await rig.calls("refund") == {}


async def test_a_merchant_can_switch_the_machine_off(rig: Rig) -> None:
    await rig.desk.pool.execute("UPDATE merchants SET surplus_refunds = 'held'")
    owed = await paid_twice(rig)
    await carry_on(rig)
    assert (await only_refund(rig, owed.order)).waits
    assert await told(rig, owed.order) == ["order.paid", "attempt.surplus", "refund.held"]
    assert await rig.calls("refund") == {}


async def test_a_channel_that_cannot_refund_makes_a_manual_case(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F27: the money goes back by hand, and the channel is not called."""
    owed = await paid_twice(rig)
    traits(monkeypatch, refunds=False)
    await carry_on(rig)
    assert (await only_refund(rig, owed.order)).waits
    assert await rig.calls("refund") == {}


async def test_what_was_given_back_at_the_channel_meanwhile_waits_for_a_person(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await give_back_by_hand(rig, owed.surplus, amount=40)
    await carry_on(rig)
    refund = await only_refund(rig, owed.order)
    assert refund.waits
    assert refund.note is not None
    assert "given back already" in refund.note
    assert await rig.calls("refund") == {"BYHAND": 1}


async def test_a_winner_that_the_channel_does_not_know_as_paid_keeps_the_surplus_here(
    rig: Rig,
) -> None:
    """Were the recorded winner never paid, the surplus would be all the money that there is."""
    order, winner, surplus = await two_attempts(rig)
    await rig.desk.settle(paid(winner, "never-paid"))
    await rig.pay(surplus)
    await until_owed(rig, order)
    await carry_on(rig)
    assert (await only_refund(rig, order)).waits
    assert (await entries(rig))[surplus].refunds == []


async def test_a_winner_that_was_refunded_since_does_not_keep_the_surplus_here(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await give_back_by_hand(rig, owed.winner, amount=PRICE)
    await finish(rig, owed.order)
    assert (await entries(rig))[owed.surplus].refunded == PRICE


async def test_news_of_a_refund_that_is_not_ours_is_kept_and_acknowledged(rig: Rig) -> None:
    await rig.faults(refund_takes_s=0.0)
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.pay(number)
    await rig.until_order(order, OrderState.PAID)
    await give_back_by_hand(rig, number, amount=1)

    async def kept() -> object:
        return await rig.desk.pool.fetchval("SELECT 1 FROM callbacks WHERE number = 'BYHAND'")

    await until(kept)
    report = RefundReport(ACCOUNT, "BYHAND", RefundState.DONE, Source.POLL)
    with pytest.raises(UnknownNumber):
        await rig.desk.settle_refund(report)
    assert (await rig.read(order)).amount_refunded == 0


async def test_a_refusal_is_told_and_another_try_waits_for_people(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.faults(error={"verb": "refund", "status": 403, "after_executing": False, "times": 1})
    await carry_on(rig)
    refund = await only_refund(rig, owed.order)
    assert refund.state is RefundState.FAILED
    assert refund.note is not None
    assert "RULE_LIMIT" in refund.note
    assert (await told(rig, owed.order))[-1] == "refund.failed"
    assert await shown(rig, owed.order) == "held"
    await carry_on(rig)
    assert (await rig.calls("refund")) == {refund.number: 1}


async def test_a_refund_above_the_limit_is_held(rig: Rig) -> None:
    await limit(rig, refund_limit=PRICE - 1)
    owed = await paid_twice(rig)
    await carry_on(rig)
    assert (await only_refund(rig, owed.order)).waits
    assert (await told(rig, owed.order))[-1] == "refund.held"
    assert await rig.calls("refund") == {}


async def test_yesterdays_refunds_do_not_count_today(rig: Rig) -> None:
    await limit(rig, refund_daily_limit=PRICE)
    first, second = await paid_twice(rig), await paid_twice(rig)
    await rig.desk.pool.execute(
        "UPDATE refunds SET check_at = NULL WHERE order_id = $1", second.order.id
    )
    await finish(rig, first.order)
    await rig.desk.pool.execute(
        "UPDATE refunds SET released_at = released_at - interval '1 day' "
        "WHERE released_at IS NOT NULL"
    )
    await rig.desk.pool.execute(
        "UPDATE refunds SET check_at = now() WHERE order_id = $1", second.order.id
    )
    await finish(rig, second.order)


NEVER_LET_GO = """
    UPDATE refunds SET state = 'ready', check_at = now()
"""
APPROVED_BY_ONE = """
    UPDATE refunds SET state = 'ready', check_at = now(), asked_by = 'op_1', approved_by = 'op_1'
"""
FORGOTTEN = """
    UPDATE refunds SET state = 'ready', check_at = NULL, released_at = now()
"""
OF_THE_WINNER = """
    UPDATE refunds SET attempt_id = (SELECT paid_attempt FROM orders)
"""
TWICE = """
    INSERT INTO refunds (id, order_id, attempt_id, account, reason, number, amount, currency, state)
    SELECT 'ref_1', order_id, attempt_id, account, reason, 'other', amount, currency, 'held'
    FROM refunds
"""


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (NEVER_LET_GO, "surplus_is_let_go_before_it_is_sent"),
        (APPROVED_BY_ONE, "two_persons_approve"),
        (FORGOTTEN, "what_is_under_way_is_looked_at"),
        (OF_THE_WINNER, "a_refund_fits_its_attempt"),
        (TWICE, "one_surplus_refund_per_attempt"),
        ("UPDATE refunds SET state = 'done', check_at = NULL", None),
        ("UPDATE refunds SET state = 'failed', check_at = NULL", "only_legal_moves"),
    ],
)
async def test_the_database_refuses_refunds_that_the_rules_do_not_know(
    rig: Rig, statement: str, constraint: str | None
) -> None:
    """The one that is legal, held -> done, is a return by hand: no machine sends money by it."""
    await paid_twice(rig)
    await rig.desk.pool.execute(
        "INSERT INTO operators (id, name, token_hash) VALUES ('op_1', 'Ann', 'x')"
    )
    if constraint is None:
        await rig.desk.pool.execute(statement)
        return
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await rig.desk.pool.execute(statement)
    assert refused.value.constraint_name == constraint


async def test_a_channel_that_contradicts_itself_gets_a_person(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.faults(error={"verb": "refund", "status": 403, "after_executing": True, "times": 1})
    await rig.faults(drop_callbacks=1)
    await carry_on(rig)  # it said no, and did it
    failed = await until_refund(rig, owed.order, RefundState.FAILED)
    news = RefundReport(ACCOUNT, failed.number, RefundState.DONE, Source.CALLBACK)
    refund = (await rig.desk.settle_refund(news)).refund
    assert (refund.state, refund.waits) == (RefundState.HELD, True)
    assert refund.number == failed.number
    await must_be_given_back_once(rig, owed)
