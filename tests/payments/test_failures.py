"""Failures that real shops and gateways have had, where no other test has the case already.

Each docstring begins with the number under which docs/never-twice.md lists the failure.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from gateway.after import After
from gateway.errors import ApplyInProgress, ChannelDown, OrderAlreadyPaid
from gateway.locks.claims import LIVE_TTL_MS, Claims
from gateway.model import (
    AttemptState,
    ChannelReport,
    Evidence,
    NewOrder,
    Order,
    OrderState,
    Outcome,
    RefundState,
    Source,
)
from gateway.payments.applying import Applied, apply_for_payment
from gateway.payments.asking import ask_overdue
from gateway.payments.ordering import open_order
from gateway.payments.planning import Wish
from gateway.payments.settle import settle
from gateway.together import end
from tests.payments.refunds import only_refund, refunds_of, until_refund
from tests.payments.test_processes import serving_too
from tests.payments.test_settling import number_in, paid, two_attempts
from tests.rig import ACCOUNT, ALIPAY, H5, MERCHANT, NATIVE, Rig, StartRig, until
from workers.sweep import keep_sweeping


async def kept(rig: Rig) -> int:
    """What the channels kept of all that was paid."""
    ledger = await rig.ledger()
    return sum(int(str(entry["captured"])) - int(str(entry["refunded"])) for entry in ledger)


async def click_until_answered(rig: Rig, order: Order, wish: Wish) -> Applied:
    """A buyer who is told to wait asks again."""
    while True:
        with suppress(ApplyInProgress):
            return await rig.apply(order, wish)


async def test_two_tabs_on_two_channels_have_one_winner(start_rig: StartRig) -> None:
    """F2: the claim is the order's: the second tab waits, and closes what the first was given."""
    rig = await start_rig(alipay=True, worker=True)
    order = await rig.order()
    clicks = (click_until_answered(rig, order, wish) for wish in (NATIVE, ALIPAY))
    tabs = await asyncio.gather(*clicks)
    assert len({tab.attempt for tab in tabs}) == 2
    after = await rig.read(order)
    assert sum(attempt.offered for attempt in after.attempts) == 1
    offered = after.offered
    assert offered is not None
    await rig.pay(offered.number, channel=offered.channel)
    done = await rig.until_order(order, OrderState.PAID)
    assert done.paid_attempt == offered.id
    assert await kept(rig) == order.amount


async def test_when_what_follows_a_payment_fails_the_payment_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4: nothing compensates for it, and the database would not let a machine refund it."""

    async def fail(_after: After, _order: Order) -> None:
        raise RuntimeError("the step after the payment")

    monkeypatch.setattr(After, "settled", fail)
    order = await rig.order()
    await rig.pay(number_in((await rig.apply(order)).body))
    done = await rig.until_order(order, OrderState.PAID)
    await rig.desk.pool.execute("UPDATE events SET deliver_at = now()")  # as it is in 30 s
    sweeping = asyncio.create_task(keep_sweeping(rig.desk))
    await rig.receiver.wait_for("order.paid", order.id)
    await end([sweeping])
    assert (await rig.read(order)).state is OrderState.PAID
    assert await refunds_of(rig, order) == []
    assert await kept(rig) == order.amount
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="a_refund_fits_its_attempt"):
        await rig.desk.pool.execute(
            "INSERT INTO refunds (id, order_id, attempt_id, account, reason, number, amount, "
            "currency, state) VALUES ('ref_1', $1, $2, $3, 'surplus', 'R1', 100, 'CNY', 'held')",
            order.id,
            done.paid_attempt,
            ACCOUNT,
        )


async def test_a_lock_that_ends_at_once_and_is_never_renewed_costs_no_money(rig: Rig) -> None:
    """F7: every click has the lock, as when its holder is paused for longer than it lasts."""
    desk = replace(rig.desk, claims=Claims(rig.desk.redis, claim_ttl_ms=1))
    order = await rig.order()
    await rig.faults(latency_s=0.2)

    async def click() -> Applied | None:
        try:
            return await apply_for_payment(desk, order.id, NATIVE, MERCHANT)
        except ApplyInProgress:
            return None

    given = [applied for applied in await asyncio.gather(*(click() for _ in range(10))) if applied]
    assert len({applied.attempt for applied in given}) == 1
    assert list((await rig.calls("create")).values()) == [1]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(NATIVE, client_ip="203.0.113.9", user_agent="another"), id="the same"),
        pytest.param(H5, id="another product"),
    ],
)
async def test_a_retry_with_other_parameters_says_the_stored_ones_or_takes_another_number(
    rig: Rig, other: Wish
) -> None:
    """F8: a number is never created again with other parameters."""
    order = await rig.order()
    await rig.faults(error={"verb": "create", "status": 500, "after_executing": True, "times": 1})
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    [before] = (await rig.read(order)).attempts
    await rig.apply(order, other)
    first, *more = (await rig.read(order)).attempts
    assert (first.number, first.parameters) == (before.number, before.parameters)
    if other is H5:
        assert [first.state] + [each.state for each in more] == [
            AttemptState.CLOSED,  # before another number was made
            AttemptState.PAYING,
        ]
    else:
        assert (first.state, more) == (AttemptState.PAYING, [])


@pytest.mark.parametrize("wish", [NATIVE, H5, ALIPAY], ids=["again", "product", "channel"])
async def test_the_channel_took_the_money_and_nobody_said_so_and_the_buyer_tries_again(
    start_rig: StartRig, wish: Wish
) -> None:
    """F9: the second try finds the first one's money, and is refused."""
    rig = await start_rig(alipay=True)
    await rig.faults(drop_callbacks=1)
    await rig.faults(lose_answer={"verb": "create", "after_executing": True, "times": 1})
    order = await rig.order()
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    [first] = (await rig.read(order)).attempts
    assert first.state is AttemptState.CREATED  # not failed: nobody knows
    await rig.pay(first.number)
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order, wish)
    after = await rig.read(order)
    assert (after.state, after.paid_attempt) == (OrderState.PAID, first.id)
    assert len(after.attempts) == 1


