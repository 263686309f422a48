"""Refunds when answers are lost, workers die and many work at once: still one at the channel.

The sandbox's ledger is the judge: it knows what was really given back.
"""

import asyncio
from datetime import timedelta
from typing import Final

import asyncpg
import pytest

from gateway.db import moves, refund_moves, refunds
from gateway.ids import RefundId
from gateway.model import RefundState
from gateway.payments import refunding
from gateway.payments.closing import close_order
from gateway.payments.refund_rules import Standing, read
from gateway.payments.refunding import refund_due, refund_now
from gateway.payments.settle import settle
from tests.payments.refunds import (
    carry_on,
    entries,
    finish,
    limit,
    must_be_given_back_once,
    only_refund,
    paid_twice,
    refunds_of,
    told,
    traits,
    unguard,
    until_refund,
)
from tests.payments.test_settling import number_in, paid
from tests.rig import MERCHANT, PRICE, Rig


@pytest.mark.parametrize("verb", ["refund", "query_refund", "query"])
@pytest.mark.parametrize("executed", [True, False], ids=["executed", "not executed"])
@pytest.mark.parametrize("fault", ["lose_answer", "500", "429"])
async def test_whatever_answer_is_lost_the_money_goes_back_once(
    rig: Rig, verb: str, executed: bool, fault: str
) -> None:
    owed = await paid_twice(rig)
    await rig.faults(drop_callbacks=1)
    said = {"verb": verb, "after_executing": executed, "times": 2}
    if fault == "lose_answer":
        await rig.faults(lose_answer=said)
    else:
        await rig.faults(error={**said, "status": int(fault)})
    await finish(rig, owed.order)
    await must_be_given_back_once(rig, owed)


