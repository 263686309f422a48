"""Stripe in the gateway: cards that we debit, once the order was found open again; and Boleto."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import Struct

from gateway.channels.actions import VoucherAction
from gateway.channels.base import CreateRequest
from gateway.errors import ChannelDown
from gateway.merchants import add_channel
from gateway.model import (
    Attempt,
    AttemptState,
    NewOrder,
    Order,
    OrderState,
    RefundState,
    Terminal,
)
from gateway.operators import add_operator
from gateway.payments.asking import ask_overdue
from gateway.payments.capturing import FORGOTTEN_S
from gateway.payments.closing import close_order
from gateway.payments.ordering import open_order
from gateway.payments.planning import Wish
from gateway.payments.refund_requests import mark_returned
from gateway.sandbox.keys import SandboxKeys, stripe_account
from gateway.sandbox.stripe_slips import shown_line
from gateway.secrets import Cipher
from tests.payments.bank import ANA
from tests.payments.refunds import (
    carry_on,
    entries,
    finish,
    only_refund,
    refunds_of,
    until_owed,
)
from tests.payments.test_settling import number_in
from tests.rig import MERCHANT, NATIVE, Rig, StartRig

ACCOUNT = "st"
CARD = Wish("card", Terminal.PC)
BOLETO = Wish("boleto", Terminal.PC, buyer=ANA)
REAIS = 10_00


class Shown(Struct, frozen=True):
    """What the buyer was given to pay with."""

    next_action: VoucherAction


@pytest.fixture
async def rig(start_rig: StartRig, keys: SandboxKeys) -> Rig:
    rig = await start_rig()
    account = stripe_account(keys, f"{rig.sandbox_url}/stripe")
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await add_channel(conn, cipher, MERCHANT, ACCOUNT, "stripe", account)
    await rig.control("webhooks", kind="stripe", url=f"{rig.url}/callbacks/{ACCOUNT}")
    await rig.faults("card", refund_takes_s=0)
    return rig


async def in_reais(rig: Rig) -> Order:
    """An order that a Boleto pays."""
    new = NewOrder(f"br-{datetime.now(UTC).timestamp()}", REAIS, "BRL", "chá", 1800)
    order, _ = await open_order(rig.desk, MERCHANT, new)
    return order


async def card(rig: Rig, order: Order) -> str:
    return number_in((await rig.apply(order, CARD)).body)


async def approve_card(rig: Rig, number: str, **said: object) -> None:
    """The buyer confirms a card on Stripe's page."""
    await rig.pay(number, channel="card", **said)


async def ask_all(rig: Rig) -> None:
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE ask_at IS NOT NULL")
    await ask_overdue(rig.desk, 10)


async def attempts_of(rig: Rig, order: Order) -> tuple[Attempt, ...]:
    return (await rig.read(order)).attempts


async def captured(rig: Rig, number: str) -> int:
    return (await entries(rig))[number].captured


async def states(rig: Rig, order: Order) -> list[AttemptState]:
    return [each.state for each in await attempts_of(rig, order)]


# Cards.


async def test_the_keys_are_kept_encrypted(rig: Rig) -> None:
    kept = await rig.desk.pool.fetchval(
        "SELECT settings FROM channel_accounts WHERE id = $1", ACCOUNT
    )
    assert sorted(msgspec.json.decode(kept)) == ["base_url"]


async def test_a_card_that_was_approved_is_debited_once_and_pays_the_order(rig: Rig) -> None:
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    paid = await rig.until_order(order, OrderState.PAID)
    assert [each.state for each in paid.attempts] == [AttemptState.CAPTURED]
    assert await captured(rig, number) == order.amount
    assert (await rig.calls("capture"))[number] == 1


async def test_a_card_is_debited_when_every_webhook_is_lost(rig: Rig) -> None:
    await rig.faults("card", drop_callbacks=1)
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await ask_all(rig)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_a_refused_card_ends_nothing_and_another_one_pays(rig: Rig) -> None:
    order = await rig.order()
    number = await card(rig, order)
    await rig.control("decline", channel="card", number=number)
    await ask_all(rig)
    assert await states(rig, order) == [AttemptState.PAYING]
    await approve_card(rig, number)
    await rig.until_order(order, OrderState.PAID)


