"""Two accounts of one kind: which of them takes a payment, and that the same payment never moves
from one to the other while it can be paid at the first.
"""

from collections.abc import AsyncIterator

import pytest

from gateway.errors import ChannelDown, ChannelNotConfigured
from gateway.model import AttemptState, OrderState
from gateway.money import Money
from gateway.payments import accounts
from gateway.payments.account_rules import Bounds, read_bounds
from gateway.payments.closing import close_order
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from tests.payments.several_accounts import SECOND, Second, attempts, change, second_account
from tests.payments.test_settling import number_in
from tests.rig import ACCOUNT, ALIPAY, H5, MERCHANT, NATIVE, Rig, StartRig

FIRST = ACCOUNT


@pytest.fixture(scope="module")
def other_keys() -> SandboxKeys:
    return sandbox_keys(None)


@pytest.fixture(autouse=True)
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of an account is seen by the next request, not seconds later."""
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    return await start_rig(alipay=True)


@pytest.fixture
async def second(rig: Rig, other_keys: SandboxKeys) -> AsyncIterator[Second]:
    async with second_account(rig, other_keys) as running:
        yield running


async def test_the_preferred_account_takes_it_and_each_is_told_of_its_own_payments(
    rig: Rig, second: Second
) -> None:
    first = await rig.order()
    await rig.pay(number_in((await rig.apply(first)).body))
    await change(rig, SECOND, priority=1)
    other = await rig.order()
    number = number_in((await rig.apply(other)).body)
    await second.pay(number)
    for order, account in ((first, FIRST), (other, SECOND)):
        await rig.until_order(order, OrderState.PAID)
        assert [each.account for each in await attempts(rig, order)] == [account]
    assert await second.numbers() == [number]


async def test_an_account_takes_what_its_terminals_allow(rig: Rig, second: Second) -> None:
    await change(rig, FIRST, terminals=["wap"])
    by_code, by_phone = await rig.order(), await rig.order()
    await rig.apply(by_code, NATIVE)
    await rig.apply(by_phone, H5)
    assert [each.account for each in await attempts(rig, by_code)] == [SECOND]
    assert [each.account for each in await attempts(rig, by_phone)] == [FIRST]


async def test_an_account_takes_the_amounts_that_it_is_for(
    rig: Rig, other_keys: SandboxKeys
) -> None:
    bounds = {"min_amount": "500", "max_amount": "999", "currencies": "CNY"}
    async with second_account(rig, other_keys, priority=1, **bounds):
        for amount, account in ((499, FIRST), (500, SECOND), (999, SECOND), (1000, FIRST)):
            order = await rig.order(amount)
            await rig.apply(order)
            assert [each.account for each in await attempts(rig, order)] == [account]


def test_an_account_holds_the_currencies_that_it_names() -> None:
    bounds = read_bounds({"currencies": "EUR,USD"})
    assert [bounds.hold(Money(1, each)) for each in ("EUR", "USD", "CNY")] == [True, True, False]
    assert Bounds().hold(Money(1, "CNY"))


async def test_what_is_offered_at_one_account_is_answered_again_when_the_other_is_preferred(
    rig: Rig, second: Second
) -> None:
    order = await rig.order()
    made = await rig.apply(order)
    await change(rig, SECOND, priority=1)
    await rig.desk.redis.flushdb()  # where the answer is kept for a few seconds
    assert (await rig.apply(order)).attempt == made.attempt
    assert await second.numbers() == []


@pytest.mark.parametrize("after_executing", [True, False])
async def test_a_payment_whose_answer_was_lost_is_repeated_where_it_was_begun(
    rig: Rig, second: Second, after_executing: bool
) -> None:
    """At the other account it would be a second payment, and the first could still be paid."""
    order = await rig.order()
    await rig.faults(lose_answer={"verb": "create", "after_executing": after_executing})
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    await change(rig, SECOND, priority=1)
    again = await rig.apply(order)
    (attempt,) = await attempts(rig, order)
    assert (attempt.id, attempt.account) == (again.attempt, FIRST)
    assert await second.numbers() == []


async def test_a_code_that_is_too_old_is_renewed_where_it_was_made(
    rig: Rig, second: Second
) -> None:
    order = await rig.order()
    made = await rig.apply(order)
    await rig.desk.pool.execute("UPDATE attempts SET next_action_until = now()")
    await rig.desk.redis.flushdb()
    await change(rig, SECOND, priority=1)
    assert (await rig.apply(order)).attempt == made.attempt


async def test_a_way_that_was_left_is_offered_again_where_it_was_begun(
    rig: Rig, second: Second
) -> None:
    order = await rig.order()
    await rig.faults(close="refuse")
    made = await rig.apply(order, NATIVE)
    await rig.apply(order, ALIPAY)
    await change(rig, SECOND, priority=1)
    assert (await rig.apply(order, NATIVE)).attempt == made.attempt
    assert await second.numbers() == []


async def test_a_disabled_account_is_left_for_another_and_its_code_is_closed(
    rig: Rig, second: Second
) -> None:
    order = await rig.order()
    await rig.apply(order)
    await change(rig, FIRST, enabled=False)
    await rig.desk.redis.flushdb()
    await rig.apply(order)
    assert [(each.account, each.state) for each in await attempts(rig, order)] == [
        (FIRST, AttemptState.CLOSED),
        (SECOND, AttemptState.PAYING),
    ]


async def test_what_was_begun_on_an_account_is_ended_on_it_after_it_was_disabled(
    start_rig: StartRig,
) -> None:
    """It is asked, its callbacks are read, it is closed, and its money goes back."""
    rig = await start_rig(worker=True)
    told, asked, closed = await rig.order(), await rig.order(), await rig.order()
    numbers = [number_in((await rig.apply(order)).body) for order in (told, asked, closed)]
    await change(rig, FIRST, enabled=False)
    with pytest.raises(ChannelNotConfigured):
        await rig.apply(await rig.order())
    await rig.pay(numbers[0])
    await rig.until_order(told, OrderState.PAID)
    await rig.faults(drop_callbacks=1)
    await rig.pay(numbers[1])
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE ask_at IS NOT NULL")
    await rig.until_order(asked, OrderState.PAID)
    assert (await close_order(rig.desk, closed.id, MERCHANT)).state is OrderState.CLOSED
    assert [each.state for each in await attempts(rig, closed)] == [AttemptState.CLOSED]
    await rig.faults(reset=True)
    async with rig.http.post(
        f"{rig.url}/v1/orders/{told.id}/refunds",
        json={"amount": 30},
        headers={"Authorization": f"Bearer {rig.api_key}"},
    ) as answer:
        assert answer.status == 201, await answer.text()
    await rig.receiver.wait_for("refund.done", told.id)
