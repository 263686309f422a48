"""Two channels open at once: the second cannot always be closed, and the later success is
surplus.
"""

import asyncio

import pytest

from gateway.model import AttemptState, Order, OrderState
from gateway.operators import add_operator
from gateway.payments.asking import ask_overdue
from gateway.payments.planning import Wish
from gateway.payments.refund_requests import approve
from tests.payments.refunds import carry_on, entries, finish, until_owed
from tests.payments.test_settling import number_in
from tests.rig import ALIPAY, H5, NATIVE, Rig, StartRig, until


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    return await start_rig(alipay=True)


async def a_code_of_each(rig: Rig) -> tuple[Order, str, str]:
    """An order with an Alipay code that nobody has scanned, and then one of WeChat Pay."""
    order = await rig.order()
    alipay = number_in((await rig.apply(order, ALIPAY)).body)
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    return order, alipay, wechat


async def states(rig: Rig, order: Order) -> list[tuple[str, AttemptState, bool]]:
    now = await rig.read(order)
    return [(each.channel, each.state, each.superseded) for each in now.attempts]


async def test_an_unscanned_alipay_code_is_superseded_for_it_can_still_be_paid(rig: Rig) -> None:
    order, _, _ = await a_code_of_each(rig)
    assert await states(rig, order) == [
        ("alipay", AttemptState.PAYING, True),
        ("wechat", AttemptState.PAYING, False),
    ]


async def test_wechat_and_alipay_both_succeed(start_rig: StartRig) -> None:
    """F1: both callbacks at once; one captures, the other is surplus and given back, once."""
    rig = await start_rig(worker=True, alipay=True)
    order, alipay, wechat = await a_code_of_each(rig)
    await asyncio.gather(rig.pay(alipay, channel="alipay"), rig.pay(wechat))
    await rig.until_order(order, OrderState.PAID)

    async def net() -> bool:
        """What the channels kept is the price, whichever of them was first."""
        entries = await rig.ledger()
        kept = sum(int(str(e["captured"])) - int(str(e["refunded"])) for e in entries)
        return kept == order.amount

    await until(net, within_s=20)
    after = await rig.read(order)
    assert sorted(each.state for each in after.attempts) == ["captured", "surplus"]


async def test_a_second_trade_under_one_alipay_number_is_given_back_though_the_answer_is_lost(
    start_rig: StartRig,
) -> None:
    """Alipay has the refund under the second trade, where a query by our number does not look."""
    rig = await start_rig(alipay=True)
    order = await rig.order()
    number = number_in((await rig.apply(order, ALIPAY)).body)
    await rig.pay(number, channel="alipay")
    await rig.pay(number, channel="alipay", again=True)
    refund = await until_owed(rig, order)
    async with rig.desk.pool.acquire() as conn:
        first, _ = await add_operator(conn, "the first")
        second, _ = await add_operator(conn, "the second")
    await rig.faults("alipay", lose_answer={"verb": "refund", "after_executing": True, "times": 2})
    await carry_on(rig)
    for operator in (first, second):
        await approve(rig.desk, refund.id, operator, "paid twice")
    await finish(rig, order)
    (entry,) = (await entries(rig)).values()
    assert (entry.captured, entry.refunded) == (2 * order.amount, order.amount)


async def test_a_screenshot_of_an_unscanned_code_is_paid_after_the_order_was(rig: Rig) -> None:
    """F13: close said there is no such trade, and the code was live all the same."""
    order, alipay, wechat = await a_code_of_each(rig)
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(alipay, channel="alipay")

    async def surplus() -> bool:
        return AttemptState.SURPLUS in [each.state for each in (await rig.read(order)).attempts]

    assert await until(surplus)


async def test_an_alipay_attempt_that_was_scanned_is_closed_before_another_is_made(
    rig: Rig,
) -> None:
    order = await rig.order()
    alipay = number_in((await rig.apply(order, ALIPAY)).body)
    await rig.control("scan", channel="alipay", number=alipay)
    await rig.apply(order, NATIVE)
    assert await states(rig, order) == [
        ("alipay", AttemptState.CLOSED, False),
        ("wechat", AttemptState.PAYING, False),
    ]


async def test_not_found_right_after_create_ends_nothing(rig: Rig) -> None:
    """F19: Alipay knows no trade before the scan."""
    order = await rig.order()
    await rig.apply(order, ALIPAY)
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now()")
    await ask_overdue(rig.desk, 10)
    assert await states(rig, order) == [("alipay", AttemptState.PAYING, False)]


async def test_an_unknown_first_attempt_turns_out_paid_after_the_second(rig: Rig) -> None:
    """F10: nobody knows of A, B pays, then A is paid too: A is surplus."""
    order = await rig.order()
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    silence = {"verb": "query", "status": 500, "after_executing": False, "times": 9}
    await rig.faults(drop_callbacks=1, close="refuse", error=silence)
    alipay = number_in((await rig.apply(order, ALIPAY)).body)
    await rig.pay(alipay, channel="alipay")
    await rig.until_order(order, OrderState.PAID)
    await rig.faults(reset=True)
    await rig.pay(wechat)
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE ask_at IS NOT NULL")
    await ask_overdue(rig.desk, 10)
    after = await rig.read(order)
    assert [each.state for each in after.attempts] == [AttemptState.SURPLUS, AttemptState.CAPTURED]


@pytest.mark.parametrize("wish", [ALIPAY, H5], ids=["another channel", "another product"])
async def test_a_first_attempt_succeeds_after_another_way_was_opened(rig: Rig, wish: Wish) -> None:
    """F14 and F23: another way gets a new number, and the first one's money is recognised."""
    order = await rig.order()
    await rig.faults(close="refuse")
    first = await rig.apply(order, NATIVE)
    second = await rig.apply(order, wish)
    assert number_in(first.body) != number_in(second.body)
    await rig.pay(number_in(first.body))
    done = await rig.until_order(order, OrderState.PAID)
    assert done.paid_attempt == first.attempt


async def test_a_part_is_refunded_through_alipay_on_the_merchants_word(
    start_rig: StartRig,
) -> None:
    rig = await start_rig(worker=True, alipay=True)
    order = await rig.order()
    number = number_in((await rig.apply(order, ALIPAY)).body)
    await rig.faults("alipay", lose_answer={"verb": "refund", "after_executing": True, "times": 1})
    await rig.pay(number, channel="alipay")
    await rig.until_order(order, OrderState.PAID)
    async with rig.http.post(
        f"{rig.url}/v1/orders/{order.id}/refunds",
        json={"amount": 30, "reason": "one cup broke"},
        headers={"Authorization": f"Bearer {rig.api_key}"},
    ) as answer:
        assert answer.status == 201, await answer.text()

    async def given_back() -> bool:
        return (await rig.read(order)).amount_refunded == 30

    await until(given_back, within_s=20)
    assert [entry["refunded"] for entry in await rig.ledger()] == [30]
