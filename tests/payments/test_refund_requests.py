"""Refunds that merchants ask for and operators decide about: never more than there was."""

import asyncio
from typing import Final

import pytest

from gateway.db import refund_moves
from gateway.errors import (
    ChannelDown,
    Forbidden,
    NotFound,
    OrderNotPaid,
    RefundConflict,
    RefundExceedsCaptured,
    RefundNotSupported,
)
from gateway.ids import OperatorId, RefundId
from gateway.model import NewRefund, Order, OrderState, Refund, RefundState
from gateway.operators import add_operator
from gateway.payments.accounts import Account, Accounts
from gateway.payments.closing import close_order
from gateway.payments.refund_requests import approve, mark_returned, open_refund, reject, retry
from tests.payments.refunds import (
    carry_on,
    entries,
    finish,
    limit,
    must_be_given_back_once,
    only_refund,
    paid_twice,
    refunds_of,
    shown,
    told,
    traits,
    unguard,
    until_owed,
    until_refund,
)
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, PRICE, Rig, until

NOTE: Final = "the buyer called"


async def paid_order(rig: Rig) -> tuple[Order, str]:
    """An order that was really paid, and its number at the channel."""
    await rig.faults(refund_takes_s=0.0)
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.pay(number)
    return await rig.until_order(order, OrderState.PAID), number


async def refund(
    rig: Rig, order: Order, amount: int | None = None, no: str | None = None
) -> Refund:
    opened, _ = await open_refund(rig.desk, order.id, MERCHANT, NewRefund(amount, "no stock", no))
    return opened


async def two_operators(rig: Rig) -> tuple[OperatorId, OperatorId]:
    async with rig.desk.pool.acquire() as conn:
        ann, _ = await add_operator(conn, "Ann")
        bob, _ = await add_operator(conn, "Bob")
    return ann, bob


async def held_refund(rig: Rig) -> tuple[Order, Refund]:
    """An order with a surplus that is above the limit."""
    await limit(rig, refund_limit=0)
    owed = await paid_twice(rig)
    await carry_on(rig)
    held = await only_refund(rig, owed.order)
    assert held.waits
    return owed.order, held


async def test_a_shop_without_stock_gives_all_of_it_back(rig: Rig) -> None:
    """F30: the order stays paid, and says how much went back."""
    order, number = await paid_order(rig)
    opened = await refund(rig, order)
    assert (opened.state, opened.amount) == (RefundState.READY, PRICE)
    await until_refund(rig, order, RefundState.DONE)
    after = await rig.read(order)
    assert (after.state, after.amount_refunded) == (OrderState.PAID, PRICE)
    assert (await entries(rig))[number].refunded == PRICE
    assert await told(rig, order) == ["order.paid", "refund.done"]
    with pytest.raises(RefundExceedsCaptured):
        await refund(rig, order)


async def test_parts_are_given_back_until_nothing_is_left(rig: Rig) -> None:
    order, number = await paid_order(rig)
    for amount in (30, 30):
        await refund(rig, order, amount)
    with pytest.raises(RefundExceedsCaptured, match="40 can still be refunded"):
        await refund(rig, order, 41)
    assert (await refund(rig, order)).amount == 40

    async def all_given_back() -> bool:
        return (await rig.read(order)).amount_refunded == PRICE

    await until(all_given_back)
    assert (await entries(rig))[number].refunded == PRICE


@pytest.mark.parametrize(
    ("guarded", "given"),
    [pytest.param(True, 90, id="as shipped"), pytest.param(False, 180, id="control: no guard")],
)
async def test_concurrent_parts_are_never_more_than_was_captured(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, guarded: bool, given: int
) -> None:
    """F20: six clicks have all read that nothing was given back yet."""
    order, _ = await paid_order(rig)
    if not guarded:
        unguard(monkeypatch, refund_moves, "_OPEN", "AND version = $3", "AND $3::bigint > 0")
    all_have_read = asyncio.Barrier(6)
    readers = 0
    by_id = Accounts.by_id

    async def meeting(
        self: Accounts, account_id: str, channel: str | None = None
    ) -> Account | None:
        """Called by each, between reading and writing."""
        nonlocal readers
        readers += 1
        if readers <= 6:
            await all_have_read.wait()
        return await by_id(self, account_id, channel)

    monkeypatch.setattr(Accounts, "by_id", meeting)
    clicks = (refund(rig, order, 30) for _ in range(6))
    answers = await asyncio.gather(*clicks, return_exceptions=True)
    assert sum(each.amount for each in answers if isinstance(each, Refund)) == given
    assert all(isinstance(each, Refund | RefundExceedsCaptured) for each in answers)
    assert sum(each.amount for each in await refunds_of(rig, order)) == given


