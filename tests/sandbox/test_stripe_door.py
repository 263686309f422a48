"""Stripe's door: keys, forms, and what a call that comes again is answered."""

import asyncio
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.stripe_errors import StripeRefusal
from gateway.sandbox.stripe_forms import read_form, text_in, texts_in
from tests.sandbox.stripe_merchant import SESSIONS, StripeMerchant, error_of

DAY_S = 24 * 3600
DAYS = "payment_method_options[boleto][expires_after_days]"


def test_brackets_make_structures_and_lists() -> None:
    form = read_form("a[b][0]=x&a[b][1]=y&a[c]=z&d=%E4%B8%A4&e[]=1&e[]=2")
    assert text_in(form, "a", "c") == "z"
    assert texts_in(form, "a", "b") == ["x", "y"]
    assert texts_in(form, "e") == ["1", "2"]
    assert text_in(form, "d") == "两"
    assert text_in(form, "a") == text_in(form, "d", "x") == text_in(form, "nobody") == ""


@pytest.mark.parametrize("text", ["a=1&a=2", "a=1&a[b]=2", "a[b]=1&a=2", "a[b=1", "[a]=1", "a]=1"])
def test_brackets_that_make_no_structure_are_refused(text: str) -> None:
    with pytest.raises(StripeRefusal):
        read_form(text)


@given(st.text(alphabet="ab01[]=&%+\x00é", max_size=60))
def test_any_text_is_a_form_or_refused(text: str) -> None:
    try:
        read_form(text)
    except StripeRefusal:
        return


async def test_only_who_has_the_key_comes_in(stripe: StripeMerchant) -> None:
    key = stripe.account["secret_key"]
    for header in ("", "Bearer", f"Bearer {key}x", f"Token {key}", "Basic !!"):
        answer = await stripe.call("GET", f"{SESSIONS}/x", Authorization=header)
        assert answer.status == 401
        assert key not in answer.body.decode()
    basic = b64encode(f"{key}:".encode()).decode()
    answer = await stripe.call("GET", f"{SESSIONS}/x", Authorization=f"Basic {basic}")
    assert (answer.status, error_of(answer)["code"]) == (404, "resource_missing")
    assert answer.headers["Request-Id"].startswith("req_")


async def test_a_parameter_that_nobody_knows_is_refused(stripe: StripeMerchant) -> None:
    answer = await stripe.make_session("N1", amout="5")
    error = error_of(answer)
    assert (answer.status, error["code"], error["param"]) == (400, "parameter_unknown", "amout")


async def test_a_key_is_answered_the_same_for_a_day(stripe: StripeMerchant) -> None:
    first = await stripe.make_session("N1", "k1")
    again = await stripe.make_session("N1", "k1")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body == first.body
    await stripe.control("faults", channel="card", clock_shift_s=DAY_S + 1)
    later = await stripe.make_session("N1", "k1")
    assert later.json["id"] != first.json["id"]


async def test_a_key_with_other_parameters_is_refused(stripe: StripeMerchant) -> None:
    await stripe.make_session("N1", "k1")
    answer = await stripe.make_session("N2", "k1")
    assert (answer.status, error_of(answer)["type"]) == (400, "idempotency_error")


async def test_what_was_refused_before_anything_was_done_is_not_kept(
    stripe: StripeMerchant,
) -> None:
    assert (await stripe.make_session("N1", "k1", currency="x")).status == 400
    assert (await stripe.make_session("N1", "k1")).status == 200


async def test_an_error_inside_is_kept_and_one_on_the_way_is_not(stripe: StripeMerchant) -> None:
    error = {"verb": "create", "status": 500, "after_executing": False}
    await stripe.control("faults", channel="card", error=error)
    assert (await stripe.make_session("N1", "k1")).body == b""
    assert (await stripe.make_session("N1", "k1")).status == 200
    await stripe.control("faults", channel="card", error={**error, "code": "api_error"})
    first, again = [await stripe.make_session("N2", "k2") for _ in range(2)]
    assert (first.status, error_of(first)["type"]) == (500, "api_error")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_who_comes_while_the_first_is_served_is_sent_away(stripe: StripeMerchant) -> None:
    await stripe.control("faults", channel="card", latency_s=0.2)
    answers = await asyncio.gather(*(stripe.make_session("N1", "k1") for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    (busy, _) = [answer for answer in answers if answer.status == 409]
    assert error_of(busy)["code"] == "idempotency_key_in_use"
    assert busy.headers["Stripe-Should-Retry"] == "true"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"expires_at": "1000000000"}, "expires_at"),
        ({"mode": "setup"}, ""),
        ({"success_url": ""}, "success_url"),
        ({"line_items[0][quantity]": "x"}, "line_items[0][quantity]"),
        ({"line_items[0][price_data][unit_amount]": "49"}, ""),
        ({"payment_intent_data[capture_method]": "automatic"}, "payment_intent_data[capture"),
        ({"metadata[x]": "y" * 501}, "metadata"),
    ],
)
async def test_a_session_that_cannot_be_is_refused(
    stripe: StripeMerchant, changes: dict[str, str], param: str
) -> None:
    answer = await stripe.make_session("N1", **changes)
    assert answer.status == 400
    assert str(error_of(answer).get("param", "")).startswith(param)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": "499"}, "amount_too_small"),
        ({"amount": "5000000"}, "amount_too_large"),
        ({"currency": "usd"}, ""),
        ({"payment_method_data[boleto][tax_id]": "123"}, "tax_id_invalid"),
        ({"payment_method_data[billing_details][address][country]": "US"}, ""),
        ({"payment_method_data[billing_details][email]": ""}, "parameter_missing"),
        ({"payment_method_options[boleto][expires_after_days]": "61"}, ""),
        (
            {"payment_method_options[boleto][expires_after_days]": "soon"},
            "parameter_invalid_integer",
        ),
    ],
)
async def test_a_slip_that_cannot_be_is_refused(
    stripe: StripeMerchant, changes: dict[str, str], code: str
) -> None:
    answer = await stripe.make_slip("N1", **changes)
    assert (answer.status, error_of(answer).get("code", "")) == (400, code)