async def test_a_card_approved_while_the_order_was_paid_elsewhere_is_never_debited(
    rig: Rig,
) -> None:
    """The hold is let go at Stripe, so that the buyer has the money back at once."""
    order = await rig.order()
    lost = {"verb": "close", "after_executing": False, "times": 1}
    await rig.faults("card", drop_callbacks=1, lose_answer=lost)
    number = await card(rig, order)
    wechat = number_in((await rig.apply(order, NATIVE)).body)
    await approve_card(rig, number)
    await rig.pay(wechat)
    await rig.until_order(order, OrderState.PAID)
    await ask_all(rig)
    assert await states(rig, order) == [AttemptState.CLOSED, AttemptState.CAPTURED]
    (entry,) = [each for each in await rig.ledger() if each["number"] == number]
    assert (entry["captured"], entry["state"]) == (0, "closed")
    assert number not in await rig.calls("capture")
    assert await refunds_of(rig, order) == []


async def test_closing_an_order_lets_go_of_what_is_held_on_a_card(rig: Rig) -> None:
    await rig.faults("card", drop_callbacks=1)
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await close_order(rig.desk, order.id, MERCHANT)
    assert await states(rig, order) == [AttemptState.CLOSED]
    (entry,) = [each for each in await rig.ledger() if each["number"] == number]
    assert (entry["captured"], entry["state"]) == (0, "closed")


async def test_what_is_held_on_a_card_is_let_go_though_nobody_looked_in_time(rig: Rig) -> None:
    """The workers were down until it was too late to debit, or to close; a hold lasts a week."""
    await rig.faults("card", drop_callbacks=1)
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await rig.desk.pool.execute("UPDATE orders SET expires_at = now()")
    await rig.desk.pool.execute("UPDATE attempts SET live_until = now()")
    await ask_all(rig)
    assert await states(rig, order) == [AttemptState.CLOSED]
    (entry,) = [each for each in await rig.ledger() if each["number"] == number]
    assert (entry["captured"], entry["state"]) == (0, "closed")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_an_answer_to_the_capture_is_lost_and_it_is_debited_once(
    rig: Rig, done: bool
) -> None:
    lost = {"verb": "capture", "after_executing": done, "times": 1}
    await rig.faults("card", lose_answer=lost, drop_callbacks=1)
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await ask_all(rig)
    (attempt,) = await attempts_of(rig, order)
    assert attempt.capture_claimed_at is not None
    assert await captured(rig, number) == (order.amount if done else 0)
    await rig.desk.pool.execute(
        "UPDATE attempts SET capture_claimed_at = capture_claimed_at - $1::interval",
        timedelta(seconds=FORGOTTEN_S),
    )
    await ask_all(rig)
    assert (await rig.read(order)).state is OrderState.PAID
    assert await captured(rig, number) == order.amount
    assert len((await entries(rig))[number].refunds) == 0


async def test_an_error_that_stripe_keeps_under_the_key_does_not_end_the_payment(rig: Rig) -> None:
    """Stripe would repeat its 500 for a day; as it says that nothing was debited, another
    request is made.
    """
    kept = {"verb": "capture", "status": 500, "code": "api_error", "after_executing": False}
    await rig.faults("card", error=kept, drop_callbacks=1)
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await ask_all(rig)
    older = "UPDATE attempts SET capture_claimed_at = capture_claimed_at - $1::interval"
    for _ in range(3):
        await rig.desk.pool.execute(older, timedelta(seconds=FORGOTTEN_S))
        await ask_all(rig)
    assert (await rig.read(order)).state is OrderState.PAID
    assert await captured(rig, number) == order.amount


