"""PayPal beside WeChat Pay, with the real protocol: nothing is debited before we say so.

What we do about an approval is shown step by step in `test_capturing`, and among rivals by
`tests/schedules`; here PayPal's own ids, answers, errors and webhooks are on the wire.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.channels.base import CaptureRequest, Capturing
from gateway.db import capture_moves, orders
from gateway.errors import ApplyInProgress, ChannelDown, ChannelRefused
from gateway.merchants import add_channel
from gateway.model import (
    Attempt,
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    RefundState,
    Source,
    Terminal,
)
from gateway.payments import capturing
from gateway.payments.asking import ask_once
from gateway.payments.capturing import go_on
from gateway.payments.closing import close_order, expire_due
from gateway.payments.planning import Wish
from gateway.payments.settle import Settled
from gateway.sandbox.keys import SandboxKeys, paypal_account
from gateway.secrets import Cipher
from tests.payments.refunds import entries, finish, only_refund, unguard, until_owed
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, NATIVE, Rig, StartRig, until

PAYPAL = Wish("paypal", Terminal.PC)


@pytest.fixture
async def rig(start_rig: StartRig, keys: SandboxKeys) -> AsyncIterator[Rig]:
    """PayPal tells nothing of its own accord until `hears` says so."""
    rig = await start_rig()
    account = paypal_account(keys, f"{rig.sandbox_url}/paypal")
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await add_channel(conn, cipher, MERCHANT, "pp", "paypal", account)
    await rig.faults("paypal", refund_takes_s=0)
    yield rig
    await rig.desk.errands.finish(within_s=10)


async def hears(rig: Rig) -> None:
    await rig.control("webhooks", kind="paypal", url=f"{rig.url}/callbacks/pp")


async def approve(rig: Rig, number: str) -> None:
    await rig.pay(number, channel="paypal")


async def offered(rig: Rig) -> tuple[Order, str]:
    """An order that its buyer may approve, and its number at PayPal."""
    order = await rig.order()
    return order, number_in((await rig.apply(order, PAYPAL)).body)


async def attempt_of(rig: Rig, order: Order, number: str) -> Attempt:
    attempts = (await rig.read(order)).attempts
    return next(attempt for attempt in attempts if attempt.number == number)


async def ask(rig: Rig, order: Order, number: str) -> Order:
    await ask_once(rig.desk, (await attempt_of(rig, order, number)).id)
    return await rig.read(order)


async def age_claims(rig: Rig, by_s: int) -> None:
    await rig.desk.pool.execute(
        "UPDATE attempts SET capture_claimed_at = capture_claimed_at - $1 * interval '1 second'",
        by_s,
    )


async def choose(rig: Rig, number: str, instrument: str) -> None:
    """The buyer approves on PayPal's page, and says what to debit."""
    account = await rig.desk.accounts.by_id("pp")
    assert account is not None
    ref = await rig.desk.pool.fetchval("SELECT channel_ref FROM attempts WHERE number = $1", number)
    form = {"token": ref, "action": "approve", "instrument": instrument}
    url = f"{rig.sandbox_url}/paypal/checkoutnow"
    async with rig.http.post(url, data=form, allow_redirects=False) as answer:
        assert answer.status == 303


async def captured(rig: Rig) -> dict[str, int]:
    """What PayPal really took, by number."""
    return {number: entry.captured for number, entry in (await entries(rig)).items()}


async def test_the_apps_secret_is_kept_encrypted(rig: Rig) -> None:
    kept = await rig.desk.pool.fetchval("SELECT settings FROM channel_accounts WHERE id = 'pp'")
    assert "client_id" in msgspec.json.decode(kept)
    assert "client_secret" not in msgspec.json.decode(kept)


async def test_what_the_buyer_approves_is_debited_when_the_webhook_comes(rig: Rig) -> None:
    await hears(rig)
    order, number = await offered(rig)
    await approve(rig, number)
    paid = await rig.until_order(order, OrderState.PAID)
    assert [each.state for each in paid.attempts] == [AttemptState.CAPTURED]
    assert (await captured(rig), await rig.calls("capture")) == (
        {number: order.amount},
        {number: 1},
    )
    kept = await rig.desk.pool.fetchval("SELECT headers FROM callbacks LIMIT 1")
    assert "paypal-transmission-sig" in msgspec.json.decode(kept)


