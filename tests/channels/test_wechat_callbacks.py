"""Genuine callbacks that carry something else than they should: read, or refused by reason."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.channels.base import CallbackRead
from gateway.channels.wechat_wire import Notification, Trade, read_body
from gateway.errors import BadCallback
from gateway.model import ChannelReport, Outcome
from tests.channels.bench import made, reason_of
from tests.channels.wechat_benches import StubBench, signed, stub_bench


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


async def test_news_that_is_not_about_money_is_genuine_and_empty(bench: StubBench) -> None:
    callback = bench.genuine({"whatever": 1}, event="PAYSCORE.USER_PAID")
    read = bench.channel.read(callback)
    assert read.report is None
    assert read.notification_id


async def test_a_refund_callback_of_another_merchant_is_refused(bench: StubBench) -> None:
    plain = {
        "mchid": "1900000999",
        "refund_id": "50300000",
        "out_refund_no": "01KACR1",
        "refund_status": "SUCCESS",
        "amount": {"total": 1234, "refund": 500},
    }
    assert reason_of(bench, bench.genuine(plain, event="REFUND.SUCCESS")) == "merchant"


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"mchid":',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
async def test_a_genuine_callback_that_carries_nonsense_is_refused(
    bench: StubBench, plain: bytes
) -> None:
    assert reason_of(bench, bench.genuine(plain)) == "format"
    assert reason_of(bench, bench.genuine(plain, event="REFUND.SUCCESS")) == "format"
    assert reason_of(bench, signed(bench.pen, plain)) == "format"


async def test_a_callback_sealed_with_another_key_is_refused(bench: StubBench) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    body = json.loads(bench.stub.payment_news(request.number))
    body["resource"]["associated_data"] = ""
    callback = signed(bench.pen, json.dumps(body).encode())
    with pytest.raises(BadCallback, match="apiv3_key"):
        bench.channel.read(callback)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "mchid",
        "appid",
        "out_trade_no",
        "transaction_id",
        "trade_state",
        "amount",
        "out_refund_no",
        "refund_id",
        "refund_status",
    ]
)


async def test_whatever_is_signed_and_sealed_is_read_or_refused(bench: StubBench) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    paid = bench.stub.transaction(request.number)
    events = st.sampled_from(["TRANSACTION.SUCCESS", "REFUND.SUCCESS", "REFUND.", ""])

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(FIELDS, VALUES, max_size=4), events)
    def read(changes: dict[str, object], event: str) -> None:
        try:
            found = bench.channel.read(bench.genuine({**paid, **changes}, event=event))
        except BadCallback as refused:
            reasons.add(refused.reason)
        else:
            assert_sound(found)

    reasons: set[str] = set()
    read()
    assert reasons <= {"format", "merchant", "app"}


def assert_sound(read: CallbackRead) -> None:
    """A report that leaves us has money and reference when, and only when, it says paid."""
    if isinstance(read.report, ChannelReport):
        paid = read.report.outcome is Outcome.PAID
        assert (read.report.money is not None) == paid
        assert (read.report.payment_ref is not None) == paid


@given(st.binary(max_size=300))
def test_any_body_is_read_as_a_type_or_not_at_all(body: bytes) -> None:
    assert read_body(body, Trade) is None
    assert read_body(body, Notification) is None