async def a_signed_callback(rig: Rig, order: Order) -> tuple[bytes, Mapping[str, str]]:
    """A genuine callback about a payment of the order, as it was sent, that settled nothing."""
    pool = rig.desk.pool
    applied = await rig.apply(order)
    number = number_in(applied.body)
    await pool.execute("UPDATE attempts SET number = 'hidden' WHERE id = $1", applied.attempt)
    await rig.pay(number)

    async def look() -> asyncpg.Record | None:
        return await pool.fetchrow("SELECT body, headers FROM callbacks")

    body, headers = await until(look)
    await rig.faults(drop_callbacks=1)
    await pool.execute("UPDATE attempts SET number = $2 WHERE id = $1", applied.attempt, number)
    return body, msgspec.json.decode(headers, type=dict[str, str])


async def test_a_callback_for_an_unknown_number_comes_again_until_it_is_known(rig: Rig) -> None:
    """F5: it is not acknowledged, it is kept once, and the sending after our commit is settled."""
    order = await rig.order()
    body, headers = await a_signed_callback(rig, order)
    [attempt] = (await rig.read(order)).attempts
    pool, url = rig.desk.pool, f"{rig.url}/callbacks/{ACCOUNT}"
    for known, status in ((False, 404), (False, 404), (True, 204)):
        number = attempt.number if known else "hidden"
        await pool.execute("UPDATE attempts SET number = $2 WHERE id = $1", attempt.id, number)
        async with rig.http.post(url, data=body, headers=headers) as answer:
            assert answer.status == status
        assert await pool.fetchval("SELECT count(*) FROM callbacks") == 1
    assert (await rig.read(order)).paid_attempt == attempt.id


