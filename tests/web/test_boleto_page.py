"""A slip on the buyer's page: who pays it, what it says, and what paying twice would mean."""

import re
from datetime import timedelta
from typing import Final

import pytest
from babel.dates import format_date

from gateway.model import AttemptState, Order, OrderState
from gateway.web.boleto import grouped, last_day
from tests.payments.bank import LINE, SLIP, Bank, open_account
from tests.payments.test_settling import number_in
from tests.rig import NATIVE, Rig
from tests.web.buyer import PHONE, Buyer, Shown

TYPED: Final = {
    "channel": SLIP,
    "terminal": "pc",
    "buyer.name": "Ana Souza",
    "buyer.email": "ana@example.com",
    "buyer.tax_id": "529.982.247-25",
    "buyer.address.postal_code": "01310-100",
    "buyer.address.line1": "Rua das Acácias, 45",
    "buyer.address.city": "São Paulo",
    "buyer.address.state": "SP",
}
SAID: Final = {
    "name": "Ana Souza",
    "email": "ana@example.com",
    "tax_id": "52998224725",
    "address": {
        "line1": "Rua das Acácias, 45",
        "city": "São Paulo",
        "state": "SP",
        "postal_code": "01310100",
    },
}
PORTUGUESE: Final = {"Accept-Language": "pt-BR"}


