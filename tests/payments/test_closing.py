"""Closing orders: by their merchant, and when their time is over; the channel is asked and closed
first.
"""

import pytest

from gateway.errors import ChannelDown, NotFound, OrderAlreadyPaid
from gateway.model import AttemptState, Order, OrderState
from gateway.payments.closing import close_order, expire_due
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, Rig, StartRig


async def make_due(rig: Rig, order: Order) -> None:
    await rig.desk.pool.execute(
        "UPDATE orders SET expires_at = now(), due_at = now() WHERE id = $1", order.id
    )


async def silence(rig: Rig) -> None:
    """The channel closes nothing and says nothing."""
    error = {"verb": "query", "status": 500, "after_executing": False, "times": 99}
    await rig.faults(close="refuse", error=error)


async def test_a_merchant_closes_an_order_and_its_attempt_at_the_channel(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    closed = await close_order(rig.desk, order.id, MERCHANT)
    assert (closed.state, closed.close_reason) == (OrderState.CLOSED, "merchant")
    states = {entry["number"]: entry["state"] for entry in await rig.ledger()}
    assert str(states[number]).lower() == "closed"
    again = await close_order(rig.desk, order.id, MERCHANT)
    assert again.version == closed.version
    event = await rig.receiver.wait_for("order.closed", order.id)
    assert event.version == closed.version


async def test_an_order_that_was_paid_unnoticed_is_not_closed(rig: Rig) -> None:
    order = await rig.order()
    await rig.faults(drop_callbacks=1)
    await rig.pay(number_in((await rig.apply(order)).body))
    with pytest.raises(OrderAlreadyPaid):
        await close_order(rig.desk, order.id, MERCHANT)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_a_silent_channel_leaves_the_order_open(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await silence(rig)
    before = await rig.read(order)
    with pytest.raises(ChannelDown):
        await close_order(rig.desk, order.id, MERCHANT)
    assert (await rig.read(order)) == before


async def test_what_the_channel_does_not_close_is_superseded_with_the_order(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(close="refuse")
    closed = await close_order(rig.desk, order.id, MERCHANT)
    attempt = closed.attempts[0]
    assert (closed.state, attempt.state) == (OrderState.CLOSED, AttemptState.PAYING)
    assert attempt.superseded
    assert attempt.ask_at is not None


async def test_another_merchants_order_is_not_found(rig: Rig) -> None:
    order = await rig.order()
    with pytest.raises(NotFound):
        await close_order(rig.desk, order.id, "somebody")


async def test_an_expired_order_is_closed_with_its_attempt(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await make_due(rig, order)
    assert await expire_due(rig.desk, 10) == 1
    after = await rig.read(order)
    assert (after.state, after.close_reason) == (OrderState.CLOSED, "expired")
    assert after.attempts[0].state is AttemptState.CLOSED


async def test_an_order_paid_at_the_last_moment_is_paid_not_expired(rig: Rig) -> None:
    order = await rig.order()
    await rig.faults(drop_callbacks=1)
    await rig.pay(number_in((await rig.apply(order)).body))
    await make_due(rig, order)
    await expire_due(rig.desk, 10)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_an_expired_order_waits_for_a_silent_channel_until_nothing_can_be_paid(
    rig: Rig,
) -> None:
    order = await rig.order()
    await rig.apply(order)
    await silence(rig)
    await make_due(rig, order)
    await expire_due(rig.desk, 10)
    waiting = await rig.read(order)
    assert waiting.state is OrderState.OPEN
    await make_due(rig, order)
    await rig.desk.pool.execute("UPDATE attempts SET live_until = now()")
    await expire_due(rig.desk, 10)
    after = await rig.read(order)
    assert after.state is OrderState.CLOSED
    # The order is closed; the attempt is not, for nobody has said so. It is asked about further.
    assert after.attempts[0].state is AttemptState.PAYING
    assert after.attempts[0].ask_at is not None


async def test_the_sweep_closes_what_expired_while_nobody_looked(start_rig: StartRig) -> None:
    rig = await start_rig(worker=True)
    order = await rig.order()
    await rig.apply(order)
    await rig.desk.pool.execute(
        "UPDATE orders SET expires_at = now() - interval '1 day', due_at = now() - interval '1 day'"
    )
    await rig.until_order(order, OrderState.CLOSED)
