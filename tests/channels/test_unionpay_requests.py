"""What is said to UnionPay, field by field; and above all, at what time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.actions import AppAction, FormAction, QrAction
from gateway.channels.base import CreateRequest, RefundRequest
from gateway.channels.unionpay_wire import (
    Product,
    china_time,
    may_void,
    payment_fields,
    payment_identity,
    query_fields,
    refund_fields,
    settlement_day,
)
from gateway.errors import ChannelRefused
from gateway.ids import time_of, time_ordered
from gateway.model import RefundReport, RefundState
from gateway.money import Money
from tests.channels.bench import request_of
from tests.channels.unionpay_benches import stub_bench

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
MADE_AT = datetime(2025, 11, 18, 20, 39, 48, tzinfo=UTC)  # what the number begins with
REQUEST = CreateRequest(
    number=NUMBER,
    product="wap",
    money=Money(1234, "CNY"),
    subject="两杯 tea",
    pay_by=datetime(2026, 11, 22, 16, 30, 59, 999_999, UTC),
    notify_url="https://pay.example/callbacks/up_main",
    return_url="https://pay.example/checkout/tok/return/att",
)
REFUND = RefundRequest(
    number=NUMBER + "R1",
    attempt_number=NUMBER,
    payment_ref="202511190439480000001",
    money=Money(1234, "CNY"),
    total=Money(1234, "CNY"),
    reason="paid twice",
    notify_url="https://pay.example/callbacks/up_main",
    sent_at=datetime(2025, 11, 19, 2, 3, 4, 999_999, tzinfo=UTC),
)


def test_a_form_says_who_pays_what_until_when_and_where_to_go_back() -> None:
    assert payment_fields(REQUEST, Product.WAP) == {
        "txnType": "01",
        "txnSubType": "01",
        "bizType": "000201",
        "channelType": "08",
        "backUrl": "https://pay.example/callbacks/up_main",
        "frontUrl": "https://pay.example/checkout/tok/return/att",
        "txnAmt": "1234",
        "currencyCode": "156",
        "orderId": NUMBER,
        "txnTime": "20251119043948",
        "payTimeout": "20261123003059",
    }


@pytest.mark.parametrize(
    ("product", "shape"),
    [
        (Product.QR, ("07", "000000", "08", False)),
        (Product.APP, ("01", "000201", "08", False)),
        (Product.WAP, ("01", "000201", "08", True)),
        (Product.PC, ("01", "000201", "07", True)),
    ],
)
def test_each_product_has_its_own_shape(
    product: Product, shape: tuple[str, str, str, bool]
) -> None:
    said = payment_fields(REQUEST, product)
    front = "frontUrl" in said
    assert (said["txnSubType"], said["bizType"], said["channelType"], front) == shape


@given(st.integers(0, 2**42))
def test_a_number_always_says_the_same_time(made_ms: int) -> None:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    head = "".join(alphabet[made_ms >> shift & 31] for shift in range(45, -1, -5))
    assert time_of(head + NUMBER[10:]) == datetime.fromtimestamp(made_ms // 1000, UTC) + timedelta(
        milliseconds=made_ms % 1000
    )


def test_a_new_number_begins_with_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= time_of(time_ordered()) <= datetime.now(UTC)


@pytest.mark.parametrize("number", ["", "01KACB3V9", "01KACB3V9U6H2M4XQ7R8S5T0WZ", "lower-case"])
def test_what_does_not_begin_with_a_time_is_no_number_of_ours(number: str) -> None:
    with pytest.raises(ValueError, match=r"substring|ten characters"):
        time_of(number)


def test_a_query_asks_about_the_same_two() -> None:
    assert query_fields(payment_identity(NUMBER)) == {
        "txnType": "00",
        "txnSubType": "00",
        "bizType": "000000",
        "orderId": NUMBER,
        "txnTime": "20251119043948",
    }


def test_a_refund_is_identified_by_when_it_was_first_sent_however_late_it_is_repeated() -> None:
    later = REFUND.sent_at + timedelta(days=3)
    assert refund_fields(REFUND, later) == {
        "txnType": "04",
        "txnSubType": "00",
        "bizType": "000000",
        "channelType": "08",
        "backUrl": "https://pay.example/callbacks/up_main",
        "txnAmt": "1234",
        "currencyCode": "156",
        "origQryId": "202511190439480000001",
        "orderId": NUMBER + "R1",
        "txnTime": "20251119100304",
    }


@pytest.mark.parametrize(
    ("china", "voids"),
    [
        ("2025-11-19 04:39:49", True),
        ("2025-11-19 22:54:59", True),
        ("2025-11-19 22:55:00", False),  # a call takes its time, and 23:00 is the end
        ("2025-11-19 23:00:00", False),
        ("2025-11-20 04:00:00", False),
    ],
)
def test_all_of_it_on_the_settlement_day_is_voided_and_else_refunded(
    china: str, voids: bool
) -> None:
    now = datetime.fromisoformat(china + "+08:00")
    assert may_void(REFUND, now) is voids
    assert refund_fields(REFUND, now)["txnType"] == ("31" if voids else "04")
    part = replace(REFUND, money=Money(1233, "CNY"))
    assert not may_void(part, now)


def test_a_settlement_day_ends_at_eleven_in_the_evening() -> None:
    assert settlement_day(MADE_AT).isoformat() == "2025-11-19"
    assert settlement_day(datetime(2025, 11, 19, 15, 0, tzinfo=UTC)).isoformat() == "2025-11-20"
    assert settlement_day(datetime(2025, 11, 19, 14, 59, tzinfo=UTC)).isoformat() == "2025-11-19"


def test_times_are_beijings() -> None:
    assert china_time(datetime(2026, 11, 22, 16, 0, 1, tzinfo=UTC)) == "20261123000001"


@pytest.mark.parametrize("product", ["wap", "pc"])
async def test_a_form_is_signed_without_a_word_to_unionpay_and_the_same_each_time(
    product: str,
) -> None:
    async with stub_bench() as bench:
        request = request_of(bench, product)
        first, again = [await bench.shipped.create(request) for _ in range(2)]
        assert first == again
        assert isinstance(first.next_action, FormAction)
        assert first.next_action.url.endswith("/gateway/api/frontTransReq.do")
        assert first.usable_until == request.pay_by
        assert bench.stub.calls.total() == 0


async def test_a_code_and_an_app_are_given_what_unionpay_answers() -> None:
    async with stub_bench() as bench:
        code = await bench.shipped.create(request_of(bench, "qr"))
        assert isinstance(code.next_action, QrAction)
        assert code.next_action.content.endswith("=+")  # as it stands there, nothing unquoted
        app = await bench.shipped.create(request_of(bench, "app"))
        assert isinstance(app.next_action, AppAction)
        assert app.next_action.parameters["tn"].startswith("837")
        assert bench.stub.headers["content-type"].startswith("application/x-www-form-urlencoded")
        assert bench.stub.headers["user-agent"].startswith("PayOnce/")


async def test_an_unknown_product_is_refused_before_anything_is_signed() -> None:
    async with stub_bench() as bench:
        with pytest.raises(ChannelRefused, match="qr, wap, pc, app"):
            await bench.shipped.create(request_of(bench, "native"))


async def test_a_payment_of_today_is_voided_in_full_and_then_reported_as_the_refund_it_is() -> None:
    async with stub_bench() as bench:
        request = request_of(bench, "qr")
        await bench.shipped.create(request)
        await bench.pay(request.number)
        report = await bench.shipped.query(request.number)
        assert report.payment_ref is not None
        full = replace(
            REFUND,
            number=request.number + "R1",
            attempt_number=request.number,
            payment_ref=report.payment_ref,
            sent_at=datetime.now(UTC),
        )
        await bench.shipped.refund(full)
        kind = "31" if may_void(full, datetime.now(UTC)) else "04"
        assert bench.stub.refund_of(full.number).fields["txnType"] == kind
        callback = await bench.end_refund(full.number)
        told = bench.shipped.read(callback).report
        assert isinstance(told, RefundReport)
        assert told.state is RefundState.DONE
