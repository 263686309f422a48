"""Closing orders: by their merchant, and when their time is over; the channel is asked and closed
first.
"""

import asyncio
from datetime import datetime

import pytest
from msgspec.structs import replace

from gateway.errors import ChannelDown, NotFound, OrderAlreadyPaid
from gateway.model import Attempt, AttemptState, Order, OrderState, Terminal
from gateway.payments import closing
from gateway.payments.closing import Ending, close_order, expire_due
from gateway.payments.desk import Desk
from gateway.payments.planning import Wish
from gateway.payments.settle import Settled
from tests.payments.test_settling import number_in
from tests.rig import H5, MERCHANT, NATIVE, Rig, StartRig
from workers.sweep import keep_sweeping

JSAPI = Wish("wechat", Terminal.WEBVIEW, openid="o-1")


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
    closed = await rig.until_order(order, OrderState.CLOSED)
    assert closed.close_reason == "expired"


async def paid_unnoticed_before_an_outage(rig: Rig) -> Order:
    """Paid in time, and then two hours of silence: no callback came and nobody asked."""
    order = await rig.order()
    await rig.faults(drop_callbacks=1)
    await rig.pay(number_in((await rig.apply(order)).body))
    await rig.desk.pool.execute(
        "UPDATE orders SET expires_at = now() - interval '2 hours', "
        "due_at = now() - interval '2 hours' WHERE id = $1",
        order.id,
    )
    await rig.desk.pool.execute(
        "UPDATE attempts SET live_until = now() - interval '90 minutes', "
        "ask_at = now() - interval '2 hours' WHERE order_id = $1",
        order.id,
    )
    return order


@pytest.mark.parametrize(
    ("only_the_young", "ends"),
    [
        pytest.param(False, OrderState.PAID, id="as shipped"),
        pytest.param(True, OrderState.CLOSED, id="control: only the young are asked"),
    ],
)
async def test_an_order_paid_in_time_is_found_paid_after_an_outage(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, only_the_young: bool, ends: OrderState
) -> None:
    paid_in_time = [await paid_unnoticed_before_an_outage(rig) for _ in range(3)]
    any_unknown = closing._any_unknown

    async def any_young_unknown(desk: Desk, order: Order, now: datetime) -> bool:
        young = tuple(each for each in order.attempts if now < each.live_until)
        return await any_unknown(desk, replace(order, attempts=young), now)

    if only_the_young:
        monkeypatch.setattr(closing, "_any_unknown", any_young_unknown)
    assert await expire_due(rig.desk, 10) == 3
    assert [(await rig.read(order)).state for order in paid_in_time] == [ends] * 3


async def test_whichever_of_the_sweeps_comes_first_after_an_outage_nothing_is_closed(
    rig: Rig,
) -> None:
    paid_in_time = [await paid_unnoticed_before_an_outage(rig) for _ in range(5)]
    sweeping = asyncio.create_task(keep_sweeping(rig.desk))
    try:
        for order in paid_in_time:
            after = await rig.until_order(order, OrderState.PAID)
            assert after.attempts[0].state is AttemptState.CAPTURED
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_merchant_who_closes_after_an_outage_learns_that_it_was_paid(rig: Rig) -> None:
    order = await paid_unnoticed_before_an_outage(rig)
    with pytest.raises(OrderAlreadyPaid):
        await close_order(rig.desk, order.id, MERCHANT)
    assert (await rig.read(order)).state is OrderState.PAID


@pytest.mark.parametrize(
    ("counts_as_asked", "ends"),
    [
        pytest.param(False, OrderState.PAID, id="as shipped"),
        pytest.param(True, OrderState.CLOSED, id="control: it counts as asked"),
    ],
)
async def test_an_attempt_made_while_the_others_were_asked_is_asked_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, counts_as_asked: bool, ends: OrderState
) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(drop_callbacks=1)
    any_unknown, close_here = closing._any_unknown, closing._close_here
    late: list[str] = []

    async def apply_meanwhile(desk: Desk, asked: Order, now: datetime) -> bool:
        """Between the answers and the close, the buyer applies once more, and pays."""
        unknown = await any_unknown(desk, asked, now)
        if not late:
            late.append(number_in((await rig.apply(order, H5)).body))
            await rig.pay(late[0])
        return unknown

    async def close_what_is_there(desk: Desk, asked: Order, reason: str) -> Order | None:
        return await close_here(desk, await rig.read(asked), reason)

    monkeypatch.setattr(closing, "_any_unknown", apply_meanwhile)
    if counts_as_asked:
        monkeypatch.setattr(closing, "_close_here", close_what_is_there)
        await close_order(rig.desk, order.id, MERCHANT)
    else:
        with pytest.raises(OrderAlreadyPaid):
            await close_order(rig.desk, order.id, MERCHANT)
    assert (await rig.read(order)).state is ends


async def test_silent_channels_are_asked_together(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One silence is waited for, however many attempts there are."""
    order = await rig.order()
    await rig.faults(close="refuse")
    for wish in (NATIVE, H5, JSAPI):
        await rig.apply(order, wish)
    all_are_asked = asyncio.Barrier(3)
    end_at_channel = closing.end_at_channel

    async def meet(desk: Desk, attempt: Attempt) -> tuple[Ending, Settled | None]:
        """Nobody is answered before all are asked."""
        async with asyncio.timeout(10):
            await all_are_asked.wait()
        return await end_at_channel(desk, attempt)

    monkeypatch.setattr(closing, "end_at_channel", meet)
    await silence(rig)
    with pytest.raises(ChannelDown):
        await close_order(rig.desk, order.id, MERCHANT)
    assert sorted((await rig.calls("close")).values()) == [1, 2, 2]
    assert (await rig.read(order)).state is OrderState.OPEN