@pytest.mark.parametrize("how", ["certificate", "paypal", "both"])
async def test_however_webhooks_are_verified_the_first_one_is_believed(
    rig: Rig, keys: SandboxKeys, how: str
) -> None:
    account = paypal_account(keys, f"{rig.sandbox_url}/paypal") | {"verify_webhooks": how}
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await add_channel(conn, cipher, MERCHANT, "pp", "paypal", account)
    await hears(rig)
    order, number = await offered(rig)
    await approve(rig, number)
    await rig.until_order(order, OrderState.PAID)
    async with rig.http.get(f"{rig.sandbox_url}/_control/callbacks") as answer:
        sent = {each["kind"]: each["sends"] for each in (await answer.json())["data"]}
    assert sent["CHECKOUT.ORDER.APPROVED"] == 1


async def test_the_order_is_told_so_that_paypal_can_block_a_second_payment_of_it(
    rig: Rig,
) -> None:
    """Two attempts of one order have one invoice: the second is refused by PayPal too."""
    order, first = await offered(rig)
    await rig.desk.pool.execute("UPDATE attempts SET superseded = true")
    await rig.desk.pool.execute("UPDATE attempts SET created_at = created_at - interval '7 hours'")
    await rig.desk.redis.flushdb()  # where the answer is remembered for ten seconds
    second = number_in((await rig.apply(order, PAYPAL)).body)
    assert first != second
    account = await rig.desk.accounts.by_id("pp")
    assert account is not None
    assert isinstance(account.adapter, Capturing)
    refs = {each.number: each.channel_ref for each in (await rig.read(order)).attempts}
    for number in (first, second):
        await approve(rig, number)
    await account.adapter.capture(CaptureRequest(first, refs[first], "BYHAND1", order.money))
    with pytest.raises(ChannelRefused, match="DUPLICATE_INVOICE_ID"):
        await account.adapter.capture(CaptureRequest(second, refs[second], "BYHAND2", order.money))
    assert await captured(rig) == {first: order.amount, second: 0}


async def test_many_who_hear_of_an_approval_at_once_debit_once(rig: Rig) -> None:
    """F28: workers and webhooks race to capture."""
    await hears(rig)
    order, number = await offered(rig)
    await rig.faults("paypal", latency_s=0.1, duplicate_callbacks=2)
    await approve(rig, number)
    await asyncio.gather(*(ask(rig, order, number) for _ in range(4)))
    await rig.until_order(order, OrderState.PAID)
    assert (await captured(rig), await rig.calls("capture")) == (
        {number: order.amount},
        {number: 1},
    )


async def test_without_the_claim_they_all_call(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the one above; that PayPal debits once is then PayPal's doing alone."""
    order, number = await offered(rig)
    await rig.faults("paypal", latency_s=0.3)
    await approve(rig, number)
    free = "capture_claimed_at <= now() - $4 * interval '1 second'"
    unguard(monkeypatch, capture_moves, "_CLAIM", free, "$4 > 0")
    monkeypatch.setattr(capturing, "_is_to_be_debited", lambda *_: True)
    await asyncio.gather(*(ask(rig, order, number) for _ in range(4)))
    assert (await rig.calls("capture"))[number] > 1
    assert await captured(rig) == {number: order.amount}


async def test_an_order_that_is_captured_already_is_read_again_and_is_paid(rig: Rig) -> None:
    """F28: somebody else captured between our question and our call."""
    order, number = await offered(rig)
    await approve(rig, number)
    attempt = await attempt_of(rig, order, number)
    account = await rig.desk.accounts.by_id("pp")
    assert account is not None
    adapter = account.adapter
    assert isinstance(adapter, Capturing)
    await adapter.capture(CaptureRequest(number, attempt.channel_ref, "ANOTHER", order.money))
    approved = ChannelReport("pp", number, Outcome.APPROVED, Source.POLL)
    settled = await go_on(rig.desk, Settled(order, attempt, moved=False), approved)
    assert settled.order.state is OrderState.PAID
    assert await captured(rig) == {number: order.amount}


async def rival_wins_after_the_claim(rig: Rig) -> tuple[Order, str]:
    """F37: WeChat Pay's attempt could not be closed; PayPal's is approved and claimed, the worker
    dies, and WeChat Pay's is paid.
    """
    order = await rig.order()
    await rig.faults(close="refuse")
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    paypal = number_in((await rig.apply(order, PAYPAL)).body)
    await approve(rig, paypal)
    async with rig.desk.pool.acquire() as conn:
        reading = await orders.read(conn, order.id)
        assert reading is not None
        attempt = next(each for each in reading[0].attempts if each.number == paypal)
        assert await capture_moves.claim(
            conn, reading[0], attempt.id, call_s=6, ask_in_s=6, needs_attention=False
        )
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)
    await age_claims(rig, 7)
    return order, paypal


