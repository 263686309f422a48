"""Money that arrives, in every way that it does: recorded once, counted once, owed back once."""

import asyncio

import asyncpg
import msgspec
import pytest

from gateway.db import moves
from gateway.model import (
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    RefundState,
    Source,
)
from gateway.money import Money
from gateway.payments.closing import close_order
from gateway.payments.settle import UnknownNumber, settle
from tests.rig import ACCOUNT, H5, MERCHANT, PRICE, Rig, StartRig, until
from workers.sweep import settle_unknown


def paid(number: str, ref: str = "ref-1", amount: int = PRICE) -> ChannelReport:
    money = Money(amount, "CNY")
    return ChannelReport(ACCOUNT, number, Outcome.PAID, Source.POLL, ref, money)


async def test_a_payment_makes_the_order_paid_and_tells_the_order_service(rig: Rig) -> None:
    order = await rig.order()
    applied = await rig.apply(order)
    await rig.pay(number_in(applied.body))
    done = await rig.until_order(order, OrderState.PAID)
    assert done.paid_attempt == applied.attempt
    event = await rig.receiver.wait_for("order.paid", order.id)
    assert event.version == done.version


async def test_the_same_callback_many_times_at_once_has_one_effect(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    settled = await asyncio.gather(*(rig.desk.settle(paid(number)) for _ in range(20)))
    assert sum(each.moved for each in settled) == 1
    await rig.receiver.wait_for("order.paid", order.id)
    assert len(rig.receiver.received) == 1


async def two_attempts(rig: Rig) -> tuple[Order, str, str]:
    """An order with two attempts that can both be paid: the first could not be closed."""
    order = await rig.order()
    await rig.faults(close="refuse")
    first = number_in((await rig.apply(order)).body)
    second = number_in((await rig.apply(order, H5)).body)
    assert first != second
    return order, first, second


async def test_two_payments_of_one_order_are_one_capture_and_one_surplus(rig: Rig) -> None:
    order, first, second = await two_attempts(rig)
    await asyncio.gather(
        rig.desk.settle(paid(first, "ref-1")), rig.desk.settle(paid(second, "ref-2"))
    )
    after = await rig.read(order)
    states = sorted(attempt.state for attempt in after.attempts)
    assert states == [AttemptState.CAPTURED, AttemptState.SURPLUS]
    surplus = next(a for a in after.attempts if a.state is AttemptState.SURPLUS)
    assert surplus.refund_state is RefundState.HELD
    assert not surplus.refund_waits
    assert after.paid_attempt != surplus.id


@pytest.mark.parametrize(
    ("version", "index", "captured"),
    [
        pytest.param(True, True, 1, id="as shipped"),
        pytest.param(True, False, 1, id="version alone"),
        pytest.param(False, True, 1, id="index alone"),
        pytest.param(False, False, 2, id="control: neither"),
    ],
)
async def test_without_the_version_guard_and_the_index_an_order_is_captured_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, version: bool, index: bool, captured: int
) -> None:
    """F6: a rival has read the order when the other one writes, and writes what it decided then."""
    order, first, second = await two_attempts(rig)
    if not version:
        unguarded = moves._SETTLE.replace("AND version = $7", "AND $7::bigint > 0")
        assert unguarded != moves._SETTLE
        monkeypatch.setattr(moves, "_SETTLE", unguarded)
    if not index:
        await rig.desk.pool.execute("DROP INDEX one_captured_per_order")
    both_have_read = asyncio.Barrier(2)

    waiting = iter(range(2))

    async def meet(_order: str, _version: int) -> None:
        """Called between reading and writing: both decide before either writes."""
        if next(waiting, None) is not None:
            await both_have_read.wait()

    await asyncio.gather(
        settle(rig.desk.pool, paid(first, "ref-1"), rig.url, hush=meet),
        settle(rig.desk.pool, paid(second, "ref-2"), rig.url, hush=meet),
    )
    after = await rig.read(order)
    states = [attempt.state for attempt in after.attempts]
    assert states.count(AttemptState.CAPTURED) == captured
    assert states.count(AttemptState.SURPLUS) == 2 - captured


async def test_a_second_payment_under_one_number_is_a_sibling_surplus(rig: Rig) -> None:
    """F33: each payment is a row, whichever is heard of again."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    for _ in range(2):  # and the same news again changes nothing
        await rig.desk.settle(paid(number, "ref-1"))
        await rig.desk.settle(paid(number, "ref-2"))
    after = await rig.read(order)
    assert [a.state for a in after.attempts] == [AttemptState.CAPTURED, AttemptState.SURPLUS]
    assert {a.number for a in after.attempts} == {number}
    assert after.attempts[1].refund_state is RefundState.HELD
    assert not after.attempts[1].refund_waits


async def test_a_wrong_amount_is_surplus_and_held(rig: Rig) -> None:
    """F22: it pays nothing, and a person looks before it goes back."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.desk.settle(paid(number, amount=PRICE - 1))
    after = await rig.read(order)
    assert after.state is OrderState.OPEN
    assert after.attempts[0].received_amount == PRICE - 1
    assert after.attempts[0].refund_state is RefundState.HELD
    assert after.attempts[0].refund_waits