@pytest.fixture
async def bank(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return await open_account(rig, monkeypatch)


async def make_slip(buyer: Buyer) -> Shown:
    answer = await buyer.call("POST", "/attempts", form=TYPED)
    assert answer.status == 303, answer.text
    return await buyer.get()


def wrong_fields(shown: Shown) -> set[str]:
    return set(re.findall(r'aria-describedby="([\w-]+)-wrong"', shown.text))


async def test_a_buyer_without_scripts_makes_and_pays_a_slip(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    asked = await buyer.choose(SLIP)
    assert (asked.status, asked.kind) == (200, "details")
    slip = await make_slip(buyer)
    assert slip.kind == "voucher"
    (attempt,) = (await rig.read(order)).attempts
    ends = format_date(last_day(attempt.pay_by), "long", locale="en")
    page = f"https://bank.example/{attempt.number}"
    for shown in (grouped(LINE), ends, f'href="{page}"', f'href="{page}.pdf"', 'class="bars"'):
        assert shown in slip.text
    assert "about one business day after you paid" in slip.text
    assert "not returned automatically" in slip.text
    await rig.desk.settle(bank.pay(attempt.number))
    assert (await buyer.get()).kind == "paid"


async def test_looking_at_the_form_makes_nothing(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    await Buyer(rig, order).get(f"/details/{SLIP}")
    assert await rig.read(order) == order


async def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(
    rig: Rig, bank: Bank
) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    form = TYPED | {"buyer.tax_id": "529.982.247-26", "buyer.email": "", "buyer.address.state": ""}
    answer = await buyer.call("POST", "/attempts", form=form, headers=PORTUGUESE)
    assert (answer.status, answer.kind) == (422, "details")
    assert wrong_fields(answer) == {"buyer-tax_id", "buyer-email", "buyer-address-state"}
    assert "os dígitos verificadores não conferem" in answer.text
    for kept in ("Ana Souza", "529.982.247-26", "Rua das Acácias, 45", "01310-100"):
        assert f'value="{kept}"' in answer.text
    assert await rig.read(order) == order


async def test_an_empty_form_names_every_field(rig: Rig, bank: Bank) -> None:
    buyer = Buyer(rig, await rig.order())
    empty = {field: text if "." not in field else " " for field, text in TYPED.items()}
    answer = await buyer.call("POST", "/attempts", form=empty)
    assert len(wrong_fields(answer)) == 7


async def test_what_was_typed_stays_text(rig: Rig, bank: Bank) -> None:
    buyer = Buyer(rig, await rig.order())
    form = TYPED | {"buyer.name": '"><script>alert(1)</script>', "buyer.email": "x"}
    answer = await buyer.call("POST", "/attempts", form=form)
    assert "<script>alert" not in answer.text


async def test_a_script_is_told_which_field_is_missing_and_says_it(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    refused = await buyer.call("POST", "/attempts", json={"channel": SLIP})
    assert (refused.status, refused.json["field"]) == (422, "buyer.name")
    made = await buyer.call("POST", "/attempts", json={"channel": SLIP, "buyer": SAID})
    assert made.status == 201
    action = made.json["next_action"]
    assert isinstance(action, dict)
    assert (action["type"], action["number"]) == ("voucher", LINE)
    again = await buyer.call("POST", "/attempts", json={"channel": SLIP})
    assert (again.status, again.json["id"]) == (200, made.json["id"])


async def test_the_slip_is_shown_on_every_device(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    await make_slip(Buyer(rig, order))
    on_phone = await Buyer(rig, order, PHONE).get()
    assert on_phone.kind == "voucher"
    assert f'value="{SLIP}"' not in on_phone.text  # it is no other way to pay


async def test_a_page_with_a_slip_looks_seldom(rig: Rig, bank: Bank) -> None:
    shown = await make_slip(Buyer(rig, await rig.order()))
    assert 'data-pace="300"' in shown.text
    assert 'http-equiv="refresh" content="300;' in shown.text
    assert "data-countdown" not in shown.text


async def test_who_pays_another_way_is_warned_before_and_after(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await make_slip(buyer)
    code = await buyer.choose("wechat")
    assert code.kind == "scan"
    assert "Boleto can still go through for" in code.text
    assert "do not pay it any more. What is paid twice is not returned automatically" in code.text
    offered = (await rig.read(order)).offered
    assert offered is not None
    await rig.pay(offered.number)
    await rig.until_order(order, OrderState.PAID)
    paid = await buyer.get()
    assert paid.kind == "paid"
    assert "Do not pay it any more: it would not be returned automatically" in paid.text


async def test_a_slip_whose_time_is_over_asks_for_patience(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await make_slip(buyer)
    await rig.desk.pool.execute("UPDATE orders SET expires_at = now()")
    expired = await buyer.get()
    assert expired.kind == "expired"
    assert "your bank confirms it within a few days" in expired.text
    assert 'content="300;' in expired.text


async def test_a_slip_that_is_too_old_is_made_anew_by_the_form(rig: Rig, bank: Bank) -> None:
    """An order may wait longer than its slip: for a new one the payer is asked again."""
    order = await rig.order(expires_in_s=20 * 86400)
    buyer = Buyer(rig, order)
    await make_slip(buyer)
    await age(rig, order, timedelta(days=4))
    assert (await buyer.get()).kind == "renew"
    assert (await buyer.choose(SLIP)).kind == "details"
    assert (await make_slip(buyer)).kind == "voucher"
    first, second = (await rig.read(order)).attempts
    assert (first.state, first.superseded) == (AttemptState.PAYING, True)
    assert second.offered


async def age(rig: Rig, order: Order, by: timedelta) -> None:
    columns = ("created_at", "pay_by", "next_action_until")
    older = ", ".join(f"{column} = {column} - $2::interval" for column in columns)
    await rig.desk.pool.execute(f"UPDATE attempts SET {older} WHERE order_id = $1", order.id, by)


async def test_a_bank_that_does_not_answer_is_asked_again_for_the_same_slip(
    rig: Rig, bank: Bank
) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    bank.silent = True
    assert (await make_slip(buyer)).kind == "unanswered"
    bank.silent = False
    assert (await buyer.choose(SLIP)).kind == "voucher"
    (slip,) = bank.slips.values()
    assert slip.request.buyer is not None
    assert slip.request.buyer.name == "Ana Souza"


async def test_an_order_that_is_over_has_no_form(rig: Rig, bank: Bank) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await rig.pay(number_in((await rig.apply(order, NATIVE)).body))
    await rig.until_order(order, OrderState.PAID)
    sent = await buyer.get(f"/details/{SLIP}")
    assert (sent.status, sent.headers["Location"]) == (303, buyer.path)


async def test_a_channel_that_is_not_offered_has_no_form(rig: Rig) -> None:
    assert (await Buyer(rig, await rig.order()).get(f"/details/{SLIP}")).status == 404


async def test_an_order_that_waits_for_days_says_so_in_days(rig: Rig) -> None:
    shown = await Buyer(rig, await rig.order(expires_in_s=5 * 86400)).get()
    assert "data-countdown" not in shown.text
    assert "<dd>5 days</dd>" in shown.text