async def test_an_answer_to_create_is_lost_and_the_buyer_gets_the_same_page(rig: Rig) -> None:
    order = await rig.order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await rig.faults("card", lose_answer=lost)
    with pytest.raises(ChannelDown):
        await rig.apply(order, CARD)
    number = await card(rig, order)
    assert list(await entries(rig)) == [number]


async def test_a_second_payment_under_one_number_is_a_sibling_surplus_and_given_back(
    rig: Rig,
) -> None:
    """F33: the key was forgotten after a day, and a repeat made a second session."""
    order, number = await owed(rig)
    await finish(rig, order)
    assert await states(rig, order) == [AttemptState.CAPTURED, AttemptState.SURPLUS]
    refs = {each.payment_ref for each in await attempts_of(rig, order)}
    assert len(refs) == 2
    entry = (await entries(rig))[number]
    assert (entry.captured, entry.refunded) == (2 * order.amount, order.amount)


async def test_surplus_of_a_card_is_given_back_once_though_the_answer_was_lost(rig: Rig) -> None:
    order, number = await owed(rig)
    lost = {"verb": "refund", "after_executing": True, "times": 1}
    await rig.faults("card", lose_answer=lost, drop_callbacks=1)
    await finish(rig, order)
    entry = (await entries(rig))[number]
    assert (entry.refunded, len(entry.refunds)) == (order.amount, 1)


async def test_a_refund_whose_answer_was_lost_longer_than_its_key_lives_waits_for_a_person(
    rig: Rig,
) -> None:
    """F36: a day later the same key would be a new refund, so nobody sends it again by itself."""
    order, number = await owed(rig)
    lost = {"verb": "refund", "after_executing": False, "times": 1}
    await rig.faults("card", lose_answer=lost, drop_callbacks=1)
    await carry_on(rig)
    assert (await only_refund(rig, order)).state is RefundState.SENT
    await rig.desk.pool.execute("UPDATE refunds SET sent_at = sent_at - interval '25 hours'")
    await rig.faults("card", clock_shift_s=25 * 3600)
    await carry_on(rig)
    assert (await only_refund(rig, order)).state is RefundState.HELD
    assert (await entries(rig))[number].refunds == []


async def owed(rig: Rig) -> tuple[Order, str]:
    """An order that a card paid, and paid again under the same number."""
    order = await rig.order()
    number = await card(rig, order)
    await approve_card(rig, number)
    await rig.until_order(order, OrderState.PAID)
    await approve_card(rig, number, again=True)
    await until_owed(rig, order)
    return order, number


# Boleto.


async def slip(rig: Rig, order: Order) -> tuple[str, VoucherAction]:
    body = (await rig.apply(order, BOLETO)).body
    return number_in(body), msgspec.json.decode(body, type=Shown).next_action


async def test_a_slip_pays_its_order_when_the_bank_has_said_so(rig: Rig) -> None:
    order = await in_reais(rig)
    number, shown = await slip(rig, order)
    async with rig.http.get(shown.pdf) as answer:
        assert (await answer.read()).startswith(b"%PDF-")
    async with rig.http.get(shown.url) as answer:
        assert shown_line(shown.number) in await answer.text()
    await rig.faults("boleto", confirmation_takes_s=3600)
    await rig.pay(number, channel="boleto")
    await ask_all(rig)
    assert await states(rig, order) == [AttemptState.PAYING]
    await rig.faults("boleto", clock_shift_s=3601)
    await ask_all(rig)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_a_slip_ends_with_its_day_in_sao_paulo_and_the_order_waits_for_it(rig: Rig) -> None:
    order = await in_reais(rig)
    _, shown = await slip(rig, order)
    now = await rig.read(order)
    (attempt,) = now.attempts
    assert now.expires_at == attempt.pay_by
    assert attempt.pay_by - shown.expires_at == timedelta(seconds=59)
    assert attempt.live_until == attempt.pay_by + timedelta(days=4)