async def test_a_worker_that_resumes_after_a_rival_has_won_debits_nobody(rig: Rig) -> None:
    """F37: crash after the capture claim."""
    order, paypal = await rival_wins_after_the_claim(rig)
    await ask(rig, order, paypal)
    assert await rig.calls("capture") == {}
    assert (await captured(rig))[paypal] == 0


async def test_without_a_look_at_the_order_the_buyer_is_debited_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the one above; what it took is surplus."""
    order, paypal = await rival_wins_after_the_claim(rig)
    open_order = "state = 'open' AND expires_at > now()"
    unguard(monkeypatch, capture_moves, "_CLAIM", open_order, "true")
    unguard(monkeypatch, capture_moves, "_CLAIM", "AND NOT superseded", "")
    monkeypatch.setattr(capturing, "_is_to_be_debited", lambda *_: True)
    await ask(rig, order, paypal)
    assert (await captured(rig))[paypal] == order.amount
    assert (await attempt_of(rig, order, paypal)).state is AttemptState.SURPLUS


async def test_what_was_approved_in_another_tab_is_never_debited(rig: Rig) -> None:
    order, paypal = await offered(rig)
    await approve(rig, paypal)
    wechat = number_in((await rig.apply(order, NATIVE)).body)  # this ends PayPal's
    assert (await attempt_of(rig, order, paypal)).state is AttemptState.CLOSED
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)
    await hears(rig)
    await approve(rig, paypal)  # once more, in a tab that was left open
    await ask(rig, order, paypal)
    await until(lambda: rig.desk.pool.fetchval("SELECT true FROM callbacks WHERE account = 'pp'"))
    await rig.desk.errands.finish(within_s=10)
    assert (await rig.calls("capture"), (await captured(rig))[paypal]) == ({}, 0)


@pytest.mark.parametrize("executed", [True, False])
async def test_a_capture_whose_answer_was_lost_is_asked_about_and_debits_once(
    rig: Rig, executed: bool
) -> None:
    order, number = await offered(rig)
    await approve(rig, number)
    lost = {"verb": "capture", "after_executing": executed, "times": 1}
    await rig.faults("paypal", lose_answer=lost)
    assert (await ask(rig, order, number)).state is OrderState.OPEN
    assert (await attempt_of(rig, order, number)).capture_claimed_at is not None
    await age_claims(rig, 7)
    assert (await ask(rig, order, number)).state is OrderState.PAID
    assert await captured(rig) == {number: order.amount}
    assert (await rig.calls("capture"))[number] == (1 if executed else 2)


async def test_money_on_its_way_is_not_paid_and_nobody_else_is_debited_meanwhile(
    rig: Rig,
) -> None:
    order, number = await offered(rig)
    await choose(rig, number, "reviewed")
    assert (await ask(rig, order, number)).state is OrderState.OPEN
    with pytest.raises(ApplyInProgress):
        await rig.apply(order, NATIVE)
    with pytest.raises(ChannelDown):  # it may be paid yet, so it is not closed
        await close_order(rig.desk, order.id, MERCHANT)
    await age_claims(rig, 3600)
    await ask(rig, order, number)
    claimed = await attempt_of(rig, order, number)
    assert (claimed.state, claimed.capture_claimed_at is None) == (AttemptState.PAYING, False)
    assert await rig.calls("capture") == {number: 1}
    await hears(rig)
    await rig.pay(number, channel="paypal")  # it arrives
    await rig.until_order(order, OrderState.PAID)
    assert await captured(rig) == {number: order.amount}


async def test_money_that_never_arrives_frees_the_order(rig: Rig) -> None:
    order, number = await offered(rig)
    await choose(rig, number, "reviewed")
    await ask(rig, order, number)
    await rig.control("decline", channel="paypal", number=number)
    await age_claims(rig, 3600)
    for _ in range(2):  # the claim goes, then the attempt
        await ask(rig, order, number)
    assert (await attempt_of(rig, order, number)).state is AttemptState.DECLINED
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)


async def test_a_declined_card_ends_nothing_and_the_next_approval_is_debited(rig: Rig) -> None:
    order, number = await offered(rig)
    await choose(rig, number, "declined")
    assert (await ask(rig, order, number)).state is OrderState.OPEN
    refused = await attempt_of(rig, order, number)
    assert (refused.state, refused.capture_claimed_at, refused.captures) == (
        AttemptState.PAYING,
        None,
        1,
    )
    assert number_in((await rig.apply(order, PAYPAL)).body) == number  # the same page again
    await hears(rig)
    await choose(rig, number, "balance")
    await rig.until_order(order, OrderState.PAID)
    assert await captured(rig) == {number: order.amount}


async def test_an_order_that_expired_while_it_was_approved_is_not_debited(rig: Rig) -> None:
    order, number = await offered(rig)
    await approve(rig, number)
    await rig.desk.pool.execute(
        "UPDATE orders SET expires_at = now() - interval '1 second', due_at = now()"
    )
    await ask(rig, order, number)
    await expire_due(rig.desk, 10)
    assert (await rig.read(order)).state is OrderState.CLOSED
    await ask(rig, order, number)
    assert (await rig.calls("capture"), await captured(rig)) == ({}, {number: 0})


async def test_an_order_that_the_buyer_approved_can_be_closed_by_its_merchant(rig: Rig) -> None:
    order, number = await offered(rig)
    await approve(rig, number)
    assert (await close_order(rig.desk, order.id, MERCHANT)).state is OrderState.CLOSED
    await ask(rig, order, number)
    assert await rig.calls("capture") == {}


async def test_an_order_at_paypal_whose_answer_was_lost_is_asked_for_again_as_the_same(
    rig: Rig,
) -> None:
    order = await rig.order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await rig.faults("paypal", lose_answer=lost)
    with pytest.raises(ChannelDown):
        await rig.apply(order, PAYPAL)
    number = number_in((await rig.apply(order, PAYPAL)).body)
    assert list(await entries(rig)) == [number]
    await approve(rig, number)
    assert (await ask(rig, order, number)).state is OrderState.PAID


async def test_what_paypal_forgot_is_offered_again_as_another_order(rig: Rig) -> None:
    """Three hours are over: the link is of no use, and nobody was debited."""
    order, number = await offered(rig)
    await rig.desk.pool.execute("UPDATE attempts SET next_action_until = now()")
    await rig.faults("paypal", clock_shift_s=4 * 3600)
    await rig.desk.redis.flushdb()  # where the answer is remembered for ten seconds
    again = number_in((await rig.apply(order, PAYPAL)).body)
    assert again != number
    await approve(rig, again)
    assert (await ask(rig, order, again)).state is OrderState.PAID


async def test_another_amount_than_the_price_is_surplus_and_waits_for_a_person(rig: Rig) -> None:
    """F22."""
    order, number = await offered(rig)
    await rig.pay(number, channel="paypal", amount=order.amount - 1)
    assert (await ask(rig, order, number)).state is OrderState.OPEN
    attempt = await attempt_of(rig, order, number)
    assert (attempt.state, attempt.received_amount) == (AttemptState.SURPLUS, order.amount - 1)
    assert (await only_refund(rig, order)).state is RefundState.HELD


async def test_a_second_capture_under_one_number_is_given_back_once(rig: Rig) -> None:
    """F33, should PayPal ever take money that we did not ask for."""
    await hears(rig)
    order, number = await offered(rig)
    await approve(rig, number)
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(number, channel="paypal", again=True)
    await until_owed(rig, order)
    states = [each.state for each in (await rig.read(order)).attempts]
    assert states == [AttemptState.CAPTURED, AttemptState.SURPLUS]


async def test_surplus_is_given_back_though_the_answer_to_the_refund_was_lost(rig: Rig) -> None:
    order, paypal = await rival_wins_after_the_claim(rig)
    account = await rig.desk.accounts.by_id("pp")
    assert account is not None
    assert isinstance(account.adapter, Capturing)
    attempt = await attempt_of(rig, order, paypal)
    late = CaptureRequest(paypal, attempt.channel_ref, f"{paypal}C1", order.money)
    await rig.desk.settle(await account.adapter.capture(late))  # a call that was on its way
    await until_owed(rig, order)
    lost = {"verb": "refund", "after_executing": True, "times": 1}
    await rig.faults("paypal", lose_answer=lost)
    await finish(rig, order)
    entry = (await entries(rig))[paypal]
    assert (entry.captured, entry.refunded, len(entry.refunds)) == (order.amount, order.amount, 1)


async def test_a_buyer_who_comes_back_is_debited_though_no_webhook_comes(rig: Rig) -> None:
    order, number = await offered(rig)
    await approve(rig, number)
    attempt = await attempt_of(rig, order, number)
    url = f"{rig.url}/checkout/{order.token}/return/{attempt.id}"
    async with rig.http.get(url, params={"token": "5O1", "PayerID": "P1"}) as page:
        assert page.status == 200
    assert (await rig.read(order)).state is OrderState.PAID