async def test_one_number_of_the_merchants_is_one_refund(rig: Rig) -> None:
    order, number = await paid_order(rig)
    clicks = (refund(rig, order, 30, "R-1") for _ in range(8))
    answers = await asyncio.gather(*clicks)
    assert len({each.id for each in answers}) == 1
    with pytest.raises(RefundConflict):
        await refund(rig, order, 31, "R-1")
    await until_refund(rig, order, RefundState.DONE)
    assert (await refund(rig, order, None, "R-1")).state is RefundState.DONE
    assert (await entries(rig))[number].refunded == 30


async def test_only_what_was_paid_is_refunded(rig: Rig) -> None:
    order = await rig.order()
    with pytest.raises(OrderNotPaid):
        await refund(rig, order)
    await close_order(rig.desk, order.id, MERCHANT)
    with pytest.raises(OrderNotPaid):
        await refund(rig, order)
    with pytest.raises(NotFound):
        await open_refund(rig.desk, order.id, "somebody", NewRefund())


async def test_a_surplus_is_not_the_merchants_to_refund(rig: Rig) -> None:
    """The sum is of what was captured; the surplus goes back on its own, and only once."""
    owed = await paid_twice(rig)
    await refund(rig, owed.order)
    with pytest.raises(RefundExceedsCaptured):
        await refund(rig, owed.order)


async def test_a_channel_that_cannot_refund_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = await paid_order(rig)
    traits(monkeypatch, refunds=False)
    with pytest.raises(RefundNotSupported):
        await refund(rig, order)


async def test_two_different_operators_let_a_held_refund_go(rig: Rig) -> None:
    await limit(rig, refund_limit=0)
    owed = await paid_twice(rig)
    await carry_on(rig)
    held = await only_refund(rig, owed.order)
    ann, bob = await two_operators(rig)
    asked = await approve(rig.desk, held.id, ann, NOTE)
    assert (asked.state, asked.asked_by) == (RefundState.HELD, ann)
    with pytest.raises(Forbidden):
        await approve(rig.desk, held.id, ann, NOTE)
    await carry_on(rig)
    assert await rig.calls("refund") == {}
    assert (await approve(rig.desk, held.id, bob, NOTE)).state is RefundState.READY
    await approve(rig.desk, held.id, bob, NOTE)  # a repeat, its answer was lost
    await until_refund(rig, owed.order, RefundState.DONE)
    await must_be_given_back_once(rig, owed)
    causes = await rig.desk.pool.fetch(
        "SELECT cause FROM journal WHERE noun = 'refund' AND to_state = 'ready'"
    )
    assert [row[0] for row in causes] == [bob]


async def test_operators_who_approve_at_once_are_two_and_send_once(rig: Rig) -> None:
    order, held = await held_refund(rig)
    ann, bob = await two_operators(rig)
    await asyncio.gather(
        *(approve(rig.desk, held.id, operator, NOTE) for operator in (ann, bob)),
    )
    done = await until_refund(rig, order, RefundState.DONE)
    assert {done.asked_by, done.approved_by} == {ann, bob}
    assert list((await rig.calls("refund")).values()) == [1]


async def test_a_sibling_is_given_back_by_its_own_payment(rig: Rig) -> None:
    """F33: once two operators let it go, the second payment under a number goes, not the first."""
    order, number = await paid_order(rig)
    await rig.pay(number, again=True)
    held = await until_owed(rig, order)
    await carry_on(rig)
    for operator in await two_operators(rig):
        await approve(rig.desk, held.id, operator, NOTE)
    await until_refund(rig, order, RefundState.DONE)
    entry = (await entries(rig))[number]
    assert (entry.captured, entry.refunded, len(entry.refunds)) == (2 * PRICE, PRICE, 1)
    assert (await rig.read(order)).state is OrderState.PAID
    assert (await refund(rig, order)).amount == PRICE  # the winner's money is all there


async def test_what_the_channel_closed_is_tried_again_with_another_number(rig: Rig) -> None:
    """F36."""
    owed = await paid_twice(rig)
    await rig.faults(refund_end="closed")
    await carry_on(rig)
    failed = await until_refund(rig, owed.order, RefundState.FAILED)
    assert (await told(rig, owed.order))[-1] == "refund.failed"
    await rig.faults(refund_end="done")
    ann, bob = await two_operators(rig)
    again = await retry(rig.desk, failed.id, ann, NOTE)
    assert await retry(rig.desk, failed.id, ann, NOTE) == again  # a repeat, its answer was lost
    assert (again.state, again.waits, again.asked_by) == (RefundState.HELD, True, ann)
    assert again.number == failed.number.removesuffix("R1") + "R2"
    with pytest.raises(Forbidden):
        await approve(rig.desk, failed.id, ann, NOTE)
    await approve(rig.desk, failed.id, bob, NOTE)
    await until_refund(rig, owed.order, RefundState.DONE)
    await must_be_given_back_once(rig, owed)