async def test_money_for_a_closed_order_is_surplus(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await close_order(rig.desk, order.id, MERCHANT)
    await rig.desk.settle(paid(number))
    after = await rig.read(order)
    assert after.state is OrderState.CLOSED
    assert after.attempts[0].state is AttemptState.SURPLUS


async def test_the_losers_of_a_paid_order_are_closed_at_the_channel(start_rig: StartRig) -> None:
    rig = await start_rig(worker=True)
    order, first, second = await two_attempts(rig)
    await rig.faults(reset=True)
    await rig.pay(second)
    await rig.until_order(order, OrderState.PAID)

    async def closed() -> bool:
        entries = {entry["number"]: entry for entry in await rig.ledger()}
        return str(entries[first]["state"]).lower() == "closed"

    assert await until(closed)


async def test_a_callback_for_an_unknown_number_is_kept_and_settled_later(rig: Rig) -> None:
    """F5: it is kept and refused, so that it comes again, and is not needed a second time."""
    order = await rig.order()
    applied = await rig.apply(order)
    number = number_in(applied.body)
    pool = rig.desk.pool
    # The attempt is hidden, as it is to a callback that overtakes the commit.
    await pool.execute("UPDATE attempts SET number = 'hidden' WHERE id = $1", applied.attempt)
    await rig.pay(number)

    async def kept() -> object:
        return await pool.fetchval("SELECT 1 FROM callbacks WHERE retry_at IS NOT NULL")

    await until(kept)
    await rig.faults(drop_callbacks=1)  # from here on only what was kept can help
    await pool.execute("UPDATE attempts SET number = $2 WHERE id = $1", applied.attempt, number)
    await pool.execute("UPDATE callbacks SET retry_at = now()")
    await settle_unknown(rig.desk)
    assert (await rig.read(order)).paid_attempt == applied.attempt
    assert await pool.fetchval("SELECT count(*) FROM callbacks WHERE settled_at IS NULL") == 0


async def test_a_report_for_an_unknown_number_is_an_error_of_its_own(rig: Rig) -> None:
    with pytest.raises(UnknownNumber):
        await rig.desk.settle(paid("nobody"))


REFUND_OF_THE_WINNER = """
    INSERT INTO refunds (id, order_id, attempt_id, account, reason, number, amount, currency, state)
    SELECT 'ref_1', order_id, id, account, 'surplus', 'r1', 1, 'CNY', 'held' FROM attempts
"""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attempts SET state = 'paying' WHERE state = 'captured'",
        "UPDATE attempts SET state = 'closed' WHERE state = 'captured'",
        "UPDATE orders SET state = 'open', paid_attempt = NULL, paid_at = NULL",
        "UPDATE attempts SET received_amount = 1 WHERE state = 'captured'",
        REFUND_OF_THE_WINNER,
    ],
)
async def test_the_database_refuses_what_the_rules_do_not_know(rig: Rig, statement: str) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.desk.settle(paid(number))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await rig.desk.pool.execute(statement)


@pytest.mark.parametrize(
    ("attempt", "refused"),
    [
        pytest.param("of another order", True, id="another order's"),
        pytest.param("paying", True, id="not captured"),
        pytest.param("captured", False, id="its own, captured"),
    ],
)
async def test_an_order_is_paid_by_a_captured_attempt_of_its_own_or_not_at_all(
    rig: Rig, attempt: str, refused: bool
) -> None:
    order, other = await rig.order(), await rig.order()
    pays = (await rig.apply(order)).attempt
    if attempt == "of another order":
        another = await rig.apply(other)
        await rig.desk.settle(paid(number_in(another.body)))
        pays = another.attempt
    elif attempt == "captured":
        await rig.desk.pool.execute(
            "UPDATE attempts SET state = 'captured', ask_at = NULL, payment_ref = 'ref-1', "
            "received_amount = amount, received_currency = currency"
        )
    statement = (
        "UPDATE orders SET state = 'paid', due_at = NULL, paid_at = now(), paid_attempt = $2 "
        "WHERE id = $1"
    )
    if not refused:
        await rig.desk.pool.execute(statement, order.id, pays)
        return
    with pytest.raises(asyncpg.ForeignKeyViolationError) as violation:
        await rig.desk.pool.execute(statement, order.id, pays)
    assert violation.value.constraint_name == "paid_by_one_of_its_attempts"


async def test_the_journal_tells_the_whole_story(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await rig.desk.settle(paid(number))
    rows = await rig.desk.pool.fetch(
        "SELECT noun, from_state, to_state, cause FROM journal ORDER BY id"
    )
    assert sorted(tuple(row) for row in rows) == sorted(
        [
            ("order", "none", "open", "merchant"),
            ("attempt", "none", "created", "apply"),
            ("attempt", "created", "paying", "create"),
            ("attempt", "paying", "captured", "poll"),
            ("order", "open", "paid", "poll"),
        ]
    )


def number_in(body: bytes) -> str:
    return str(msgspec.json.decode(body)["number"])
