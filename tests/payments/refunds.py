"""What tests about refunds need: an order that was really paid twice, and what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from gateway.channels import wechat
from gateway.channels.base import RefundRequest
from gateway.db import refunds
from gateway.model import Order, OrderState, Refund, RefundState
from gateway.money import Money
from gateway.objects import snapshot
from gateway.payments.refunding import refund_due
from tests.payments.test_settling import two_attempts
from tests.rig import ACCOUNT, PRICE, Rig, until


class Owed(Struct, frozen=True):
    """An order with one surplus payment, and the numbers of both payments at the channel."""

    order: Order
    winner: str
    surplus: str


class RefundEntry(Struct, frozen=True):
    number: str
    amount: int
    state: str


class Entry(Struct, frozen=True):
    number: str
    captured: int
    refunded: int
    refunds: list[RefundEntry]


async def paid_twice(rig: Rig) -> Owed:
    """Two attempts of one order, both really paid."""
    await rig.faults(refund_takes_s=0.0)
    order, winner, surplus = await two_attempts(rig)
    await rig.pay(winner)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(surplus)
    await until_owed(rig, order)
    return Owed(order, winner, surplus)


async def until_owed(rig: Rig, order: Order) -> Refund:
    async def look() -> Refund | None:
        known = await refunds_of(rig, order)
        return known[-1] if known else None

    return await until(look)


async def refunds_of(rig: Rig, order: Order) -> Sequence[Refund]:
    async with rig.desk.pool.acquire() as conn:
        return await refunds.of_order(conn, order.id)


async def only_refund(rig: Rig, order: Order) -> Refund:
    (refund,) = await refunds_of(rig, order)
    return refund


async def until_refund(rig: Rig, order: Order, state: RefundState) -> Refund:
    async def look() -> Refund | None:
        refund = await only_refund(rig, order)
        return refund if refund.state is state else None

    return await until(look)


async def carry_on(rig: Rig) -> None:
    """Let the sweep look at every refund that is under way, whenever it was to be looked at."""
    await rig.desk.pool.execute("UPDATE refunds SET check_at = now() WHERE check_at IS NOT NULL")
    await refund_due(rig.desk, 50)


async def finish(rig: Rig, order: Order) -> Refund:
    """Sweep until the refund is done."""

    async def look() -> Refund | None:
        await carry_on(rig)
        refund = await only_refund(rig, order)
        return refund if refund.state is RefundState.DONE else None

    return await until(look)


async def entries(rig: Rig) -> dict[str, Entry]:
    found = [msgspec.convert(each, Entry) for each in await rig.ledger()]
    return {entry.number: entry for entry in found}


async def must_be_given_back_once(rig: Rig, owed: Owed) -> None:
    """The surplus is back, in one refund; the winner is untouched and the order is as it was."""
    at_channel = await entries(rig)
    given = [r for r in at_channel[owed.surplus].refunds if r.state != "closed"]
    assert [r.amount for r in given] == [at_channel[owed.surplus].captured]
    assert at_channel[owed.surplus].refunded == at_channel[owed.surplus].captured
    assert at_channel[owed.winner].refunds == []
    order = await rig.read(owed.order)
    assert (order.state, order.amount_refunded) == (OrderState.PAID, 0)
    assert order.paid_attempt is not None
    assert order.attempt(order.paid_attempt).number == owed.winner


async def told(rig: Rig, order: Order) -> list[str]:
    rows = await rig.desk.pool.fetch(
        "SELECT type FROM events WHERE order_id = $1 ORDER BY id", order.id
    )
    return [row[0] for row in rows]


async def shown(rig: Rig, order: Order) -> str:
    """What the buyer's page says of the surplus."""
    now = await rig.read(order)
    return snapshot(now, now.created_at, frozenset()).surplus


def traits(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    monkeypatch.setattr(wechat, "TRAITS", replace(wechat.TRAITS, **changes))


async def give_back_by_hand(rig: Rig, number: str, amount: int) -> None:
    """Refund at the channel, as somebody does on its merchant site."""
    account = await rig.desk.accounts.by_id(ACCOUNT)
    assert account is not None
    report = await account.adapter.query(number)
    assert report.payment_ref is not None
    notify_url = f"{rig.url}/callbacks/{ACCOUNT}"
    money, total = Money(amount, "CNY"), Money(PRICE, "CNY")
    by_hand = RefundRequest(
        "BYHAND", number, report.payment_ref, money, total, "by hand", notify_url, datetime.now(UTC)
    )
    await account.adapter.refund(by_hand)


def unguard(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, guard: str, without: str
) -> None:
    statement = getattr(module, name)
    assert guard in statement
    monkeypatch.setattr(module, name, statement.replace(guard, without))


async def limit(rig: Rig, **limits: int) -> None:
    for name, amount in limits.items():
        await rig.desk.pool.execute(
            "UPDATE channel_accounts "
            "SET settings = settings || jsonb_build_object($1::text, $2::text)",
            name,
            str(amount),
        )