@pytest.mark.parametrize("cancel", ["still_pays", "blocks"])
async def test_a_cancelled_slip_is_not_over_and_what_is_paid_on_it_is_a_manual_case(
    rig: Rig, cancel: str
) -> None:
    """F27: nobody has said whether a bank refuses it, so both must end well."""
    await rig.faults("boleto", boleto_cancel=cancel)
    order = await in_reais(rig)
    number, _ = await slip(rig, order)
    by_card = await card(rig, order)
    await approve_card(rig, by_card)
    await rig.until_order(order, OrderState.PAID)
    await ask_all(rig)
    assert await states(rig, order) == [AttemptState.PAYING, AttemptState.CAPTURED]
    paying = rig.pay(number, channel="boleto")
    if cancel == "blocks":
        with pytest.raises(AssertionError, match="closed"):
            await paying
        return
    await paying
    refund = await until_owed(rig, order)
    assert await states(rig, order) == [AttemptState.SURPLUS, AttemptState.CAPTURED]
    await carry_on(rig)
    assert (await only_refund(rig, order)).state is RefundState.HELD
    async with rig.desk.pool.acquire() as conn:
        operator, _ = await add_operator(conn, "Ming")
    await mark_returned(rig.desk, refund.id, operator, "by transfer", "TED 2026/88")
    assert (await only_refund(rig, order)).state is RefundState.DONE


async def test_a_slip_paid_twice_is_a_sibling_surplus_and_a_manual_case(rig: Rig) -> None:
    """F33 and F27: the bank took the paper twice."""
    order = await in_reais(rig)
    number, _ = await slip(rig, order)
    await rig.pay(number, channel="boleto")
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(number, channel="boleto", again=True)
    await until_owed(rig, order)
    assert await states(rig, order) == [AttemptState.CAPTURED, AttemptState.SURPLUS]
    await carry_on(rig)
    assert (await only_refund(rig, order)).state is RefundState.HELD


async def test_a_slip_made_again_when_its_key_was_forgotten_is_a_second_payment(rig: Rig) -> None:
    """F33: a day later a repeat is a new slip under the old number. Ours takes a new number then
    (`repeat_window`); this one is made behind its back.
    """
    order = await in_reais(rig)
    number, _ = await slip(rig, order)
    (attempt,) = await attempts_of(rig, order)
    account = await rig.desk.accounts.of_attempt(attempt)
    assert account is not None
    await rig.faults("boleto", clock_shift_s=25 * 3600)
    await account.adapter.create(msgspec.json.decode(attempt.parameters, type=CreateRequest))
    await rig.faults("boleto", clock_shift_s=0)
    first, second = list(await entries(rig))
    assert first == number
    await rig.pay(second, channel="boleto")
    await rig.until_order(order, OrderState.PAID)
    await rig.pay(first, channel="boleto")
    await until_owed(rig, order)
    assert await states(rig, order) == [AttemptState.CAPTURED, AttemptState.SURPLUS]
    refs = [each.payment_ref for each in await attempts_of(rig, order)]
    assert len(set(refs)) == 2


async def test_a_slip_whose_answer_was_lost_is_found_by_its_number(rig: Rig) -> None:
    """Stripe may have sent it by e-mail: it is paid without our page."""
    order = await in_reais(rig)
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await rig.faults("boleto", lose_answer=lost, drop_callbacks=1)
    with pytest.raises(ChannelDown):
        await rig.apply(order, BOLETO)
    (attempt,) = await attempts_of(rig, order)
    await rig.pay(attempt.number, channel="boleto")
    await ask_all(rig)
    assert (await rig.read(order)).state is OrderState.PAID


async def test_one_account_offers_both_in_reais_and_cards_alone_in_yuan(rig: Rig) -> None:
    reais, yuan = await in_reais(rig), await rig.order()

    async def offered(order: Order) -> set[str]:
        found = await rig.desk.accounts.offered(MERCHANT, Terminal.PC, order.money)
        return {each.channel for each in found}

    assert await offered(reais) == {"card", "boleto"}
    assert await offered(yuan) == {"wechat", "card"}