async def test_a_lost_answer_is_asked_about_before_the_call_is_repeated(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.faults(drop_callbacks=1)
    await rig.faults(lose_answer={"verb": "refund", "after_executing": True, "times": 1})
    refund = await only_refund(rig, owed.order)
    await carry_on(rig)
    sent = await only_refund(rig, owed.order)
    assert sent.state is RefundState.SENT
    assert sent.check_at is not None
    assert sent.check_at < sent.updated_at + timedelta(seconds=10)
    await finish(rig, owed.order)
    assert await rig.calls("refund") == {refund.number: 1}
    assert await rig.calls("query_refund") == {refund.number: 1}


async def test_a_silent_channel_releases_nothing_and_is_asked_later(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.faults(error={"verb": "query", "status": 500, "after_executing": False, "times": 1})
    await carry_on(rig)
    refund = await only_refund(rig, owed.order)
    assert (refund.state, refund.waits) == (RefundState.HELD, False)
    assert await refund_due(rig.desk, 50) == 0  # not yet
    assert await rig.calls("refund") == {}


STEPS: Final = ("_release", "_query", "_let_go", "_send", "_call_refund", "_settle")


class Died(Exception):
    """The worker is gone, in the middle of it."""


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_that_dies_at_any_step_is_made_up_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owed = await paid_twice(rig)
    await rig.faults(drop_callbacks=1)

    async def die(*_: object) -> object:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(refunding, step, die)
        await carry_on(rig)
    assert (await only_refund(rig, owed.order)).state is not RefundState.DONE
    assert await refund_due(rig.desk, 50) == 0  # its lease still stands
    await finish(rig, owed.order)
    await must_be_given_back_once(rig, owed)


async def test_what_was_due_long_ago_is_carried_on(rig: Rig) -> None:
    owed = await paid_twice(rig)
    await rig.desk.pool.execute("UPDATE refunds SET check_at = now() - interval '40 days'")
    assert await refund_due(rig.desk, 50) == 1
    await until_refund(rig, owed.order, RefundState.DONE)


async def test_many_workers_at_once_give_the_money_back_once(rig: Rig) -> None:
    owed = await paid_twice(rig)
    claimed = await asyncio.gather(*(refund_due(rig.desk, 50) for _ in range(4)))
    assert sum(claimed) == 1
    await until_refund(rig, owed.order, RefundState.DONE)
    assert list((await rig.calls("refund")).values()) == [1]
    await must_be_given_back_once(rig, owed)


@pytest.mark.parametrize(
    ("guarded", "calls"),
    [pytest.param(True, 1, id="as shipped"), pytest.param(False, 2, id="control: no guard")],
)
async def test_two_workers_whose_leases_ran_out_call_the_channel_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, guarded: bool, calls: int
) -> None:
    """Both have read `ready` before either writes `sent`; only who wrote it may call.

    Even without the guard the ledger has one refund, because both say the same number.
    """
    owed = await paid_twice(rig)
    refund = await only_refund(rig, owed.order)
    await rig.desk.pool.execute(
        "UPDATE refunds SET state = 'ready', released_at = now(), check_at = now()"
    )
    await rig.faults(drop_callbacks=1)
    if not guarded:
        unguard(monkeypatch, refund_moves, "_MOVE", "AND o.version = $7", "AND $7::bigint > 0")
        unguard(monkeypatch, refund_moves, "_MOVE", "r.state = $10", "$10::text <> ''")
    meet_after_reading(monkeypatch)
    await asyncio.gather(*(refunding._carry_on(rig.desk, refund.id) for _ in range(2)))
    assert await rig.calls("refund") == {refund.number: calls}
    await rig.desk.pool.execute("UPDATE refunds SET check_at = now() WHERE state = 'sent'")
    await refund_due(rig.desk, 50)
    assert len((await entries(rig))[owed.surplus].refunds) == 1


def meet_after_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first two readers of a refund wait for each other before they go on."""
    both_have_read = asyncio.Barrier(2)
    readers = 0

    async def meeting(conn: asyncpg.Connection, refund_id: RefundId) -> Standing | None:
        nonlocal readers
        readers += 1
        was = await read(conn, refund_id)
        if readers <= 2:
            await both_have_read.wait()
        return was

    monkeypatch.setattr(refunding, "read", meeting)


@pytest.mark.parametrize(
    ("without", "debts"),
    [
        pytest.param((), 1, id="as shipped"),
        pytest.param(("index", "number"), 1, id="version alone"),
        pytest.param(("version", "number"), 1, id="index alone"),
        pytest.param(("version", "index"), 1, id="number alone"),
        pytest.param(("version", "index", "number"), 2, id="control: none"),
    ],
)
async def test_one_surplus_payment_is_one_debt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...], debts: int
) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await close_order(rig.desk, order.id, MERCHANT)
    if "version" in without:
        unguard(monkeypatch, moves, "_SETTLE", "AND version = $7", "AND $7::bigint > 0")
    if "index" in without:
        await rig.desk.pool.execute("DROP INDEX one_surplus_refund_per_attempt")
    if "number" in without:
        await rig.desk.pool.execute("ALTER TABLE refunds DROP CONSTRAINT refunds_number_key")
    both_have_read = asyncio.Barrier(2)

    async def meet(*_: object) -> None:
        await both_have_read.wait()

    news = (settle(rig.desk.pool, paid(number), rig.url, hush=meet) for _ in range(2))
    await asyncio.gather(*news)
    assert len(await refunds_of(rig, order)) == debts


@pytest.mark.parametrize("minutes", [9, 11])
async def test_a_refusal_of_a_repeat_fails_only_when_the_first_call_must_be_dead(
    rig: Rig, minutes: int
) -> None:
    owed = await paid_twice(rig)
    await rig.faults(lose_answer={"verb": "refund", "after_executing": False, "times": 1})
    await carry_on(rig)
    await rig.desk.pool.execute(
        "UPDATE refunds SET sent_at = now() - $1 * interval '1 minute'", minutes
    )
    await rig.faults(error={"verb": "refund", "status": 403, "after_executing": False, "times": 1})
    await carry_on(rig)
    state = (await only_refund(rig, owed.order)).state
    assert state is (RefundState.SENT if minutes < 10 else RefundState.FAILED)
    if state is RefundState.SENT:
        await finish(rig, owed.order)
        await must_be_given_back_once(rig, owed)


async def test_past_the_numbers_life_nothing_is_repeated(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F36: the channel would take a repeat for another refund, so two persons decide."""
    owed = await paid_twice(rig)
    await rig.faults(lose_answer={"verb": "refund", "after_executing": False, "times": 1})
    await carry_on(rig)
    first = await only_refund(rig, owed.order)
    traits(monkeypatch, refund_repeat_window=timedelta(0))
    await carry_on(rig)
    refund = await only_refund(rig, owed.order)
    assert (refund.state, refund.waits, refund.tries) == (RefundState.HELD, True, 2)
    assert refund.number == first.number.removesuffix("R1") + "R2"
    assert (await told(rig, owed.order))[-2:] == ["refund.failed", "refund.held"]
    assert await rig.calls("refund") == {first.number: 1}


@pytest.mark.parametrize(
    ("locked", "released"),
    [pytest.param(True, 1, id="as shipped"), pytest.param(False, 2, id="control: no lock")],
)
async def test_refunds_at_once_do_not_exceed_the_limit_of_a_day(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, locked: bool, released: int
) -> None:
    await limit(rig, refund_daily_limit=PRICE + PRICE // 2)
    for _ in range(2):
        await paid_twice(rig)
    if not locked:
        unguard(monkeypatch, refunds, "_LOCK_ACCOUNTS", "FOR NO KEY UPDATE OF a", "")
        both_have_summed = asyncio.Barrier(2)
        sum_up = refunds.released_today

        async def meeting(conn: asyncpg.Connection, account: str, currency: str) -> int:
            given = await sum_up(conn, account, currency)
            await both_have_summed.wait()
            return given

        monkeypatch.setattr(refunds, "released_today", meeting)
    await rig.desk.pool.execute("UPDATE refunds SET check_at = now()")
    assert await refund_due(rig.desk, 50) == 2
    let_go = await rig.desk.pool.fetchval(
        "SELECT count(*) FROM refunds WHERE released_at IS NOT NULL"
    )
    assert let_go == released


async def test_refund_now_does_nothing_that_is_not_due(rig: Rig) -> None:
    owed = await paid_twice(rig)
    refund = await only_refund(rig, owed.order)
    await rig.desk.pool.execute("UPDATE refunds SET check_at = now() + interval '1 hour'")
    await refund_now(rig.desk, refund.id)
    assert (await only_refund(rig, owed.order)).state is RefundState.HELD