async def test_one_callback_three_times_at_three_processes_has_one_effect(rig: Rig) -> None:
    """F15: and every copy is acknowledged."""
    order = await rig.order()
    body, headers = await a_signed_callback(rig, order)

    async def send(url: str) -> int:
        async with rig.http.post(
            f"{url}/callbacks/{ACCOUNT}", data=body, headers=headers
        ) as answer:
            return answer.status

    async with serving_too(rig) as second, serving_too(rig) as third:
        urls = [rig.url, second, third] * 3
        assert {status // 100 for status in await asyncio.gather(*map(send, urls))} == {2}
    assert (await rig.read(order)).state is OrderState.PAID
    moves = await rig.desk.pool.fetch("SELECT to_state FROM journal WHERE noun = 'order'")
    assert [row[0] for row in moves] == ["open", "paid"]
    assert await rig.desk.pool.fetchval("SELECT count(*) FROM events") == 1
    assert await rig.desk.pool.fetchval("SELECT count(*) FROM callbacks") == 1


async def test_news_that_is_not_final_does_not_hide_the_success_with_the_same_id(rig: Rig) -> None:
    """F16: a notification that was kept already is settled all the same."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    evidence = Evidence(ACCOUNT, "news-1", number, "{}", b"{}")
    processing = ChannelReport(ACCOUNT, number, Outcome.PROCESSING, Source.CALLBACK)
    for _ in range(2):
        assert not (await rig.desk.settle(processing, evidence)).moved
    assert (await rig.desk.settle(paid(number), evidence)).moved
    assert (await rig.read(order)).state is OrderState.PAID


CLOCKS: Final = {
    "attempts": ("ask_at", "pay_by", "live_until"),
    "orders": ("expires_at", "due_at"),
    "refunds": ("check_at",),
    "events": ("deliver_at",),
}


async def test_a_scheduler_that_was_off_for_two_hours_finds_everything(rig: Rig) -> None:
    """F18: a payment that nobody reported, surplus to give back, an event, an order to expire."""
    await rig.faults(refund_takes_s=0.0)
    twice, first, second = await two_attempts(rig)
    for number in (first, second):
        await rig.desk.settle(await pay_unheard(rig, number))
    unheard = await rig.order()
    await pay_unheard(rig, number_in((await rig.apply(unheard)).body))
    forgotten = await rig.order()
    await rig.apply(forgotten)
    await rig.desk.errands.finish(10)
    for table, clocks in CLOCKS.items():
        back = ", ".join(f"{clock} = {clock} - interval '2 hours'" for clock in clocks)
        await rig.desk.pool.execute(f"UPDATE {table} SET {back}")
    await rig.desk.redis.flushdb()
    await rig.faults(drop_callbacks=0)
    sweeping = asyncio.create_task(keep_sweeping(rig.desk))
    await rig.until_order(unheard, OrderState.PAID)
    await rig.until_order(forgotten, OrderState.CLOSED)
    await until_refund(rig, twice, RefundState.DONE)
    for event, order in (
        ("order.paid", unheard),
        ("order.closed", forgotten),
        ("refund.done", twice),
    ):
        await rig.receiver.wait_for(event, order.id)
    await end([sweeping])
    assert (await only_refund(rig, twice)).tries == 1


async def pay_unheard(rig: Rig, number: str) -> ChannelReport:
    """A payment whose callback is lost; returns what the channel would answer to a query."""
    await rig.faults(drop_callbacks=1)
    await rig.pay(number)
    account = await rig.desk.accounts.by_id(ACCOUNT)
    assert account is not None
    return await account.adapter.query(number)


async def test_forged_callbacks_are_refused_and_counted(rig: Rig) -> None:
    """F24: one whose signature is false, one that has none, and one that was changed."""
    order = await rig.order()
    body, headers = await a_signed_callback(rig, order)
    url = f"{rig.url}/callbacks/{ACCOUNT}"
    false = dict(headers) | {"wechatpay-signature": headers["wechatpay-signature"][::-1]}
    changed = body.replace(b"TRANSACTION.SUCCESS", b"TRANSACTION.SUCCEED")
    assert changed != body
    sent: tuple[tuple[bytes, Mapping[str, str]], ...] = (
        (body, false),
        (body, {}),
        (changed, headers),
    )
    for each, said in sent:
        async with rig.http.post(url, data=each, headers=said) as answer:
            assert answer.status in (400, 401), await answer.text()
    assert (await rig.read(order)).state is OrderState.OPEN
    async with rig.http.get(f"{rig.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    counted = [line for line in lines if 'result="refused_' in line and f'"{ACCOUNT}"' in line]
    assert sum(float(line.split()[-1]) for line in counted) >= len(sent)


async def test_a_cart_that_is_posted_again_after_it_was_paid_is_answered_with_the_first_order(
    rig: Rig,
) -> None:
    """F26: the page showed an error though it was paid, and the buyer began again."""
    cart = NewOrder("cart-1", 100, "CNY", "tea", 1800)
    order, _ = await open_order(rig.desk, MERCHANT, cart)
    await rig.pay(number_in((await rig.apply(order)).body))
    await rig.until_order(order, OrderState.PAID)
    again, opened = await open_order(rig.desk, MERCHANT, cart)
    assert (again.id, again.state, opened) == (order.id, OrderState.PAID, False)
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(again)


async def test_two_people_who_scan_one_code_pay_once(rig: Rig) -> None:
    """F29: the channel takes one of them, and we count what it took."""
    order = await rig.order()
    applied = await rig.apply(order)
    pay = {"channel": "wechat", "number": number_in(applied.body)}

    async def scan_and_pay() -> int:
        async with rig.http.post(f"{rig.sandbox_url}/_control/pay", json=pay) as answer:
            return answer.status

    statuses = sorted(await asyncio.gather(*(scan_and_pay() for _ in range(2))))
    assert statuses == [200, 409]
    done = await rig.until_order(order, OrderState.PAID)
    assert done.paid_attempt == applied.attempt
    assert await kept(rig) == order.amount


async def test_a_cached_answer_ends_within_ten_seconds_though_nobody_forgets_it(rig: Rig) -> None:
    """F32: the process that wrote the money died before it could say so to Redis."""
    order = await rig.order()
    applied = await rig.apply(order)
    await settle(rig.desk.pool, paid(number_in(applied.body)), rig.url)  # no script, no errand
    assert (await rig.apply(order)).replayed
    key = f"payonce:{{{order.id}}}:answer"
    assert 0 < await rig.desk.redis.pttl(key) <= LIVE_TTL_MS <= 10_000
    await rig.desk.redis.delete(key)  # as it does then
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order)


async def test_nobody_knows_of_the_first_and_both_are_paid(rig: Rig) -> None:
    """F9: where the first one cannot even be asked about, its money becomes surplus."""
    await rig.faults(drop_callbacks=1, close="refuse")
    await rig.faults(lose_answer={"verb": "create", "after_executing": True, "times": 1})
    order = await rig.order()
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    second = await rig.apply(order, H5)
    await rig.pay((await rig.read(order)).attempts[0].number)
    await rig.desk.settle(await pay_unheard(rig, number_in(second.body)))
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE ask_at IS NOT NULL")
    await ask_overdue(rig.desk, 10)
    states = [attempt.state for attempt in (await rig.read(order)).attempts]
    assert states == [AttemptState.SURPLUS, AttemptState.CAPTURED]
