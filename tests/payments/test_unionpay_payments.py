"""UnionPay beside WeChat Pay: it closes nothing, so what came too late is given back.

A transaction there is a number and a time. Whatever is lost on the way, every repeat and every
question says the same two, and so there is one payment and one refund.
"""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import structs

from gateway.channels.actions import FormAction
from gateway.channels.base import RefundRequest
from gateway.db import orders
from gateway.errors import ChannelDown
from gateway.merchants import add_channel, switch_channel
from gateway.model import AttemptState, Order, OrderState, RefundState, Terminal
from gateway.money import Money
from gateway.payments import accounts
from gateway.payments.asking import ask_overdue
from gateway.payments.closing import close_order
from gateway.payments.planning import Wish
from gateway.sandbox.keys import SandboxKeys, unionpay_account
from gateway.secrets import Cipher
from tests.payments.refunds import carry_on, entries, finish, only_refund, until_owed
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, NATIVE, Rig, StartRig

CODE = Wish("unionpay", Terminal.PC)
PAGE = Wish("unionpay", Terminal.WAP)


class Shown(msgspec.Struct, frozen=True):
    """What the buyer was given to post."""

    next_action: FormAction


@pytest.fixture
async def rig(start_rig: StartRig, keys: SandboxKeys) -> Rig:
    rig = await start_rig()
    account = unionpay_account(keys, f"{rig.sandbox_url}/unionpay")
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await add_channel(conn, cipher, MERCHANT, "up", "unionpay", account)
    await rig.faults("unionpay", refund_takes_s=0)
    return rig


async def both_paid(rig: Rig) -> tuple[Order, str]:
    """An order that WeChat Pay paid, and whose UnionPay code was paid after that."""
    order = await rig.order()
    unionpay = number_in((await rig.apply(order, CODE)).body)
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(unionpay, channel="unionpay")
    await until_owed(rig, order)
    return order, unionpay


async def test_the_merchants_file_and_its_password_are_kept_encrypted(rig: Rig) -> None:
    kept = await rig.desk.pool.fetchval("SELECT settings FROM channel_accounts WHERE id = 'up'")
    assert {"mer_id", "root_cert"} <= msgspec.json.decode(kept, type=dict[str, str]).keys()
    assert "pfx" not in kept


async def test_a_code_is_paid_once(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order, CODE)).body)
    await rig.pay(number, channel="unionpay")
    paid = await rig.until_order(order, OrderState.PAID)
    assert [each.state for each in paid.attempts] == [AttemptState.CAPTURED]


async def test_a_form_is_the_same_form_however_often_it_is_asked_for(rig: Rig) -> None:
    order = await rig.order()
    shown = [(await rig.apply(order, PAGE)).body for _ in range(2)]
    await rig.desk.pool.execute("UPDATE attempts SET next_action_until = now()")
    shown.append((await rig.apply(order, PAGE)).body)  # made anew, as after a lost answer
    forms = [msgspec.json.decode(body, type=Shown).next_action for body in shown]
    assert forms[0] == forms[1] == forms[2]
    for form in forms:
        async with rig.http.post(form.url, data=form.fields, allow_redirects=False) as answer:
            assert answer.status == 302
    assert list(await entries(rig)) == [number_in(shown[0])]


async def test_a_code_whose_answer_was_lost_is_asked_for_again_as_the_same_payment(
    rig: Rig,
) -> None:
    order = await rig.order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await rig.faults("unionpay", lose_answer=lost)
    with pytest.raises(ChannelDown):
        await rig.apply(order, CODE)
    number = number_in((await rig.apply(order, CODE)).body)
    assert list(await entries(rig)) == [number]


async def test_where_a_repeat_is_refused_as_a_duplicate_the_buyer_gets_another_code(
    rig: Rig,
) -> None:
    """The first one may be paid all the same: it stays asked about, and its money is surplus."""
    order = await rig.order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await rig.faults("unionpay", lose_answer=lost)
    with pytest.raises(ChannelDown):
        await rig.apply(order, CODE)
    duplicate = {"verb": "create", "status": 500, "code": "12", "after_executing": False}
    await rig.faults("unionpay", error=duplicate)
    second = number_in((await rig.apply(order, CODE)).body)
    first, _ = (each.number for each in (await rig.read(order)).attempts)
    await rig.pay(second, channel="unionpay")
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(first, channel="unionpay")
    await until_owed(rig, order)
    states = [each.state for each in (await rig.read(order)).attempts]
    assert states == [AttemptState.SURPLUS, AttemptState.CAPTURED]


async def test_what_cannot_be_closed_is_superseded_and_its_money_given_back_once(
    rig: Rig,
) -> None:
    order, unionpay = await both_paid(rig)
    await finish(rig, order)
    entry = (await entries(rig))[unionpay]
    assert (entry.captured, entry.refunded, len(entry.refunds)) == (order.amount, order.amount, 1)
    states = [each.state for each in (await rig.read(order)).attempts]
    assert states == [AttemptState.SURPLUS, AttemptState.CAPTURED]