async def test_no_other_number_while_the_channel_does_not_say_how_the_last_ended(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.faults(error={"verb": "refund", "status": 403, "after_executing": False, "times": 1})
    await carry_on(rig)
    failed = await until_refund(rig, owed.order, RefundState.FAILED)
    ann, _ = await two_operators(rig)
    silent = {"verb": "query_refund", "status": 500, "after_executing": False, "times": 1}
    await rig.faults(error=silent)
    with pytest.raises(ChannelDown):
        await retry(rig.desk, failed.id, ann, NOTE)
    assert await only_refund(rig, owed.order) == failed


async def test_no_other_number_when_the_channel_did_it_after_all(rig: Rig) -> None:
    """F36: the channel said no, and did it."""
    owed = await paid_twice(rig)
    await rig.faults(drop_callbacks=1)
    await rig.faults(error={"verb": "refund", "status": 403, "after_executing": True, "times": 1})
    await carry_on(rig)  # it said no, and did it
    failed = await until_refund(rig, owed.order, RefundState.FAILED)
    ann, bob = await two_operators(rig)
    with pytest.raises(RefundConflict):
        await retry(rig.desk, failed.id, ann, NOTE)
    held = await until_refund(rig, owed.order, RefundState.HELD)
    assert (held.number, held.waits) == (failed.number, True)
    for operator in (ann, bob):
        await approve(rig.desk, failed.id, operator, NOTE)
    await finish(rig, owed.order)  # the same number: the channel answers the same refund
    await must_be_given_back_once(rig, owed)


async def test_a_failed_part_is_not_tried_again_once_its_money_went_another_way(rig: Rig) -> None:
    order, _ = await paid_order(rig)
    await rig.faults(refund_end="closed")
    failed = await refund(rig, order)
    await until_refund(rig, order, RefundState.FAILED)
    await rig.faults(refund_end="done")
    await refund(rig, order)
    ann, _ = await two_operators(rig)
    with pytest.raises(RefundExceedsCaptured):
        await retry(rig.desk, failed.id, ann, NOTE)


async def test_a_rejected_refund_is_not_sent_unless_two_want_it_after_all(rig: Rig) -> None:
    order, held = await held_refund(rig)
    ann, bob = await two_operators(rig)
    for _ in range(2):  # and a repeat, its answer was lost
        assert (await reject(rig.desk, held.id, ann, NOTE)).state is RefundState.REJECTED
    assert (await told(rig, order)).count("refund.rejected") == 1
    with pytest.raises(RefundConflict):
        await approve(rig.desk, held.id, bob, NOTE)
    again = await retry(rig.desk, held.id, bob, NOTE)
    assert (again.state, again.number, again.asked_by) == (RefundState.HELD, held.number, bob)
    await approve(rig.desk, held.id, ann, NOTE)
    await until_refund(rig, order, RefundState.DONE)


async def test_money_that_was_returned_by_hand_is_done_with_its_reference(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F27: the channel cannot refund."""
    owed = await paid_twice(rig)
    traits(monkeypatch, refunds=False)
    await carry_on(rig)
    held = await only_refund(rig, owed.order)
    ann, _ = await two_operators(rig)
    with pytest.raises(RefundNotSupported):
        await approve(rig.desk, held.id, ann, NOTE)
    for _ in range(2):  # and a repeat, its answer was lost
        done = await mark_returned(rig.desk, held.id, ann, NOTE, "bank 88")
        assert (done.state, done.reference) == (RefundState.DONE, "bank 88")
    with pytest.raises(RefundConflict):
        await mark_returned(rig.desk, held.id, ann, NOTE, "bank 89")
    assert (await told(rig, owed.order))[-1] == "refund.done"
    assert await shown(rig, owed.order) == "returned"
    assert await rig.calls("refund") == {}


async def test_what_is_under_way_or_not_there_is_not_decided_about(rig: Rig) -> None:
    order, _ = await paid_order(rig)
    opened = await refund(rig, order)
    await until_refund(rig, order, RefundState.DONE)
    ann, _ = await two_operators(rig)
    for decide in (approve, reject, retry):
        with pytest.raises(RefundConflict):
            await decide(rig.desk, opened.id, ann, NOTE)
        with pytest.raises(NotFound):
            await decide(rig.desk, RefundId("ref_" + "0" * 26), ann, NOTE)
