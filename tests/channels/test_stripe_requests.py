"""What is said to Stripe, field by field; the same request says the same, whenever it is made."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway import ids
from gateway.channels.actions import RedirectAction, VoucherAction
from gateway.channels.base import CaptureRequest, CreateRequest, RefundRequest
from gateway.channels.stripe_wire import boleto_fields, session_fields
from gateway.errors import ChannelRefused
from gateway.ids import time_of, time_ordered
from gateway.money import Money
from tests.channels.bench import BUYER, made, request_of
from tests.channels.stripe_benches import stub_bench
from tests.fakes.stripe_objects import KEY

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
CARD = CreateRequest(
    number=NUMBER,
    product="checkout",
    money=Money(1234, "USD"),
    subject="两杯 tea & a “cake”",
    pay_by=datetime(2025, 11, 18, 21, 30, 59, 999_999, UTC),
    notify_url="https://pay.example/callbacks/st",
    return_url="https://pay.example/checkout/tok/return/att",
)
BOLETO = replace(CARD, product="voucher", money=Money(1234, "BRL"), buyer=BUYER, voucher_days=3)


def test_a_session_holds_what_is_confirmed_and_debits_nobody() -> None:
    assert session_fields(CARD) == {
        "mode": "payment",
        "payment_method_types[0]": "card",
        "client_reference_id": NUMBER,
        "metadata[number]": NUMBER,
        "payment_intent_data[metadata][number]": NUMBER,
        "payment_intent_data[capture_method]": "manual",
        "payment_intent_data[description]": "两杯 tea & a “cake”",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "1234",
        "line_items[0][price_data][product_data][name]": "两杯 tea & a “cake”",
        "success_url": "https://pay.example/checkout/tok/return/att",
        "cancel_url": "https://pay.example/checkout/tok/return/att",
        # To the second, rounded down: the channel must not take money after our deadline.
        "expires_at": "1763501459",
    }


def test_a_session_ends_within_a_day_of_its_number_however_long_its_order_waits() -> None:
    late = replace(CARD, pay_by=CARD.pay_by + timedelta(days=30))
    until = int(session_fields(late)["expires_at"])
    assert until == int((time_of(NUMBER) + timedelta(hours=23, minutes=58)).timestamp())


async def test_a_clock_that_is_a_minute_ahead_of_stripes_asks_for_no_session_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stripe counts its day from its own now; refused, each try would spend another number."""
    async with stub_bench("card") as bench:
        with monkeypatch.context() as ahead:
            ahead.setattr(ids, "_last", 0)
            minute_ahead_ns = time.time_ns() + 60 * 10**9
            ahead.setattr(time, "time_ns", lambda: minute_ahead_ns)
            request = request_of(bench)
        await bench.channel.create(replace(request, pay_by=request.pay_by + timedelta(days=3)))
        assert len(bench.stub.sessions) == 1


def test_a_slip_says_who_pays_and_for_how_many_days() -> None:
    assert boleto_fields(BOLETO) == {
        "amount": "1234",
        "currency": "brl",
        "description": "两杯 tea & a “cake”",
        "metadata[number]": NUMBER,
        "payment_method_types[0]": "boleto",
        "payment_method_data[type]": "boleto",
        "payment_method_data[boleto][tax_id]": "000.000.000-00",
        "payment_method_data[billing_details][name]": "Ana Souza",
        "payment_method_data[billing_details][email]": "ana@example.com",
        "payment_method_data[billing_details][address][line1]": "Rua Augusta 1",
        "payment_method_data[billing_details][address][city]": "São Paulo",
        "payment_method_data[billing_details][address][state]": "SP",
        "payment_method_data[billing_details][address][postal_code]": "01304-000",
        "payment_method_data[billing_details][address][country]": "BR",
        "payment_method_options[boleto][expires_after_days]": "3",
        "confirm": "true",
    }


def test_a_slip_without_a_payer_is_refused_before_stripe_hears_of_it() -> None:
    with pytest.raises(ChannelRefused, match="buyer"):
        boleto_fields(replace(BOLETO, buyer=None))


async def test_the_key_of_each_call_is_our_number_for_it() -> None:
    async with stub_bench("card") as bench:
        request = await made(bench)
        bench.stub.approve(request.number)
        capture = CaptureRequest(
            request.number, bench.refs[request.number], f"{request.number}C1", request.money
        )
        report = await bench.shipped.capture(capture)  # type: ignore[union-attr]
        assert report.payment_ref is not None
        refund = RefundRequest(
            number=f"{request.number}R1",
            attempt_number=request.number,
            payment_ref=report.payment_ref,
            money=Money(1, request.money.currency),
            total=request.money,
            reason="one cup broke",
            notify_url=bench.notify_url,
            sent_at=datetime.now(UTC),
        )
        await bench.shipped.refund(refund)
        keyed = [one["Idempotency-Key"] for one in bench.stub.headers if "Idempotency-Key" in one]
        assert keyed == [request.number, f"{request.number}C1", f"{request.number}R1"]
        assert bench.stub.seen[-1][2] == {
            "payment_intent": report.payment_ref,
            "amount": "1",
            "metadata[number]": f"{request.number}R1",
            "metadata[reason]": "one cup broke",
        }
        for said in bench.stub.headers:
            assert said["Authorization"] == f"Bearer {KEY}"
            assert said["Stripe-Version"] == "2026-10-28.endive"


async def test_the_buyer_is_sent_to_the_page_that_stripe_made() -> None:
    async with stub_bench("card") as bench:
        request = request_of(bench)
        created = await bench.channel.create(request)
        (session,) = bench.stub.sessions
        assert created.next_action == RedirectAction(
            f"https://checkout.stripe.example/c/pay/{session}#fid"
        )
        assert created.channel_ref == session
        assert 0 <= (request.pay_by - created.usable_until).total_seconds() < 1


async def test_the_buyer_is_shown_the_slip_and_until_when_it_can_be_paid() -> None:
    async with stub_bench("boleto") as bench:
        request = request_of(bench)
        created = await bench.channel.create(request)
        action = created.next_action
        assert isinstance(action, VoucherAction)
        assert len(action.number) == 47
        assert action.url == "https://payments.stripe.example/boleto/voucher/x"
        assert action.pdf == "https://payments.stripe.example/boleto/voucher/x/pdf"
        # 23:59 there, and our order waits to the end of that minute.
        assert request.pay_by - action.expires_at == timedelta(seconds=59)
        assert created.usable_until == action.expires_at
        (intent,) = bench.stub.intents
        assert created.channel_ref == intent


async def test_what_is_asked_for_too_late_is_refused_before_stripe_hears_of_it() -> None:
    async with stub_bench("card") as bench:
        request = request_of(bench)
        with pytest.raises(ChannelRefused, match="pay_by_over"):
            await bench.channel.create(replace(request, pay_by=datetime.now(UTC)))
        assert not bench.stub.calls


async def test_where_less_than_half_an_hour_is_left_another_number_has_more() -> None:
    """A repeat under the same number would say the same, and be refused the same."""
    async with stub_bench("card") as bench:
        soon = datetime.now(UTC) + timedelta(minutes=20)
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.create(replace(request_of(bench), pay_by=soon))
        assert refused.value.number_spent


async def test_a_number_is_found_by_its_metadata_where_the_answer_was_lost() -> None:
    async with stub_bench("boleto") as bench:
        number = time_ordered()
        await bench.channel.query(number)
        assert bench.stub.seen[-1][1:] == (
            "/v1/payment_intents/search",
            {"query": f"metadata['number']:'{number}'", "expand[0]": "data.latest_charge"},
        )
