"""Slips that are paid days later, and cannot be given back: what an order does for them."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace

from gateway.channels.base import CreateRequest, Voucher
from gateway.db import attempts
from gateway.errors import (
    ChannelDown,
    ChannelNotConfigured,
    ChannelRefusal,
    InvalidRequest,
    OrderAlreadyPaid,
    OrderClosed,
    RefundNotSupported,
)
from gateway.model import (
    Attempt,
    AttemptState,
    NewRefund,
    Order,
    OrderState,
    RefundState,
    Terminal,
)
from gateway.objects import order_object, snapshot
from gateway.operators import add_operator
from gateway.payments.asking import ask_overdue
from gateway.payments.closing import close_order, expire_due
from gateway.payments.planning import Named, Wish
from gateway.payments.refund_requests import mark_returned, open_refund
from gateway.payments.refunding import refund_due
from tests.payments.bank import ANA, BY_SLIP, SLIP, SLIPS, TRAITS, Bank, open_account
from tests.payments.refunds import only_refund, refunds_of
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, NATIVE, Rig

BRUNO = replace(ANA, name="Bruno Lima", tax_id="11144477735")


@pytest.fixture
async def bank(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return await open_account(rig, monkeypatch)


async def with_slip(rig: Rig) -> tuple[Order, str]:
    """An order with a slip, and the slip's number."""
    order = await rig.order()
    return order, number_in((await rig.apply(order, BY_SLIP)).body)


async def attempt_of(rig: Rig, order: Order, number: str) -> Attempt:
    return next(each for each in (await rig.read(order)).attempts if each.number == number)


async def days_pass(rig: Rig, days: float) -> None:
    """Let everything that has a time be so much older."""
    times = {
        "orders": ("expires_at", "due_at"),
        "attempts": ("pay_by", "live_until", "next_action_until", "ask_at", "created_at"),
    }
    for table, columns in times.items():
        older = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
        await rig.desk.pool.execute(f"UPDATE {table} SET {older}", timedelta(days=days))


async def sweep(rig: Rig) -> None:
    await ask_overdue(rig.desk, 20)
    await expire_due(rig.desk, 20)
    await refund_due(rig.desk, 20)


# How long an order waits.


def test_a_slip_ends_with_the_last_second_of_a_day_where_the_bank_is() -> None:
    late = datetime(2026, 11, 22, 2, 30, tzinfo=ZoneInfo("UTC"))  # the evening before, in São Paulo
    ends = Voucher(3, "America/Sao_Paulo").ends(late)
    assert ends.isoformat() == "2026-11-25T02:59:59+00:00"
    assert Voucher(0, "Asia/Shanghai").ends(late).isoformat() == "2026-11-22T15:59:59+00:00"


