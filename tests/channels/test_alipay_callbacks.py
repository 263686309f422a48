"""Genuine callbacks, whatever they carry: read, or refused by reason."""

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlencode

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.channels.alipay import alipay
from gateway.channels.alipay_wire import Notice, Trade, read_body
from gateway.channels.base import CallbackRead
from gateway.channels.forms import read_form
from gateway.errors import BadCallback
from gateway.model import ChannelReport, Outcome, Source
from gateway.money import Money
from tests.channels.alipay_benches import StubBench, received, stub_bench
from tests.channels.bench import made, paid_and_refund_of, reason_of
from tests.fakes.alipay_crypto import notice_body
from tests.fakes.keys import signature

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def report_of(bench: StubBench, **changes: str) -> ChannelReport | None:
    """What a genuine notification says, with some of its fields changed."""
    callback = bench.genuine({**bench.paid_notice(NUMBER), **changes})
    report = bench.shipped.read(callback).report
    assert report is None or isinstance(report, ChannelReport)
    return report


async def test_a_payment_is_reported_with_its_money(bench: StubBench) -> None:
    assert report_of(bench) == ChannelReport(
        account="acct_1",
        number=NUMBER,
        outcome=Outcome.PAID,
        source=Source.CALLBACK,
        payment_ref="2026112222001445440500000001",
        money=Money(1234, "CNY"),
        refunded=0,
    )


@pytest.mark.parametrize(
    ("changes", "outcome", "refunded"),
    [
        ({"trade_status": "TRADE_FINISHED"}, Outcome.PAID, 0),
        ({"refund_fee": "0.00"}, Outcome.PAID, 0),
        # The same payment again, because a part of it was given back: nobody paid twice.
        (
            {"refund_fee": "5.00", "gmt_refund": "2026-11-22 10:40:00.123", "out_biz_no": "R1"},
            Outcome.PAID,
            500,
        ),
        ({"trade_status": "TRADE_CLOSED", "refund_fee": "12.34"}, Outcome.PAID, 1234),
        ({"trade_status": "TRADE_CLOSED"}, Outcome.PAID, 1234),
        (
            {"trade_status": "TRADE_CLOSED", "gmt_payment": "", "refund_fee": "5"},
            Outcome.PAID,
            1234,
        ),
    ],
)
async def test_what_was_paid_is_paid_whatever_was_given_back(
    bench: StubBench, changes: dict[str, str], outcome: Outcome, refunded: int
) -> None:
    report = report_of(bench, **changes)
    assert report is not None
    assert (report.outcome, report.refunded) == (outcome, refunded)
    assert (report.money, report.payment_ref) == (
        Money(1234, "CNY"),
        "2026112222001445440500000001",
    )


async def test_a_payment_that_ended_unpaid_is_closed(bench: StubBench) -> None:
    report = report_of(bench, trade_status="TRADE_CLOSED", gmt_payment="")
    assert report is not None
    assert (report.outcome, report.money, report.payment_ref) == (Outcome.CLOSED, None, None)


async def test_that_a_buyer_has_come_but_not_paid_is_no_news(bench: StubBench) -> None:
    assert report_of(bench, trade_status="WAIT_BUYER_PAY", gmt_payment="") is None


async def test_news_that_is_not_about_payments_is_genuine_and_empty(bench: StubBench) -> None:
    fields = {
        "app_id": bench.side.app_id,
        "seller_id": bench.side.seller_id,
        "notify_id": "2026",
        "notify_type": "servicemarket_order_notify",
    }
    assert bench.shipped.read(bench.genuine(fields)) == CallbackRead("2026", None)


async def test_news_of_a_refund_is_the_same_payment_and_not_a_second_one(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench)
    await bench.channel.refund(refund)
    report = bench.shipped.read(await bench.end_refund(refund.number)).report
    assert isinstance(report, ChannelReport)
    assert (report.payment_ref, report.refunded) == (refund.payment_ref, 500)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"app_id": ""}, "format"),
        ({"app_id": "2021999999999999"}, "app"),
        ({"seller_id": "2088999999999999"}, "merchant"),
        ({"seller_id": ""}, "merchant"),
        ({"notify_id": ""}, "format"),
        ({"notify_id": "编号"}, "format"),
        ({"out_trade_no": ""}, "format"),
        ({"out_trade_no": "a b"}, "format"),
        ({"out_trade_no": "1" * 65}, "format"),
        ({"trade_no": ""}, "format"),
        ({"trade_no": "2026\n"}, "format"),
        ({"trade_status": "TRADE_PENDING"}, "format"),
        ({"trade_status": ""}, "format"),
        ({"total_amount": ""}, "format"),
        ({"total_amount": "12.345"}, "format"),
        ({"total_amount": "-12.34"}, "format"),
        ({"refund_fee": "much"}, "format"),
    ],
)
async def test_a_genuine_callback_that_does_not_fit_is_refused_by_reason(
    bench: StubBench, changes: dict[str, str], reason: str
) -> None:
    callback = bench.genuine({**bench.paid_notice(NUMBER), **changes})
    assert reason_of(bench, callback) == reason


async def test_without_a_seller_id_of_ours_theirs_is_not_compared(bench: StubBench) -> None:
    given = bench.side.settings(bench.url)
    del given["seller_id"]
    channel = alipay("acct_1", given, {}, bench.http)
    assert channel.read(bench.of_another_merchant(NUMBER)).report is not None


