"""The right to debit, as the database gives it: to one attempt of an open order at a time."""

from datetime import datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

from gateway.db import capture_moves, orders
from gateway.ids import AttemptId, OrderId
from gateway.model import Attempt, AttemptState, Order, Outcome
from gateway.payments.planning import Step, Taker, plan
from tests.factories import NOW, an_attempt, an_order
from tests.payments.rows import Books, Rows, an_id, paid, said
from tests.rig import ACCOUNT, Rig

CALL_S = 6.0


async def read(books: Books, order_id: OrderId) -> Order:
    async with books.pool.acquire() as conn:
        reading = await orders.read(conn, order_id)
    assert reading is not None
    return reading[0]


async def claim(books: Books, order: Order, name: str = "1") -> datetime | None:
    async with books.pool.acquire() as conn:
        return await capture_moves.claim(
            conn, order, an_id(name), call_s=CALL_S, ask_in_s=9, needs_attention=False
        )


async def drop(
    books: Books, order: Order, name: str = "1", *, after_s: float = 0, refused: bool = False
) -> bool:
    async with books.pool.acquire() as conn:
        return await capture_moves.drop(
            conn,
            order,
            order.attempt(an_id(name)),
            after_s=after_s,
            refused=refused,
            ask_in_s=60,
        )


async def age(books: Books, attempt: AttemptId, by: timedelta) -> None:
    """Let a claim be older."""
    await books.pool.execute(
        "UPDATE attempts SET capture_claimed_at = capture_claimed_at - $2::interval WHERE id = $1",
        attempt,
        by,
    )


def changed(before: Rows, after: Rows) -> set[str]:
    """Name the rows that are not as they were."""
    return {
        key
        for table, rows in after.items()
        for key, row in rows.items()
        if row != before[table].get(key)
    }


async def test_a_claim_is_written_with_the_version_and_has_the_channel_asked_soon(
    books: Books,
) -> None:
    before = await read(books, await books.put_order("1", "1 paying wx", "2 paying wx superseded"))
    rows = await books.rows()
    claimed_at = await claim(books, before)
    after = await read(books, before.id)
    assert changed(rows, await books.rows()) == {before.id, an_id("1")}
    attempt, bystander = (after.attempt(an_id(name)) for name in "12")
    assert claimed_at is not None
    assert after.version == before.version + 1
    assert attempt.capture_claimed_at == attempt.updated_at == claimed_at
    assert attempt.ask_at == claimed_at + timedelta(seconds=9)
    assert bystander == before.attempt(an_id("2"))


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param("UPDATE orders SET version = version + 1", id="the order has moved"),
        pytest.param("UPDATE orders SET expires_at = now()", id="the order has expired"),
        pytest.param("UPDATE attempts SET superseded = true", id="another is offered"),
        pytest.param("UPDATE attempts SET state = 'closed'", id="the attempt has ended"),
        pytest.param(
            "UPDATE orders SET state = 'closed', closed_at = now(), close_reason = 'merchant',"
            " due_at = NULL",
            id="the order is closed",
        ),
    ],
)
async def test_what_is_not_to_be_paid_by_it_is_not_claimed(books: Books, meanwhile: str) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx"))
    await books.pool.execute(meanwhile)
    before = await books.rows()
    assert await claim(books, order) is None
    assert await books.rows() == before