async def test_a_refund_whose_answer_was_lost_is_one_refund_by_the_time_it_was_first_sent(
    rig: Rig,
) -> None:
    order, unionpay = await both_paid(rig)
    lost = {"verb": "refund", "after_executing": True, "times": 1}
    await rig.faults("unionpay", lose_answer=lost, drop_callbacks=1)
    await carry_on(rig)
    first = await only_refund(rig, order)
    assert first.state is RefundState.SENT
    done = await finish(rig, order)
    assert done.sent_at == first.sent_at
    assert len((await entries(rig))[unionpay].refunds) == 1


async def test_a_refund_that_was_lost_on_its_way_is_sent_again_with_the_same_time(
    rig: Rig,
) -> None:
    order, unionpay = await both_paid(rig)
    lost = {"verb": "refund", "after_executing": False, "times": 1}
    await rig.faults("unionpay", lose_answer=lost)
    await carry_on(rig)
    assert (await entries(rig))[unionpay].refunds == []
    await finish(rig, order)
    assert len((await entries(rig))[unionpay].refunds) == 1
    assert (await rig.calls("refund"))[f"{unionpay}R1"] == 2


async def test_with_another_time_the_same_refund_would_be_a_second_one(rig: Rig) -> None:
    """The control of the two above: what the kept time keeps from happening."""
    order = await rig.order()
    number = number_in((await rig.apply(order, CODE)).body)
    await rig.pay(number, channel="unionpay")
    account = await rig.desk.accounts.by_id("up")
    assert account is not None
    report = await account.adapter.query(number)
    assert report.payment_ref is not None
    assert report.money is not None
    sent_at = datetime.now(UTC)
    notify_url = f"{rig.url}/callbacks/up"
    part = Money(1, "CNY")
    asked = RefundRequest(
        number + "R1", number, report.payment_ref, part, report.money, "part", notify_url, sent_at
    )
    for late in (timedelta(0), timedelta(0), timedelta(seconds=5)):
        await account.adapter.refund(structs.replace(asked, sent_at=sent_at + late))
    assert [each.amount for each in (await entries(rig))[number].refunds] == [1, 1]


async def test_not_found_right_after_create_ends_nothing(rig: Rig) -> None:
    """Nobody has posted the form yet, and its buyer may do so until its time is over."""
    order = await rig.order()
    await rig.apply(order, PAGE)
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now()")
    await ask_overdue(rig.desk, 10)
    (attempt,) = (await rig.read(order)).attempts
    assert (attempt.state, attempt.superseded) == (AttemptState.PAYING, False)
    assert attempt.live_until - attempt.pay_by == timedelta(days=1)


async def test_an_order_that_is_closed_while_its_code_lives_owes_back_what_comes_late(
    rig: Rig,
) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order, CODE)).body)
    closed = await close_order(rig.desk, order.id, MERCHANT)
    assert closed.state is OrderState.CLOSED
    await rig.pay(number, channel="unionpay")
    await until_owed(rig, order)
    await finish(rig, order)
    entry = (await entries(rig))[number]
    assert (entry.captured, entry.refunded) == (order.amount, order.amount)


async def test_the_page_may_post_forms_to_unionpay_and_nowhere_else(rig: Rig) -> None:
    order = await rig.order()
    async with rig.http.get(f"{rig.url}/checkout/{order.token}") as page:
        policy = page.headers["Content-Security-Policy"]
    assert f"form-action 'self' {rig.sandbox_url};" in policy


async def test_a_form_of_an_account_that_was_disabled_can_still_be_posted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)
    begun, other = await rig.order(), await rig.order()
    await rig.apply(begun, PAGE)
    async with rig.desk.pool.acquire() as conn:
        await switch_channel(conn, "up", on=False)
    policies = []
    for order in (begun, other):
        async with rig.http.get(f"{rig.url}/checkout/{order.token}") as page:
            policies.append(page.headers["Content-Security-Policy"])
    assert [f"form-action 'self' {rig.sandbox_url};" in each for each in policies] == [True, False]


async def test_who_is_sent_back_with_a_form_is_sent_on_to_the_page(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order, PAGE)
    (attempt,) = (await rig.read(order)).attempts
    url = f"{rig.url}/checkout/{order.token}/return/{attempt.id}"
    said = {"respCode": "00", "orderId": attempt.number}
    async with rig.http.post(url, data=said, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, url.removeprefix(rig.url))
    async with rig.http.get(url) as page:
        assert page.status == 200
    async with rig.desk.pool.acquire() as conn:
        reading = await orders.read(conn, order.id)
    assert reading is not None
    assert reading[0].state is OrderState.OPEN