async def test_age_is_not_judged_because_a_resend_is_not_signed_anew(bench: StubBench) -> None:
    request = await made(bench)
    callback = await bench.pay(request.number)
    late = structs.replace(callback, received_at=callback.received_at + timedelta(days=2))
    assert bench.shipped.read(late) == bench.shipped.read(callback)


async def test_no_header_is_needed(bench: StubBench) -> None:
    callback = bench.genuine(bench.paid_notice(NUMBER))
    assert bench.shipped.read(structs.replace(callback, headers={})).report is not None


@pytest.mark.parametrize("keeps_empty", [True, False])
async def test_empty_fields_may_be_signed_or_left_out(bench: StubBench, keeps_empty: bool) -> None:
    fields = bench.paid_notice(NUMBER)
    empty = {"body": "", "passback_params": ""}
    if keeps_empty:
        body = notice_body(bench.side.alipay.key, {**fields, **empty})
    else:
        body = notice_body(bench.side.alipay.key, fields, unsigned=empty)
    report = bench.shipped.read(received(body)).report
    assert report is not None
    assert report.number == NUMBER


async def test_nothing_but_empty_fields_can_be_added(bench: StubBench) -> None:
    key = bench.side.alipay.key
    added = notice_body(key, bench.paid_notice(NUMBER), unsigned={"refund_fee": "12.34"})
    assert reason_of(bench, received(added)) == "signature"


async def test_a_field_that_comes_twice_is_refused(bench: StubBench) -> None:
    body = bench.genuine(bench.paid_notice(NUMBER)).body
    for more in (b"&total_amount=12.34", b"&total%5Famount=0.01", b"&sign=AAAA"):
        assert reason_of(bench, received(body + more)) == "signature"


@pytest.mark.parametrize("sign_type", ["RSA", "MD5", "", "rsa2"])
async def test_another_kind_of_signature_is_refused(bench: StubBench, sign_type: str) -> None:
    body = bench.genuine(bench.paid_notice(NUMBER)).body
    other = body.replace(b"sign_type=RSA2", b"sign_type=" + sign_type.encode())
    assert reason_of(bench, received(other)) == "signature"


async def test_a_signature_over_the_type_too_is_not_this_protocols(bench: StubBench) -> None:
    fields = {**bench.paid_notice(NUMBER), "sign_type": "RSA2"}
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    body = urlencode({**fields, "sign": signature(bench.side.alipay.key, text)}).encode()
    assert reason_of(bench, received(body)) == "signature"


async def test_the_order_of_fields_and_the_way_of_quoting_do_not_matter(bench: StubBench) -> None:
    fields = {**bench.paid_notice(NUMBER), "subject": "两杯 tea ＆ a “cake” 100% +1"}
    plain = bench.genuine(fields).body
    pairs = parse_qsl(plain.decode())
    shuffled = urlencode(sorted(pairs, reverse=True), quote_via=quote).encode()
    assert shuffled != plain
    read = bench.shipped.read(received(shuffled))
    assert read == bench.shipped.read(received(plain))


async def test_a_signed_field_that_is_no_text_is_refused(bench: StubBench) -> None:
    fields = {**bench.paid_notice(NUMBER), "trade_no": "\udcff\udcfe"}
    pairs = {name: value.encode("utf-8", "surrogateescape") for name, value in fields.items()}
    text = b"&".join(name.encode() + b"=" + pairs[name] for name in sorted(pairs))
    sign = signature(bench.side.alipay.key, text)
    body = urlencode({**pairs, "sign": sign, "sign_type": "RSA2"}).encode()
    assert reason_of(bench, received(body)) == "format"


FIELDS = st.sampled_from(
    [
        "app_id",
        "seller_id",
        "notify_id",
        "notify_type",
        "out_trade_no",
        "trade_no",
        "trade_status",
        "total_amount",
        "refund_fee",
        "gmt_payment",
    ]
)
VALUES = st.text(max_size=40) | st.sampled_from(
    ["TRADE_SUCCESS", "TRADE_CLOSED", "WAIT_BUYER_PAY", "12.34", "0", "trade_status_sync"]
)


async def test_whatever_is_signed_is_read_or_refused(bench: StubBench) -> None:
    reasons: set[str] = set()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(FIELDS, VALUES.filter(_is_text), max_size=4))
    def read(changes: dict[str, str]) -> None:
        try:
            found = bench.shipped.read(bench.genuine({**bench.paid_notice(NUMBER), **changes}))
        except BadCallback as refused:
            reasons.add(refused.reason)
        else:
            assert_sound(found)

    read()
    assert reasons <= {"format", "merchant", "app"}


def assert_sound(read: CallbackRead) -> None:
    """A report that leaves us has money and reference when, and only when, it says paid."""
    if isinstance(read.report, ChannelReport):
        paid = read.report.outcome is Outcome.PAID
        assert (read.report.money is not None) == paid
        assert (read.report.payment_ref is not None) == paid


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


@given(st.binary(max_size=300))
def test_any_body_is_read_as_a_type_or_not_at_all(body: bytes) -> None:
    read_form(body)
    assert read_body(body, Trade) is None
    assert read_body(body, Notice) is None
