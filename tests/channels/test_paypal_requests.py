"""What is said to PayPal: bodies field by field, amounts to the cent, and one token for all."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.actions import RedirectAction
from gateway.channels.base import CreateRequest, RefundRequest
from gateway.channels.paypal import paypal
from gateway.channels.paypal_connection import Granted, Tokens
from gateway.channels.paypal_money import CURRENCIES, money_of, value_of
from gateway.channels.paypal_wire import write_order, write_refund
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.money import MAX_AMOUNT, Money
from tests.channels.bench import made, request_of
from tests.channels.paypal_benches import StubBench, stub_bench

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
REQUEST = CreateRequest(
    number=NUMBER,
    product="redirect",
    money=Money(1234, "USD"),
    subject="两杯 tea",
    pay_by=datetime(2026, 11, 22, 16, 30, tzinfo=UTC),
    notify_url="https://pay.example/callbacks/pp",
    return_url="https://pay.example/checkout/tok/return/att",
    order="ord_01KACB3V9C0000000000000000",
)
REFUND = RefundRequest(
    number=NUMBER + "R1",
    attempt_number=NUMBER,
    payment_ref="42311647XV020574X",
    money=Money(500, "USD"),
    total=Money(1234, "USD"),
    reason="paid twice",
    notify_url="https://pay.example/callbacks/pp",
    sent_at=datetime(2026, 11, 22, tzinfo=UTC),
)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def test_an_order_says_who_pays_what_and_where_to_go_back() -> None:
    assert json.loads(write_order(REQUEST, "12.34")) == {
        "intent": "CAPTURE",
        "purchase_units": [
            {
                "reference_id": "default",
                "custom_id": NUMBER,
                "invoice_id": "ord_01KACB3V9C0000000000000000",
                "description": "两杯 tea",
                "amount": {"currency_code": "USD", "value": "12.34"},
            }
        ],
        "payment_source": {
            "paypal": {
                "experience_context": {
                    "return_url": "https://pay.example/checkout/tok/return/att",
                    "cancel_url": "https://pay.example/checkout/tok/return/att",
                    "user_action": "PAY_NOW",
                    "shipping_preference": "NO_SHIPPING",
                    "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED",
                }
            }
        },
    }


def test_an_order_fits_its_fields_and_always_has_an_invoice() -> None:
    body = json.loads(write_order(replace(REQUEST, subject="茶" * 200, order=""), "1.00"))
    (unit,) = body["purchase_units"]
    assert unit["description"] == "茶" * 127
    assert unit["invoice_id"] == NUMBER


def test_a_refund_says_our_number_twice() -> None:
    assert json.loads(write_refund(replace(REFUND, reason="r" * 300), "5.00")) == {
        "amount": {"currency_code": "USD", "value": "5.00"},
        "invoice_id": NUMBER + "R1",
        "custom_id": NUMBER + "R1",
        "note_to_payer": "r" * 255,
    }


@pytest.mark.parametrize(
    ("money", "value"),
    [
        (Money(1, "USD"), "0.01"),
        (Money(123_456, "BRL"), "1234.56"),
        (Money(1234, "JPY"), "1234"),
        (Money(123_400, "HUF"), "1234"),
        (Money(123_400, "TWD"), "1234"),
        (Money(123_450, "HUF"), None),
        (Money(1, "TWD"), None),
    ],
)
def test_an_amount_is_said_exactly_or_not_at_all(money: Money, value: str | None) -> None:
    assert value_of(money) == value


@given(st.integers(1, MAX_AMOUNT), st.sampled_from(sorted(CURRENCIES)))
def test_what_is_said_is_heard_as_the_same_money(amount: int, currency: str) -> None:
    value = value_of(Money(amount, currency))
    if value is not None:
        assert money_of(currency, value) == Money(amount, currency)


@given(st.sampled_from(["USD", "JPY", "XXX", "ABC"]), st.text(max_size=20))
def test_any_text_is_an_exact_amount_or_a_value_error(currency: str, value: str) -> None:
    try:
        money = money_of(currency, value)
    except ValueError:
        return
    assert 0 <= money.amount <= MAX_AMOUNT


@pytest.mark.parametrize("value", ["12.345", "1e3", "-1.00", " 1.00", "1,00", "٣.00", "9" * 20])
def test_an_amount_that_is_not_plain_is_none(value: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        money_of("USD", value)


async def test_an_amount_that_paypal_cannot_be_told_is_refused_before_it_is_called(
    bench: StubBench,
) -> None:
    request = replace(request_of(bench), money=Money(123_450, "HUF"))
    with pytest.raises(ChannelRefused, match="HUF in whole units") as refused:
        await bench.channel.create(request)
    assert not refused.value.number_spent
    assert bench.stub.calls.total() == 1  # the certificate of the bench's own making


async def test_an_unknown_product_is_refused_before_paypal_is_called(bench: StubBench) -> None:
    with pytest.raises(ChannelRefused, match="redirect"):
        await bench.channel.create(replace(request_of(bench), product="card"))
    assert bench.stub.orders == {}


async def test_every_call_that_moves_something_carries_its_number(bench: StubBench) -> None:
    request = await made(bench)
    await bench.approve(request.number)
    report = await bench.channel.capture(request.number, request.money)
    assert report.payment_ref is not None
    refund = replace(
        REFUND, number=request.number + "R1", payment_ref=report.payment_ref, money=request.money
    )
    await bench.channel.refund(refund)
    ids = {verb: headers.get("paypal-request-id") for verb, _, headers in bench.stub.seen}
    number = request.number
    assert ids == {"create": number, "capture": f"{number}C1", "refund": f"{number}R1"}
    for _, _, headers in bench.stub.seen:
        assert headers["prefer"] == "return=representation"
        assert headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith("PayOnce/")


async def test_the_buyer_is_sent_to_paypals_page_for_three_hours_at_most(
    bench: StubBench,
) -> None:
    now = datetime.now(UTC)
    long = replace(request_of(bench), pay_by=now + timedelta(days=1))
    created = await bench.channel.create(long)
    assert isinstance(created.next_action, RedirectAction)
    order = bench.stub.of(long.number)
    assert created.next_action.url == f"https://www.paypal.com/checkoutnow?token={order.id}"
    assert created.channel_ref == order.id
    three_hours = timedelta(hours=3)
    assert now + three_hours <= created.usable_until <= datetime.now(UTC) + three_hours


async def test_an_order_that_is_gone_at_paypal_has_spent_its_number(bench: StubBench) -> None:
    request = await made(bench)
    bench.stub.orders.clear()
    with pytest.raises(ChannelRefused, match="over") as refused:
        await bench.channel.create(request)
    assert refused.value.number_spent


async def test_one_that_was_approved_can_be_shown_again(bench: StubBench) -> None:
    request = await made(bench)
    await bench.approve(request.number)
    created = await bench.channel.create(request)
    assert created.channel_ref == bench.channel.orders[request.number]


async def test_one_token_is_asked_for_however_many_wait_for_it(bench: StubBench) -> None:
    await asyncio.gather(*(bench.channel.create(request_of(bench)) for _ in range(5)))
    await bench.channel.create(request_of(bench))
    assert bench.stub.calls["token"] == 1


async def test_a_refused_token_is_replaced_once_and_the_call_made_again(
    bench: StubBench,
) -> None:
    request = await made(bench)
    bench.stub.token = "A21AAnext"
    await asyncio.gather(*(bench.channel.query(request.number) for _ in range(5)))
    assert bench.stub.calls["token"] == 2
    assert bench.stub.calls["query"] > 5


async def test_where_every_token_is_refused_nothing_is_known(bench: StubBench) -> None:
    request = await made(bench)
    granted = b'{"access_token": "A21AAwrong", "expires_in": 32400}'
    bench.stub.token, bench.stub.raw["token"] = "A21AAnext", (200, granted)
    with pytest.raises(ChannelUnavailable, match="401"):
        await bench.channel.query(request.number)
    assert bench.stub.calls["query"] == 2


@pytest.mark.parametrize(
    "answer",
    [
        (401, b'{"error": "invalid_client"}'),
        (200, b"{}"),
        (200, b"<html>"),
        (200, b'{"access_token": "a\\nb", "expires_in": 60}'),
        (302, b""),
        (500, b""),
    ],
)
async def test_without_a_token_nothing_is_known(
    bench: StubBench, answer: tuple[int, bytes]
) -> None:
    bench.stub.raw["token"] = answer
    with pytest.raises(ChannelUnavailable, match="no token"):
        await bench.channel.create(request_of(bench))
    assert bench.stub.orders == {}


async def test_a_wrong_secret_is_said_with_what_to_do_and_never_shown(bench: StubBench) -> None:
    settings = {**bench.settings, "client_secret": "s3cret"}
    wrong = paypal("acct_1", settings, {}, bench.http)
    with pytest.raises(ChannelUnavailable, match="check client_id, client_secret") as failed:
        await wrong.create(request_of(bench))
    assert "s3cret" not in str(failed.value)


class Office:
    """Grants tokens by a clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, tzinfo=UTC)
        self.granted = 0
        self.closed = False

    async def grant(self) -> Granted:
        if self.closed:
            raise ChannelUnavailable("closed")
        self.granted += 1
        return Granted(f"token-{self.granted}", 3600)


async def test_a_token_is_renewed_before_it_ends_and_kept_while_that_fails() -> None:
    office = Office()
    tokens = Tokens(office.grant, lambda: office.now)
    assert await tokens.current() == "token-1"
    office.now += timedelta(minutes=54)
    assert await tokens.current() == "token-1"
    office.now += timedelta(minutes=1)
    office.closed = True
    assert await tokens.current() == "token-1"
    office.now += timedelta(minutes=5)
    with pytest.raises(ChannelUnavailable, match="closed"):
        await tokens.current()
    office.closed = False
    assert await tokens.current() == "token-2"


async def test_only_the_token_that_was_refused_is_given_up() -> None:
    office = Office()
    tokens = Tokens(office.grant, lambda: office.now)
    first = await tokens.current()
    assert await tokens.instead_of(first) == "token-2"
    assert await tokens.instead_of(first) == "token-2"  # another caller, a moment later
