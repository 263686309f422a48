"""Asking the channel: what callbacks do not tell is found, however long nobody asked."""

import asyncio

import pytest

from gateway.db import attempts
from gateway.model import AttemptState, OrderState
from gateway.payments.asking import ask, ask_once, ask_overdue
from tests.payments.test_settling import number_in
from tests.rig import H5, Rig, StartRig


async def make_due(rig: Rig) -> None:
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE ask_at IS NOT NULL")


async def test_a_payment_is_found_when_every_callback_is_lost(start_rig: StartRig) -> None:
    rig = await start_rig(worker=True)
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.pay(number_in(applied.body))
    done = await rig.until_order(order, OrderState.PAID, within_s=15)
    assert done.paid_attempt == applied.attempt


async def test_the_delayed_job_asks_when_the_sweep_does_not(start_rig: StartRig) -> None:
    rig = await start_rig(worker=True, sweep_interval_s=60.0)
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.pay(number_in(applied.body))
    done = await rig.until_order(order, OrderState.PAID, within_s=15)
    assert done.paid_attempt == applied.attempt


async def test_the_sweep_asks_when_the_queue_was_emptied(start_rig: StartRig) -> None:
    """F18: Redis is flushed after the payment, and every callback is lost."""
    rig = await start_rig(worker=True)
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.pay(number_in(applied.body))
    await rig.desk.redis.flushdb()
    done = await rig.until_order(order, OrderState.PAID, within_s=15)
    assert done.paid_attempt == applied.attempt


async def test_what_was_due_long_ago_is_asked_about(rig: Rig) -> None:
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    await rig.pay(number_in((await rig.apply(order)).body))
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() - interval '40 days'")
    assert await ask_overdue(rig.desk, 10) == 1
    assert (await rig.read(order)).state is OrderState.PAID


async def test_two_workers_claim_each_attempt_once(rig: Rig) -> None:
    for _ in range(5):
        await rig.apply(await rig.order())
    await make_due(rig)
    claimed = await asyncio.gather(*(ask_overdue(rig.desk, 3) for _ in range(4)))
    assert sum(claimed) == 5
    assert sorted((await rig.calls("query")).values()) == [1] * 5


