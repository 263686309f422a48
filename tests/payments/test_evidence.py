"""What settle() does with evidence, with an order that moves meanwhile, and in which turn."""

from datetime import timedelta

import pytest
import structlog

from gateway.db import orders
from gateway.errors import ServiceUnavailable
from gateway.ids import OrderId
from gateway.model import AttemptState, Evidence, OrderState, Outcome
from gateway.payments.settle import UnknownNumber, settle
from tests.payments.rows import URL, Books, Row, a_callback, an_id, changes, created, paid, said


async def test_evidence_is_kept_with_what_it_moved(books: Books) -> None:
    await books.put_order("1", "1 paying wx")
    await books.settle(paid("1"), a_callback())
    (kept,) = (await books.rows())["callbacks"].values()
    assert_is_evidence(kept, a_callback())
    assert kept["settled_at"] == kept["received_at"]
    assert kept["retry_at"] is None


async def test_evidence_is_kept_though_it_moved_nothing(books: Books) -> None:
    await books.put_order("1", "1 paying wx")
    before = await books.rows()
    settled, _ = await books.settle(said("1", Outcome.PROCESSING), a_callback())
    after = await books.rows()
    assert not settled.moved
    assert set(changes(before, after)) == {"callbacks"}
    (kept,) = after["callbacks"].values()
    assert_is_evidence(kept, a_callback())
    assert kept["settled_at"] == kept["received_at"]
    assert kept["retry_at"] is None
    nothing, _ = await books.settle(said("1", Outcome.PROCESSING))
    assert not nothing.moved
    assert await books.rows() == after


@pytest.mark.parametrize("outcome", [Outcome.PAID, Outcome.PROCESSING])
async def test_evidence_that_waited_for_its_attempt_waits_no_more(
    books: Books, outcome: Outcome
) -> None:
    """The sweep says the same callback again, once the attempt is there."""
    with pytest.raises(UnknownNumber, match=r"no attempt with number 1$"):
        await settle(books.pool, said("1", Outcome.UNPAID), URL, a_callback())
    before = await books.rows()
    (waiting,) = before["callbacks"].values()
    assert_is_evidence(waiting, a_callback())
    assert waiting["settled_at"] is None
    assert waiting["retry_at"] == created(waiting, "received_at") + timedelta(seconds=15)
    with pytest.raises(UnknownNumber):  # and another time: it waits as before
        await settle(books.pool, said("1", Outcome.UNPAID), URL, a_callback())
    assert await books.rows() == before
    await books.put_order("1", "1 paying wx")
    report = paid("1") if outcome is Outcome.PAID else said("1", outcome)
    await books.settle(report, a_callback())
    (kept,) = (await books.rows())["callbacks"].values()
    assert kept["id"] == waiting["id"]
    assert kept["settled_at"] is not None
    assert kept["retry_at"] is None


async def test_a_report_without_evidence_for_an_unknown_number_leaves_nothing(
    books: Books,
) -> None:
    before = await books.rows()
    with pytest.raises(UnknownNumber):
        await settle(books.pool, said("nobody", Outcome.PAID), URL)
    assert await books.rows() == before


async def test_a_number_belongs_to_its_account(books: Books) -> None:
    order = await books.put_order("1", "1 closed wx", "2 paying ali")
    await books.pool.execute("UPDATE attempts SET number = 'same' WHERE order_id = $1", order)
    settled, _ = await books.settle(paid("same", account="ali"))
    assert settled.attempt.id == an_id("2")
    assert settled.order.paid_attempt == an_id("2")


async def test_the_order_is_hushed_before_money_is_written_and_for_nothing_else(
    books: Books,
) -> None:
    order = await books.put_order("1", "1 paying wx", "2 created wx superseded")
    hushed: list[tuple[OrderId, int, OrderState]] = []

    async def hush(order_id: OrderId, version: int) -> None:
        async with books.pool.acquire() as conn:
            reading = await orders.read(conn, order_id)
        assert reading is not None
        hushed.append((order_id, version, reading[0].state))

    await settle(books.pool, said("2", Outcome.CLOSED), URL, hush=hush)
    assert hushed == []
    await settle(books.pool, paid("1"), URL, hush=hush)
    await settle(books.pool, paid("1"), URL, hush=hush)  # news that is known hushes nobody
    assert hushed == [(order, 2, OrderState.OPEN)]


async def test_what_was_decided_on_an_order_that_moved_is_decided_again(books: Books) -> None:
    order = await books.put_order("1", "2 closed wx", "1 paying wx")
    rivals = iter([paid("2", "ref-2")])

    async def rival_comes_first(_order: OrderId, _version: int) -> None:
        for rival in rivals:
            await settle(books.pool, rival, URL)

    settled = await settle(books.pool, paid("1"), URL, a_callback(), rival_comes_first)
    assert settled.moved
    assert settled.attempt.state is AttemptState.SURPLUS
    assert settled.order.paid_attempt == an_id("2")
    assert (await books.rows())["orders"][order]["version"] == settled.order.version == 3


async def test_a_report_that_cannot_be_settled_is_kept_for_later_and_told(books: Books) -> None:
    """Here the order moves between every reading and writing, for ever."""
    await books.put_order("1", "1 paying wx")
    tries: list[int] = []

    async def move(order: OrderId, version: int) -> None:
        tries.append(version)
        await books.pool.execute("UPDATE orders SET version = version + 1 WHERE id = $1", order)

    with (
        structlog.testing.capture_logs() as logged,
        pytest.raises(ServiceUnavailable, match=r"^The order is being changed .* in a moment\.$"),
    ):
        await settle(books.pool, paid("1"), URL, a_callback(), move)
    assert tries == list(range(1, 21))
    assert logged == [
        {"event": "report_cannot_be_settled", "account": "wx", "number": "1", "log_level": "error"}
    ]
    after = await books.rows()
    assert after["attempts"][an_id("1")]["state"] == "paying"
    (kept,) = after["callbacks"].values()
    assert_is_evidence(kept, a_callback())
    assert kept["settled_at"] is None
    assert kept["retry_at"] is not None


@pytest.mark.parametrize("evidence", [a_callback(), None])
async def test_a_payment_that_another_order_has_recorded_is_for_a_person(
    books: Books, evidence: Evidence | None
) -> None:
    await books.put_order("1", "1 paying wx")
    await books.put_order("2", "2 paying wx")
    await books.settle(paid("1", "the same"))
    before = await books.rows()
    with pytest.raises(ServiceUnavailable):
        await settle(books.pool, paid("2", "the same"), URL, evidence)
    after = await books.rows()
    assert set(changes(before, after)) == ({"callbacks"} if evidence else set())
    assert all(kept["retry_at"] is not None for kept in after["callbacks"].values())


def assert_is_evidence(row: Row, evidence: Evidence) -> None:
    names = ("account", "notification_id", "number", "headers", "body")
    assert [row[name] for name in names] == [getattr(evidence, name) for name in names]
