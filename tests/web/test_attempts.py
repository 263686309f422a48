"""Applying for payment as a merchant."""

import asyncio

import pytest

from tests.web.api import H5, NATIVE, Answer, Api, another_merchant


async def test_whoever_asks_for_the_same_gets_the_same_attempt(api: Api) -> None:
    order = await api.open_order()
    first = await api.apply(order.id)
    again = await api.apply(order.id)
    assert (first.status, first.replayed) == (201, False)
    assert (again.status, again.replayed) == (200, True)
    assert again.json == first.json
    attempt = first.json
    assert attempt["object"] == "attempt"
    assert attempt["state"] == "paying"
    assert attempt["number"] == first.id.removeprefix("att_")
    next_action = attempt["next_action"]
    assert isinstance(next_action, dict)
    assert next_action["type"] == "qr"


async def test_twenty_at_once_make_one_attempt(api: Api) -> None:
    order = await api.open_order()
    answers = await asyncio.gather(*(api.apply(order.id) for _ in range(20)))
    assert {answer.id for answer in answers} == {answers[0].id}
    assert sorted(answer.status for answer in answers) == [*[200] * 19, 201]


async def test_another_product_takes_the_place_of_the_first(api: Api) -> None:
    order = await api.open_order()
    first = await api.apply(order.id)
    second = await api.apply(order.id, H5)
    assert (second.status, second.json["product"]) == (201, "h5")
    old = await api.get(f"/v1/attempts/{first.id}")
    assert (old.json["state"], old.json["next_action"]) == ("closed", None)


async def test_nothing_to_pay_with_is_shown_of_a_paid_order(api: Api) -> None:
    order = await api.open_order()
    attempt = await api.apply(order.id)
    assert (await api.get(f"/v1/attempts/{attempt.id}")).json["next_action"] is not None
    await api.pay(attempt)
    paid = await api.get(f"/v1/attempts/{attempt.id}")
    assert (paid.json["state"], paid.json["next_action"]) == ("captured", None)
    assert (paid.json["received_amount"], paid.json["received_currency"]) == (100, "CNY")
    answer = await api.apply(order.id)
    assert (answer.status, answer.code) == (409, "order_already_paid")


async def test_a_closed_order_takes_no_attempt(api: Api) -> None:
    order = await api.open_order()
    await api.post(f"/v1/orders/{order.id}/close")
    answer = await api.apply(order.id)
    assert (answer.status, answer.code) == (409, "order_closed")


@pytest.mark.parametrize(
    ("body", "amount", "currency"),
    [
        ({**NATIVE, "channel": "alipay"}, 100, "CNY"),
        ({**NATIVE, "product": "voucher"}, 100, "CNY"),
        (NATIVE, 100, "EUR"),
    ],
)
async def test_a_payment_that_no_account_takes_is_refused(
    api: Api, body: dict[str, str], amount: int, currency: str
) -> None:
    order = await api.open_order(amount=amount, currency=currency)
    answer = await api.apply(order.id, body)
    assert (answer.status, answer.code) == (422, "channel_not_configured")


async def test_a_silent_channel_is_told_with_when_to_ask_again(api: Api) -> None:
    order = await api.open_order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await api.rig.faults(lose_answer=lost)
    answer = await api.apply(order.id)
    assert (answer.status, answer.code) == (503, "channel_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    again = await api.apply(order.id)
    assert again.status in (200, 201)
    calls = await api.rig.calls("create")
    assert calls == {str(again.json["number"]): 2}  # the same number: never a second payment


async def test_another_merchants_attempt_is_not_there(api: Api) -> None:
    attempt = await api.apply((await api.open_order()).id)
    other = await another_merchant(api.rig)

    def refused(answer: Answer) -> bool:
        return (answer.status, answer.code) == (404, "not_found")

    assert refused(await other.get(f"/v1/attempts/{attempt.id}"))
    assert refused(await other.apply(str(attempt.json["order"])))
    assert refused(await api.get(f"/v1/attempts/att_{'0' * 26}"))