async def test_a_job_that_was_overtaken_does_nothing(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    await ask(rig.desk, applied.attempt, 0)
    await ask(rig.desk, applied.attempt, 0)
    assert sum((await rig.calls("query")).values()) == 1


async def test_each_ask_comes_later_than_the_one_before(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    waits = []
    for asks in range(5):
        await ask(rig.desk, applied.attempt, asks)
        waits.append(
            await rig.desk.pool.fetchval(
                "SELECT extract(epoch FROM ask_at - now())::int FROM attempts"
            )
        )
    assert waits == sorted(set(waits))
    assert waits[:3] == pytest.approx([10, 30, 60], abs=2)


async def test_after_the_fast_ladder_the_attempt_needs_attention_and_is_asked_on(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.desk.pool.execute("UPDATE attempts SET asks = 8, live_until = now() + interval '9 h'")
    await ask(rig.desk, applied.attempt, 8)
    attempt = (await rig.read(order)).attempts[0]
    assert attempt.needs_attention
    assert attempt.ask_at is not None
    async with rig.desk.pool.acquire() as conn:
        assert await attempts.count_needing_attention(conn) == 1


async def test_a_silent_channel_is_asked_for_ever(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(error={"verb": "query", "status": 500, "after_executing": False, "times": 9})
    await rig.desk.pool.execute("UPDATE attempts SET live_until = now() - interval '1 day'")
    for _ in range(3):
        await make_due(rig)
        await ask_overdue(rig.desk, 10)
    attempt = (await rig.read(order)).attempts[0]
    assert attempt.state is AttemptState.PAYING
    assert attempt.ask_at is not None


async def test_a_dead_attempt_ends_when_the_channel_says_unpaid(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.desk.pool.execute("UPDATE attempts SET live_until = now()")
    await make_due(rig)
    await ask_overdue(rig.desk, 10)
    attempt = (await rig.read(order)).attempts[0]
    assert attempt.state is AttemptState.CLOSED
    assert attempt.ask_at is None


async def test_a_superseded_attempt_is_closed_by_asking(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(error={"verb": "close", "status": 500, "after_executing": False, "times": 1})
    await rig.apply(order, H5)
    await make_due(rig)
    await ask_overdue(rig.desk, 10)
    assert (await rig.read(order)).attempts[0].state is AttemptState.CLOSED


async def test_a_close_that_raced_the_password_is_found_by_the_later_asks(rig: Rig) -> None:
    """F34: close answered 204, the money came all the same, and every callback is lost."""
    await rig.faults(drop_callbacks=1, close="paid_race")
    order = await rig.order()
    first = number_in((await rig.apply(order)).body)
    await rig.apply(order, H5)
    assert (await rig.read(order)).attempts[0].state is AttemptState.CLOSED
    await rig.pay(first)
    later = await rig.desk.pool.fetchval(
        "SELECT ask_at - now() < interval '61 s' FROM attempts WHERE number = $1", first
    )
    assert later
    await make_due(rig)
    await ask_overdue(rig.desk, 10)
    after = await rig.read(order)
    assert after.state is OrderState.PAID
    assert after.attempts[0].state is AttemptState.CAPTURED


async def test_an_ended_attempt_is_asked_about_twice_more_and_no_more(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.apply(order, H5)
    asked = "SELECT ask_at IS NOT NULL FROM attempts WHERE state = 'closed'"
    for ends in (False, True):
        assert await rig.desk.pool.fetchval(asked)
        if ends:
            await rig.desk.pool.execute("UPDATE attempts SET live_until = now()")
        await rig.desk.pool.execute(
            "UPDATE attempts SET ask_at = now(), updated_at = now() - interval '1 minute' "
            "WHERE state = 'closed'"
        )
        await ask_overdue(rig.desk, 10)
    assert not await rig.desk.pool.fetchval(asked)


async def test_the_buyer_who_comes_back_makes_us_ask_once(rig: Rig) -> None:
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.pay(number_in(applied.body))
    await ask_once(rig.desk, applied.attempt)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_a_crash_between_claiming_and_asking_is_made_up_for(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    async with rig.desk.pool.acquire() as conn:
        claimed = await attempts.claim_ask(conn, applied.attempt, 0, lease_s=0)
    assert claimed is not None  # and here the worker dies
    assert await ask_overdue(rig.desk, 10) == 1


async def test_an_attempt_whose_answer_to_create_was_lost_is_asked_about(rig: Rig) -> None:
    order = await rig.order()
    await rig.faults(lose_answer={"verb": "create", "after_executing": True, "times": 1})
    with pytest.raises(Exception, match="did not answer"):
        await rig.apply(order)
    number = (await rig.read(order)).attempts[0].number
    await rig.faults(drop_callbacks=1)
    await rig.pay(number)
    await make_due(rig)
    await ask_overdue(rig.desk, 10)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_what_needs_attention_is_news_once(rig: Rig) -> None:
    """The flag is in the order's JSON, so whoever watches its version must see it turn."""
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.desk.pool.execute("UPDATE attempts SET asks = 7, live_until = now() + interval '9 h'")
    before = (await rig.read(order)).version
    seen = []
    for asks in (7, 8, 9):
        await ask(rig.desk, applied.attempt, asks)
        now = await rig.read(order)
        seen.append((now.attempts[0].needs_attention, now.version - before))
    assert seen == [(True, 1), (True, 1), (True, 1)]


async def test_what_has_ended_needs_nobodys_attention(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.apply(order, H5)
    await rig.desk.pool.execute("UPDATE attempts SET asks = 8 WHERE state = 'closed'")
    before = (await rig.read(order)).version
    await ask(rig.desk, applied.attempt, 8)
    after = await rig.read(order)
    assert (after.attempts[0].state, after.attempts[0].asks) == (AttemptState.CLOSED, 9)
    assert not after.attempts[0].needs_attention
    assert after.version == before


async def test_a_merchant_can_have_a_channel_asked_steadily(rig: Rig) -> None:
    """`ask_timeout_s` is a pace, not a ladder with one rung."""
    await rig.desk.pool.execute(
        "UPDATE channel_accounts "
        "SET settings = settings || jsonb_build_object('ask_timeout_s', '20')"
    )
    applied = await rig.apply(await rig.order())
    waits = []
    for asks in range(4):
        waits.append(
            await rig.desk.pool.fetchval(
                "SELECT extract(epoch FROM ask_at - now())::int FROM attempts"
            )
        )
        await ask(rig.desk, applied.attempt, asks)
    assert waits == pytest.approx([20] * 4, abs=2)
    assert not await rig.desk.pool.fetchval("SELECT needs_attention FROM attempts")