async def test_an_order_expires_no_sooner_than_its_slip(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    after = await rig.read(order)
    attempt = await attempt_of(rig, order, number)
    assert TRAITS.voucher is not None
    assert attempt.pay_by == TRAITS.voucher.ends(attempt.created_at) == after.expires_at
    assert attempt.live_until == attempt.pay_by + timedelta(days=4) == await due_at(rig, order)
    assert after.version > order.version
    assert order_object(after, rig.url).expires_at == attempt.pay_by
    assert bank.slips[number].request.pay_by == attempt.pay_by
    assert bank.slips[number].request.voucher_days == 3


async def test_an_order_that_waits_longer_is_not_shortened(rig: Rig, bank: Bank) -> None:
    order = await rig.order(expires_in_s=30 * 86400)
    await rig.apply(order, BY_SLIP)
    assert (await rig.read(order)).expires_at == order.expires_at == await due_at(rig, order)


async def test_a_slip_that_was_refused_lengthens_nothing(rig: Rig, bank: Bank) -> None:
    bank.refuses = "no"
    order = await rig.order()
    with pytest.raises(ChannelRefusal):
        await rig.apply(order, BY_SLIP)
    after = await rig.read(order)
    assert after.expires_at == order.expires_at == await due_at(rig, order)
    assert [each.state for each in after.attempts] == [AttemptState.DECLINED]


async def test_an_order_waits_for_the_slip_that_is_left(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    first = await attempt_of(rig, order, number)
    bank.refuses = "no"
    with pytest.raises(ChannelRefusal):
        await rig.apply(order, replace(BY_SLIP, buyer=BRUNO))
    assert (await rig.read(order)).expires_at == first.pay_by
    assert await due_at(rig, order) == first.live_until


async def test_another_channel_lengthens_nothing(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    await rig.apply(order, NATIVE)
    assert (await rig.read(order)).expires_at == order.expires_at == await due_at(rig, order)


async def due_at(rig: Rig, order: Order) -> datetime:
    """When its expiry is looked at."""
    due: datetime = await rig.desk.pool.fetchval(
        "SELECT due_at FROM orders WHERE id = $1", order.id
    )
    return due


async def test_a_merchant_whose_orders_do_not_wait_is_not_offered_slips(
    rig: Rig, bank: Bank
) -> None:
    await rig.desk.pool.execute("UPDATE merchants SET extend_for_slow_channels = false")
    order = await rig.order()
    with pytest.raises(ChannelNotConfigured, match="`extend_for_slow_channels`"):
        await rig.apply(order, BY_SLIP)
    offered = await rig.desk.accounts.offered(MERCHANT, Terminal.PC, order.money)
    assert [each.channel for each in offered] == ["wechat"]
    assert (await rig.read(order)) == order


async def test_a_slip_paid_on_its_last_day_pays_the_order_days_after_it_ended(
    rig: Rig, bank: Bank
) -> None:
    """A bank says so a business day later: the order takes no new payment, and is not closed."""
    order, number = await with_slip(rig)
    await days_pass(rig, 4.5)
    with pytest.raises(OrderClosed):
        await rig.apply(order, NATIVE)
    await sweep(rig)
    assert (await rig.read(order)).state is OrderState.OPEN
    assert not bank.slips[number].cancelled
    bank.pay(number)
    await days_pass(rig, 1)  # when the bank is asked again
    await sweep(rig)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_an_order_whose_slip_nobody_paid_is_closed_when_no_money_can_come(
    rig: Rig, bank: Bank
) -> None:
    order, number = await with_slip(rig)
    await days_pass(rig, 8)
    await sweep(rig)
    assert (await rig.read(order)).close_reason == "expired"
    assert (await attempt_of(rig, order, number)).state is AttemptState.CLOSED


async def test_a_merchant_closes_an_order_though_its_slip_can_be_paid(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    assert (await close_order(rig.desk, order.id, MERCHANT)).state is OrderState.CLOSED
    attempt = await attempt_of(rig, order, number)
    assert (attempt.state, attempt.superseded) == (AttemptState.PAYING, True)
    await rig.desk.settle(bank.pay(number))
    assert (await attempt_of(rig, order, number)).state is AttemptState.SURPLUS
    assert (await rig.read(order)).state is OrderState.CLOSED


# Who is named.


@pytest.mark.parametrize("field", ["name", "email", "tax_id", "address"])
async def test_what_a_slip_names_is_asked_for_before_anything_is_closed(
    rig: Rig, bank: Bank, field: str
) -> None:
    order = await rig.order()
    await rig.apply(order, NATIVE)
    before = await rig.read(order)
    nothing = getattr(Named(), field)
    wish = replace(BY_SLIP, buyer=replace(ANA, **{field: nothing}))
    with pytest.raises(InvalidRequest) as refused:
        await rig.apply(order, wish)
    assert refused.value.members["field"] == f"buyer.{field}"
    assert await rig.read(order) == before


async def test_a_name_spelt_in_another_way_makes_no_second_slip(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    again = replace(BY_SLIP, buyer=replace(ANA, name="ANA SOUZA"))
    await rig.desk.redis.flushdb()  # PostgreSQL answers the same
    assert number_in((await rig.apply(order, again)).body) == number
    assert list(bank.slips) == [number]


async def test_another_tax_id_is_another_slip_and_the_first_is_cancelled(
    rig: Rig, bank: Bank
) -> None:
    """Somebody else's number was typed: the slip could be paid by nobody."""
    order, number = await with_slip(rig)
    other = number_in((await rig.apply(order, replace(BY_SLIP, buyer=BRUNO))).body)
    assert other != number
    assert bank.slips[number].cancelled
    assert bank.slips[other].request.buyer == BRUNO.details("voucher")


async def test_who_looks_again_without_a_name_finds_the_slip(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    again = await rig.apply(order, Wish(SLIP, Terminal.PC))
    assert (again.replayed, number_in(again.body)) == (True, number)


async def test_a_lost_answer_is_repeated_with_what_was_said_first(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    bank.silent = True
    with pytest.raises(ChannelDown):
        await rig.apply(order, BY_SLIP)
    bank.silent = False
    again = number_in((await rig.apply(order, replace(BY_SLIP, buyer=replace(ANA, name="X")))).body)
    assert list(bank.slips) == [again]
    assert bank.slips[again].request.buyer == ANA.details("voucher")


async def test_a_refusal_repeats_nothing_that_was_said_of_a_person(rig: Rig, bank: Bank) -> None:
    bank.refuses = f"tax id {ANA.tax_id} of {ANA.email} is nobody's"
    with pytest.raises(ChannelRefusal) as refused:
        await rig.apply(await rig.order(), BY_SLIP)
    assert refused.value.detail == "The channel refused it (NOBODY)"


async def test_nothing_that_leaves_us_names_the_buyer(
    rig: Rig, bank: Bank, capfd: pytest.CaptureFixture[str]
) -> None:
    order, number = await with_slip(rig)
    await rig.desk.settle(bank.pay(number))
    rows = [
        *await rig.desk.pool.fetch("SELECT body AS said FROM events"),
        *await rig.desk.pool.fetch("SELECT journal::text AS said FROM journal"),
    ]
    keys = [await rig.desk.redis.dump(key) for key in await rig.desk.redis.keys("*")]
    printed = capfd.readouterr()
    said = "".join(row["said"] for row in rows) + printed.out + printed.err + repr(keys)
    said += repr(order_object(await rig.read(order), rig.url))
    assert "attempt_paying" in said
    for private in (ANA.name, ANA.email, ANA.tax_id, "Acácias", "01310100"):
        assert private not in said


async def test_who_was_named_is_forgotten_when_no_money_can_come(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    other, unpaid = await with_slip(rig)
    await rig.desk.settle(bank.pay(number))
    await rig.desk.settle(bank.pay(number))  # the second payment's row has the same parameters
    assert await forget(rig) == 0
    await days_pass(rig, 8)
    assert await forget(rig) == 2
    assert {named_on(each) for each in (await rig.read(order)).attempts} == {None}
    (waiting,) = (await rig.read(other)).attempts
    assert named_on(waiting) == ANA.name  # the bank has not said how it ended
    assert unpaid == waiting.number


async def forget(rig: Rig) -> int:
    async with rig.desk.pool.acquire() as conn:
        return await attempts.forget_buyers(conn, 10)


def named_on(attempt: Attempt) -> str | None:
    buyer = msgspec.json.decode(attempt.parameters, type=CreateRequest).buyer
    return buyer.name if buyer else None


# Another way to pay beside it.


async def test_a_slip_that_made_way_is_cancelled_and_may_still_be_paid(
    rig: Rig, bank: Bank
) -> None:
    order, number = await with_slip(rig)
    await rig.apply(order, NATIVE)
    attempt = await attempt_of(rig, order, number)
    assert bank.slips[number].cancelled
    assert (attempt.state, attempt.superseded) == (AttemptState.PAYING, True)
    shown = snapshot(await rig.read(order), attempt.created_at, frozenset({"wechat"}))
    (flying,) = shown.in_flight
    assert (flying.channel, flying.until, flying.refundable) == (SLIP, attempt.live_until, False)


async def test_a_slip_chosen_again_is_another_slip(rig: Rig, bank: Bank) -> None:
    """The bank may take the cancelled one no more, so nobody is shown it."""
    order, number = await with_slip(rig)
    await rig.apply(order, NATIVE)
    again = number_in((await rig.apply(order, BY_SLIP)).body)
    assert again != number
    offered = (await rig.read(order)).offered
    assert offered is not None
    assert offered.number == again


# F27, and what a person then does.


async def test_a_slip_paid_after_its_due_date_is_a_manual_case(rig: Rig, bank: Bank) -> None:
    """F27: the order has been closed by then."""
    order, number = await with_slip(rig)
    await days_pass(rig, 8)
    await sweep(rig)
    await rig.desk.settle(bank.pay(number))
    await must_be_a_manual_case(rig, order, OrderState.CLOSED)


async def test_a_slip_paid_after_another_channel_paid_is_a_manual_case(
    rig: Rig, bank: Bank
) -> None:
    """F27: the cancelled paper was taken by a bank all the same."""
    order, number = await with_slip(rig)
    await rig.pay(number_in((await rig.apply(order, NATIVE)).body))
    await rig.until_order(order, OrderState.PAID)
    bank.pay(number)
    await days_pass(rig, 1)
    await sweep(rig)  # nobody told us: it is found by asking
    await must_be_a_manual_case(rig, order, OrderState.PAID)
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order, BY_SLIP)


async def test_a_slip_paid_twice_is_a_manual_case(rig: Rig, bank: Bank) -> None:
    """F27, F33: both payments are under one number; the second is a surplus of its own."""
    order, number = await with_slip(rig)
    await rig.desk.settle(bank.pay(number))
    await rig.desk.settle(bank.pay(number))
    first, second = (await rig.read(order)).attempts
    assert (first.state, second.state) == (AttemptState.CAPTURED, AttemptState.SURPLUS)
    assert second.number == first.number == number
    await must_be_a_manual_case(rig, order, OrderState.PAID)


async def must_be_a_manual_case(rig: Rig, order: Order, state: OrderState) -> None:
    """Nothing was refunded, a person is told what to do, and does it."""
    await sweep(rig)
    refund = await only_refund(rig, order)
    assert refund.state is RefundState.HELD
    assert refund.waits
    assert refund.note == "the channel cannot refund: return the money by hand"
    now = await rig.read(order)
    assert now.state is state
    (surplus,) = order_object(now, rig.url).surplus
    assert (surplus.amount, surplus.refund_state) == (refund.amount, RefundState.HELD)
    assert snapshot(now, now.created_at, frozenset()).surplus == "held"
    async with rig.desk.pool.acquire() as conn:
        operator, _token = await add_operator(conn, "Ming")
    done = await mark_returned(rig.desk, refund.id, operator, "by transfer", "TED 2026/88")
    assert (done.state, done.reference) == (RefundState.DONE, "TED 2026/88")
    now = await rig.read(order)
    assert order_object(now, rig.url).surplus[0].refund_state is RefundState.DONE
    assert snapshot(now, now.created_at, frozenset()).surplus == "returned"
    assert now.state is state


async def test_a_captured_slip_is_not_refunded_by_us(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    await rig.desk.settle(bank.pay(number))
    with pytest.raises(RefundNotSupported):
        await open_refund(rig.desk, order.id, MERCHANT, NewRefund())
    assert await refunds_of(rig, order) == []


# Asking.


async def test_a_slip_is_asked_about_in_hours_and_days_and_worries_nobody(
    rig: Rig, bank: Bank
) -> None:
    order, number = await with_slip(rig)
    hours = []
    for _ in range(4):
        await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE number = $1", number)
        asked_at = await rig.desk.pool.fetchval("SELECT now()")
        await sweep(rig)
        attempt = await attempt_of(rig, order, number)
        assert attempt.ask_at is not None
        assert not attempt.needs_attention
        hours.append(round((attempt.ask_at - asked_at).total_seconds() / 3600))
    assert hours == [6, 24, 24, 24]


async def test_an_account_says_when_its_slips_are_asked_about(rig: Rig, bank: Bank) -> None:
    """Its other channels may want an answer in seconds."""
    await rig.desk.pool.execute(
        "UPDATE channel_accounts SET settings = $2 WHERE id = $1",
        SLIPS,
        '{"ask_ladder": "3,10", "slow_ask_ladder": "7200,86400"}',
    )
    account = await rig.desk.accounts.by_id(SLIPS)
    assert account is not None
    assert account.ask_ladder_s == (7200, 86400)


async def test_a_bank_that_says_nothing_for_long_is_a_worry(rig: Rig, bank: Bank) -> None:
    order, number = await with_slip(rig)
    bank.silent = True
    for _ in range(3):
        await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE number = $1", number)
        await sweep(rig)
    assert (await attempt_of(rig, order, number)).needs_attention