async def test_who_is_offered_no_longer_claims_nothing_for_who_is(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx superseded", "2 paying wx"))
    before = await books.rows()
    assert await claim(books, order) is None
    assert await books.rows() == before


async def test_what_the_channel_has_not_accepted_is_not_claimed(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 created wx"))
    assert await claim(books, order) is None


async def test_a_claim_is_renewed_only_when_its_call_is_over(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx"))
    assert await claim(books, order) is not None
    claimed = await read(books, order.id)
    assert await claim(books, claimed) is None
    await age(books, an_id("1"), timedelta(seconds=CALL_S))
    assert await claim(books, claimed) is not None
    assert await claim(books, claimed) is None


async def test_one_attempt_of_an_order_is_debited_at_a_time(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx"))
    assert await claim(books, order) is not None
    await books.pool.execute("UPDATE attempts SET superseded = true WHERE id = $1", an_id("1"))
    await books.pool.execute(
        "UPDATE attempts SET superseded = false, state = 'paying', order_id = $1 WHERE id = $2",
        order.id,
        an_id("9"),
    )
    now = await read(books, order.id)
    with pytest.raises(asyncpg.UniqueViolationError, match="one_capture_claim_per_order"):
        await claim(books, now, "9")


async def test_a_claim_is_given_back_when_it_is_old_enough_and_still_that_one(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx", "2 paying wx superseded"))
    await claim(books, order)
    first = await read(books, order.id)
    assert not await drop(books, first, after_s=60)
    await age(books, an_id("1"), timedelta(seconds=60))
    assert not await drop(books, first)  # the claim that was read is not the one that is there
    second = await read(books, order.id)
    assert not await drop(books, replace(second, version=first.version - 1), after_s=60)
    assert not await drop(books, second, after_s=99)
    assert await read(books, order.id) == second
    rows = await books.rows()
    assert await drop(books, second, after_s=60)
    assert changed(rows, await books.rows()) == {order.id, an_id("1")}
    after = await read(books, order.id)
    assert after.version == second.version + 1
    attempt = after.attempt(an_id("1"))
    assert attempt.capture_claimed_at is None
    assert attempt.ask_at == attempt.updated_at + timedelta(seconds=60)


@pytest.mark.parametrize("refused", [True, False])
async def test_only_after_a_refusal_is_the_next_capture_another_one_to_the_channel(
    books: Books, refused: bool
) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx"))
    await claim(books, order)
    assert await drop(books, await read(books, order.id), refused=refused)
    assert (await read(books, order.id)).attempt(an_id("1")).captures == int(refused)


async def test_only_its_own_claim_is_given_back(books: Books) -> None:
    await books.put_order("2", "2 paying wx")
    order = await books.put_order("1", "1 paying wx")
    await books.pool.execute(
        "UPDATE attempts SET capture_claimed_at = now() - interval '1 hour' WHERE NOT superseded "
        "AND state = 'paying'"
    )
    rows = await books.rows()
    assert await drop(books, await read(books, order))
    assert changed(rows, await books.rows()) == {order, an_id("1")}


async def test_the_claim_of_what_has_ended_is_history(books: Books) -> None:
    order = await books.put_order("1", "1 paying wx")
    await claim(books, await read(books, order))
    await books.settle(paid("1"))
    before = await books.rows()
    assert not await drop(books, await read(books, order))
    assert await books.rows() == before


async def test_money_that_comes_while_it_is_claimed_is_captured(books: Books) -> None:
    order = await read(books, await books.put_order("1", "1 paying wx"))
    await claim(books, order)
    ended, _ = await books.settle(said("1", Outcome.CLOSED))
    assert ended.attempt.state is AttemptState.PAYING
    settled, _ = await books.settle(paid("1"))
    assert settled.attempt.state is AttemptState.CAPTURED


@pytest.mark.parametrize("superseded", [False, True])
@pytest.mark.parametrize(
    ("age_s", "waits"), [pytest.param(29, True, id="young"), pytest.param(30, False, id="old")]
)
async def test_nobody_goes_on_while_a_capture_is_young(
    rig: Rig, superseded: bool, age_s: int, waits: bool
) -> None:
    account = await rig.desk.accounts.by_id(ACCOUNT)
    assert account is not None
    taker = Taker(account, "native", "")
    claimed_at = NOW - timedelta(seconds=age_s)
    attempt: Attempt = replace(
        an_attempt("1", AttemptState.PAYING), capture_claimed_at=claimed_at, superseded=superseded
    )
    planned = plan(an_order(attempt), taker, NOW)
    assert (planned is not None and planned[0] is Step.WAIT) == waits


@pytest.mark.parametrize(("had", "asked", "has"), [(False, False, False), (False, True, True)])
async def test_a_claim_says_whether_a_person_is_to_look(
    books: Books, had: bool, asked: bool, has: bool
) -> None:
    order_id = await books.put_order("1", "1 paying wx")
    await books.pool.execute("UPDATE attempts SET needs_attention = $1", had)
    order = await read(books, order_id)
    async with books.pool.acquire() as conn:
        await capture_moves.claim(
            conn, order, an_id("1"), call_s=CALL_S, ask_in_s=9, needs_attention=asked
        )
    assert (await read(books, order_id)).attempt(an_id("1")).needs_attention is has
