"""What settle() writes, to the last column, and that it is what settle() says it has written."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.model import AttemptState, OrderState, Outcome
from gateway.money import Money
from gateway.objects import attempt_object, order_object, refund_object
from gateway.payments import settle as settling
from gateway.payments.settle import Verdict
from tests.factories import NOW, a_report, an_attempt, an_order
from tests.payments.rows import (
    URL,
    Books,
    Row,
    a_callback,
    an_id,
    bodies,
    changes,
    created,
    paid,
    said,
)


async def test_a_payment_that_captures_writes_this_and_nothing_else(books: Books) -> None:
    order = await books.put_order(
        "1", "4 declined wx", "3 closed wx", "1 paying wx", "2 created wx superseded"
    )
    before = await books.rows()
    settled, _ = await books.settle(paid("1"), a_callback())
    after = await books.rows()
    now = settled.attempt.updated_at
    (kept,) = after["callbacks"].values()
    changed = changes(before, after)
    assert changed["orders"] == {
        order: {
            "version": 2,
            "state": "paid",
            "paid_attempt": settled.attempt.id,
            "paid_attempt_state": "captured",
            "paid_at": now,
            "due_at": None,
            "cause": "callback",
        }
    }
    assert changed["attempts"] == {
        settled.attempt.id: {
            "state": "captured",
            "payment_ref": "ref-1",
            "received_amount": 100,
            "received_currency": "CNY",
            "ask_at": None,
            "calling_until": None,
            "needs_attention": False,
            "updated_at": now,
            "cause": "callback",
            "evidence": kept["id"],
        },
        an_id("2"): {"ask_at": now, "updated_at": now},
    }
    assert set(changed) == {"orders", "attempts", "callbacks", "events", "journal"}
    assert [told_by(row) for row in after["events"].values()] == [("m", "order.paid", order, 2)]
    assert journal(changed["journal"]) == [
        ("attempt", "paying", "captured", "callback", kept["id"]),
        ("order", "open", "paid", "callback", None),
    ]


async def test_late_money_takes_the_offer_of_another_attempt_back(books: Books) -> None:
    await books.put_order("1", "1 closed wx", "2 paying wx")
    settled, _ = await books.settle(paid("1"))
    offered = settled.order.attempt(an_id("2"))
    assert settled.attempt.state is AttemptState.CAPTURED
    assert (offered.state, offered.superseded) == (AttemptState.PAYING, True)
    assert offered.ask_at == offered.updated_at == settled.attempt.updated_at


async def test_surplus_is_written_with_its_debt_and_leaves_the_order_as_it_is(books: Books) -> None:
    order = await books.put_order("1", "3 closed wx", "1 paying wx", "2 created wx superseded")
    await books.settle(paid("1"))
    before = await books.rows()
    settled, move = await books.settle(paid("3", "ref-3"), a_callback())
    after = await books.rows()
    now = settled.attempt.updated_at
    (kept,) = after["callbacks"].values()
    changed = changes(before, after)
    assert changed["orders"] == {order: {"version": 3}}
    assert changed["attempts"] == {
        settled.attempt.id: {
            "state": "surplus",
            "payment_ref": "ref-3",
            "received_amount": 100,
            "received_currency": "CNY",
            "ask_at": None,
            "calling_until": None,
            "needs_attention": False,
            "updated_at": now,
            "cause": "callback",
            "evidence": kept["id"],
        }
    }
    assert move is not None
    assert move.refund is not None
    (refund,) = after["refunds"].values()
    assert debt(refund) == (order, an_id("3"), "wx", "surplus", "held", 100, "CNY")
    assert refund["number"] == f"{'3':0>26}R1"
    assert refund["note"] == "its order does not need it"
    assert refund["try"] == 1
    assert refund["check_at"] == refund["created_at"] == refund["updated_at"] == now
    assert (refund["cause"], refund["evidence"]) == ("callback", kept["id"])
    told = list(after["events"].values())
    assert [told_by(row) for row in told] == [
        ("m", "order.paid", order, 2),
        ("m", "attempt.surplus", order, 3),
    ]
    assert (settled.attempt.refund_state, settled.attempt.refund_waits) == ("held", False)
    assert settled.order.paid_attempt == an_id("1")


async def test_what_is_not_the_price_is_surplus_that_waits_for_a_person(books: Books) -> None:
    order = await books.put_order("1", "1 paying wx", "2 created wx superseded")
    before = await books.rows()
    settled, move = await books.settle(paid("1", amount=99))
    after = await books.rows()
    assert settled.order.state is OrderState.OPEN
    assert before["orders"][order]["due_at"] == after["orders"][order]["due_at"]
    assert an_id("2") not in changes(before, after)["attempts"]
    assert move is not None
    assert move.refund is not None
    assert move.refund.check_at is None
    assert move.refund.note == (
        "what arrived is not the price, or some of it was given back: a person looks"
    )
    assert move.refund.amount == 99
    assert (settled.attempt.refund_state, settled.attempt.refund_waits) == ("held", True)
    told = list(after["events"].values())
    assert [told_by(row)[1] for row in told] == ["attempt.surplus", "refund.held"]
    surplus, held = bodies(after)
    assert surplus.data.refund is None
    assert held.data.order == surplus.data.order == order_object(settled.order, URL)
    assert held.data.refund == refund_object(move.refund)
    assert held.data.attempt == attempt_object(settled.attempt, payable=True)


@pytest.mark.parametrize(
    ("refunded", "state", "note", "told"),
    [
        (40, "held", "what arrived is not the price, or some of it", "refund.held"),
        (None, "held", "what arrived is not the price, or some of it", "refund.held"),
        (100, "done", "given back at the channel already", "refund.done"),
    ],
)
async def test_what_was_given_back_already_never_pays_an_order(
    books: Books, refunded: int | None, state: str, note: str, told: str
) -> None:
    await books.put_order("1", "1 paying wx")
    settled, move = await books.settle(paid("1", refunded=refunded))
    assert settled.order.state is OrderState.OPEN
    assert move is not None
    assert move.refund is not None
    assert move.refund.state == settled.attempt.refund_state == state
    assert move.refund.check_at is None
    assert move.refund.note is not None
    assert move.refund.note.startswith(note)
    assert [event.type for event in move.events] == ["attempt.surplus", told]
    assert settled.attempt.refund_waits == (state == "held")


async def test_other_money_under_a_number_is_written_as_an_attempt_of_its_own(
    books: Books,
) -> None:
    order = await books.put_order("1", "1 paying wx", "2 created wx superseded")
    first, _ = await books.settle(paid("1"), a_callback("n-1"))
    before = await books.rows()
    other = replace(paid("1", "ref-2"), money=Money(70, "USD"), channel_ref="pi-2")
    settled, move = await books.settle(other, a_callback("n-2"))
    after = await books.rows()
    changed = changes(before, after)
    assert settled.attempt == first.attempt
    assert move is not None
    assert move.sibling is not None
    assert move.refund is not None
    ((sibling_id, sibling),) = changed["attempts"].items()
    kept = after["callbacks"]["n-2"]
    now = sibling["created_at"]
    taken_over = {
        *("order_id", "number", "account", "channel", "product", "terminal", "payer"),
        *("amount", "currency", "parameters", "pay_by", "live_until"),
    }
    original = before["attempts"][first.attempt.id]
    assert {name: sibling[name] for name in taken_over} == {
        name: original[name] for name in taken_over
    }
    assert {name: each for name, each in sibling.items() if name not in taken_over} == {
        "id": sibling_id,
        "sibling_of": first.attempt.id,
        "state": "surplus",
        "superseded": False,
        "received_amount": 70,
        "received_currency": "USD",
        "payment_ref": "ref-2",
        "channel_ref": "pi-2",
        "capture_claimed_at": None,
        "captures": 0,
        "next_action": None,
        "next_action_until": None,
        "calling_until": None,
        "ask_at": None,
        "asks": 0,
        "needs_attention": False,
        "cause": "callback",
        "evidence": kept["id"],
        "created_at": now,
        "updated_at": now,
    }
    (refund,) = changed["refunds"].values()
    assert debt(refund) == (order, sibling_id, "wx", "surplus", "held", 70, "USD")
    assert refund["evidence"] == kept["id"]
    assert [told_by(row)[1:] for row in changed["events"].values()] == [
        ("attempt.surplus", order, 3),
        ("refund.held", order, 3),
    ]
    for body in bodies(after)[1:]:
        assert body.data.attempt is not None
        assert body.data.attempt.id == sibling_id
    again, nothing = await books.settle(other)
    assert (again.moved, nothing) == (False, None)


@pytest.mark.parametrize(
    ("outcome", "state"), [(Outcome.DECLINED, "declined"), (Outcome.CLOSED, "closed")]
)
async def test_an_attempt_that_ends_unpaid_is_asked_about_once_more_a_minute_later(
    books: Books, outcome: Outcome, state: str
) -> None:
    order = await books.put_order("1", "1 paying wx", "2 created wx superseded")
    before = await books.rows()
    settled, _ = await books.settle(said("1", outcome))
    now = settled.attempt.updated_at
    assert changes(before, await books.rows()) | {"journal": {}} == {
        "orders": {order: {"version": 2, "cause": "poll"}},
        "attempts": {
            an_id("1"): {
                "state": state,
                "ask_at": now + timedelta(minutes=1),
                "calling_until": None,
                "needs_attention": False,
                "updated_at": now,
                "cause": "poll",
            }
        },
        "journal": {},
    }


@pytest.mark.parametrize(
    ("lives_for_s", "asked_in_s"), [(61, 60), (60, 60), (59, 59), (1, 1), (0, None), (-1, None)]
)
def test_nobody_asks_about_an_attempt_after_its_life(
    lives_for_s: int, asked_in_s: int | None
) -> None:
    attempt = replace(an_attempt(), live_until=NOW + timedelta(seconds=lives_for_s))
    report = a_report(attempt, Outcome.CLOSED)
    verdict = Verdict(AttemptState.CLOSED, OrderState.OPEN)
    move = settling._move(an_order(attempt), attempt, report, verdict, NOW, URL)
    asked_at = None if asked_in_s is None else NOW + timedelta(seconds=asked_in_s)
    assert move.attempt.ask_at == asked_at


async def test_an_event_says_what_was_written_and_where_it_goes(books: Books) -> None:
    order = await books.put_order("1", "1 paying wx", notify_url="https://own.example/hook")
    other = await books.put_order("2", "2 paying wx")
    settled, move = await books.settle(paid("1"))
    await books.settle(paid("2", "ref-2"))
    await books.pool.execute("UPDATE merchants SET notify_url = NULL")
    third = await books.put_order("3", "3 paying wx")
    await books.settle(paid("3", "ref-3"))
    told = {str(row["order_id"]): row for row in (await books.rows())["events"].values()}
    assert [told[each]["url"] for each in (order, other, third)] == [
        "https://own.example/hook",
        "https://m.example/hook",
        None,
    ]
    for each in (order, other):  # both are the transaction's time
        assert told[each]["deliver_at"] == created(told[each]) + timedelta(seconds=30)
    assert told[third]["deliver_at"] is None
    assert move is not None
    (event,) = move.events
    assert (told[order]["id"], told[order]["body"]) == (event.id, event.body)
    body = next(each for each in bodies(await books.rows()) if each.order == order)
    assert (body.id, body.type, body.version) == (event.id, "order.paid", 2)
    assert body.timestamp == settled.attempt.updated_at
    assert body.data.order == order_object(settled.order, URL)
    assert body.data.attempt == attempt_object(settled.attempt, payable=False)
    assert body.data.refund is None


def told_by(event: Row) -> tuple[object, ...]:
    return tuple(event[name] for name in ("merchant", "type", "order_id", "version"))


def debt(refund: Row) -> tuple[object, ...]:
    names = ("order_id", "attempt_id", "account", "reason", "state", "amount", "currency")
    return tuple(refund[name] for name in names)


def journal(rows: dict[str, dict[str, object]]) -> list[tuple[object, ...]]:
    names = ("noun", "from_state", "to_state", "cause", "evidence")
    return sorted((tuple(row[name] for name in names) for row in rows.values()), key=str)


@pytest.mark.parametrize("state", ["paying", "surplus"])
@pytest.mark.parametrize(("said_ref", "known_ref"), [("", "cs-1"), ("pi-2", "pi-2")])
async def test_what_finds_the_payment_at_its_channel_is_what_the_channel_said_last(
    books: Books, state: str, said_ref: str, known_ref: str
) -> None:
    """Of other money too, which is none that a capture of ours may still debit."""
    await books.put_order("1", "1 paying wx")
    if state == "surplus":
        await books.settle(paid("1", amount=99))
    await books.pool.execute(
        "UPDATE attempts SET channel_ref = 'cs-1', captures = 2, capture_claimed_at = now() "
        "WHERE number = '1'"
    )
    settled, _ = await books.settle(replace(paid("1", "ref-2"), channel_ref=said_ref))
    attempt = settled.order.attempts[-1]
    assert (attempt.payment_ref, attempt.channel_ref) == ("ref-2", known_ref)
    if state == "surplus":
        assert (attempt.captures, attempt.capture_claimed_at) == (0, None)
