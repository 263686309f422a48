"""Stripe's webhooks: whose they are, how old they are, and what of them lasts."""

import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.channels.base import Callback, CallbackRead
from gateway.channels.stripe_account import read_credentials
from gateway.channels.stripe_events import report_of, verified
from gateway.errors import BadCallback
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from gateway.money import Money
from tests.channels.bench import made, reason_of
from tests.channels.stripe_benches import StubBench, received, stub_bench
from tests.fakes.stripe_objects import Json, signed

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
VECTOR = (Path(__file__).parent / "vectors" / "stripe" / "event.json").read_bytes()
# As `openssl dgst -sha256 -hmac` and Stripe's own package make it.
VECTOR_SECRET = "whsec_vector_0123456789"
VECTOR_TIME = 1795000000
VECTOR_SIGNATURE = "bd6c52c8d8cd7eeda21418b52ff75878a8330416b76ff91c99bc3a138e7233a2"
INTENT: Json = {
    "id": "pi_3Told",
    "object": "payment_intent",
    "amount": 1234,
    "amount_received": 1234,
    "currency": "usd",
    "latest_charge": "ch_3Told",
    "metadata": {"number": NUMBER},
    "status": "succeeded",
}
REFUND: Json = {
    "id": "re_3Told",
    "object": "refund",
    "amount": 5,
    "currency": "jpy",
    "metadata": {"number": f"{NUMBER}R1"},
    "payment_intent": "pi_3Told",
    "status": "succeeded",
}


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench("card") as bench:
        yield bench


def read(bench: StubBench, kind: str, about: Json) -> CallbackRead:
    return bench.shipped.read(bench.genuine(bench.stub.event(kind, about)))


def test_a_signature_that_others_made_is_believed() -> None:
    credentials = read_credentials(
        {"secret_key": "sk_test_0123456789", "webhook_secret": VECTOR_SECRET}, {}
    )
    header = f"t={VECTOR_TIME},v1={VECTOR_SIGNATURE}"
    received_at = datetime.fromtimestamp(VECTOR_TIME + 299, UTC)
    callback = Callback({"stripe-signature": header}, VECTOR, received_at)
    report = report_of("st", verified(callback, credentials))
    assert isinstance(report, ChannelReport)
    assert (report.outcome, report.money) == (Outcome.PAID, Money(1234, "USD"))


async def test_money_is_a_payment_with_stripes_own_id(bench: StubBench) -> None:
    assert read(bench, "payment_intent.succeeded", INTENT).report == ChannelReport(
        "acct_1",
        NUMBER,
        Outcome.PAID,
        Source.CALLBACK,
        payment_ref="pi_3Told",
        money=Money(1234, "USD"),
        channel_ref="pi_3Told",
    )


async def test_what_is_held_on_a_card_is_approved(bench: StubBench) -> None:
    held = {**INTENT, "status": "requires_capture", "amount_received": 0}
    read_held = read(bench, "payment_intent.amount_capturable_updated", held)
    assert read_held.report == ChannelReport("acct_1", NUMBER, Outcome.APPROVED, Source.CALLBACK)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("succeeded", RefundState.DONE),
        ("pending", RefundState.SENT),
        ("requires_action", RefundState.SENT),
        (None, RefundState.SENT),
        ("failed", RefundState.FAILED),
        ("canceled", RefundState.FAILED),
    ],
)
@pytest.mark.parametrize("kind", ["refund.created", "refund.updated", "refund.failed"])
async def test_a_refund_of_ours_is_told_as_it_stands(
    bench: StubBench, kind: str, status: str | None, state: RefundState
) -> None:
    told = read(bench, kind, {**REFUND, "status": status}).report
    assert told == RefundReport(
        "acct_1",
        f"{NUMBER}R1",
        state,
        Source.CALLBACK,
        refund_ref="re_3Told",
        money=Money(5, "JPY"),
    )


@pytest.mark.parametrize(
    "kind",
    [
        "payment_intent.canceled",
        "payment_intent.processing",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "checkout.session.completed",
        "checkout.session.expired",
        "checkout.session.async_payment_failed",
        "charge.refunded",
        "customer.created",
    ],
)
async def test_what_may_have_changed_since_is_left_to_a_query(bench: StubBench, kind: str) -> None:
    """Events come late and in no order: silence is better than an old word."""
    assert read(bench, kind, {**INTENT, "status": "canceled"}).report is None


@pytest.mark.parametrize(
    "metadata", [{}, {"number": "1001"}, {"number": f"{NUMBER}X"}, {"order": NUMBER}]
)
async def test_what_others_do_with_the_same_account_is_not_ours(
    bench: StubBench, metadata: Json
) -> None:
    about = {"metadata": metadata}
    assert read(bench, "payment_intent.succeeded", {**INTENT, **about}).report is None
    assert read(bench, "refund.updated", {**REFUND, **about}).report is None


async def test_an_object_that_is_not_what_its_event_says_reports_nothing(bench: StubBench) -> None:
    held = {**INTENT, "status": "requires_capture"}
    assert read(bench, "payment_intent.succeeded", held).report is None


@pytest.mark.parametrize(
    ("about", "kind"),
    [
        ({**INTENT, "amount_received": -1}, "payment_intent.succeeded"),
        ({**INTENT, "amount_received": "1234"}, "payment_intent.succeeded"),
        ({**INTENT, "currency": "US"}, "payment_intent.succeeded"),
        ({**INTENT, "id": "pi_../../x"}, "payment_intent.succeeded"),
        ({**INTENT, "metadata": {"number": 1}}, "payment_intent.succeeded"),
        ({"status": "succeeded"}, "refund.updated"),
        ({**REFUND, "amount": 10**12}, "refund.updated"),
    ],
)
async def test_an_object_that_is_malformed_is_refused(
    bench: StubBench, about: Json, kind: str
) -> None:
    callback = bench.genuine(bench.stub.event(kind, about))
    assert reason_of(bench, callback) == "format"


async def test_test_money_is_not_taken_for_real(bench: StubBench) -> None:
    event = bench.stub.event("payment_intent.succeeded", INTENT) | {"livemode": True}
    assert reason_of(bench, bench.genuine(event)) == "merchant"


async def test_while_the_secret_is_changed_either_signature_will_do(bench: StubBench) -> None:
    callback = bench.genuine(bench.stub.event("payment_intent.succeeded", INTENT))
    header = callback.headers["stripe-signature"]
    both = header.replace(",v1=", f",v1={'0' * 64},v1=", 1)
    assert bench.shipped.read(Callback({"stripe-signature": both}, callback.body, now())).report


@pytest.mark.parametrize(
    "change",
    [
        ("v1=", "v0="),
        ("v1=", "v2="),
        ("t=", "T="),
        ("t=", "t=1,t="),
        ("t=", "t=-"),
        ("t=", "t=九"),
        (",", ";"),
        ("t=", "t=00000000000000"),
    ],
)
async def test_a_header_of_another_shape_proves_nothing(
    bench: StubBench, change: tuple[str, str]
) -> None:
    callback = bench.genuine(bench.stub.event("payment_intent.succeeded", INTENT))
    header = callback.headers["stripe-signature"].replace(*change, 1)
    changed = Callback({"stripe-signature": header}, callback.body, now())
    assert reason_of(bench, changed) == "signature"


@pytest.mark.parametrize(("age_s", "fresh"), [(300, True), (-299, True), (302, False)])
async def test_a_signature_is_good_for_five_minutes(
    bench: StubBench, age_s: int, fresh: bool
) -> None:
    request = await made(bench)
    bench.stub.approve(request.number)
    sent = bench.genuine(bench.stub.approved_event(request.number), at=1795000000)
    at = datetime.fromtimestamp(1795000000, UTC) + timedelta(seconds=age_s)
    callback = Callback(sent.headers, sent.body, at)
    if fresh:
        assert bench.shipped.read(callback).report
    else:
        assert reason_of(bench, callback) == "stale"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


async def test_whatever_is_signed_is_read_or_refused_and_nothing_else(bench: StubBench) -> None:
    """Also what Stripe never sends: the secret proves who speaks, and not what."""
    fields = st.sampled_from(sorted(INTENT)) | st.sampled_from(sorted(REFUND))
    kinds = st.sampled_from(
        ["payment_intent.succeeded", "payment_intent.amount_capturable_updated", "refund.updated"]
    )

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(kinds, st.dictionaries(fields, JSON, max_size=4), st.binary(max_size=60), st.booleans())
    def look(kind: str, changes: Json, raw: bytes, as_it_is: bool) -> None:
        about = {**(REFUND if kind.startswith("refund") else INTENT), **changes}
        event: Json | bytes = raw if as_it_is else bench.stub.event(kind, about)
        try:
            told = bench.shipped.read(received(*signed(event, secret=bench.secret))).report
        except BadCallback as refused:
            assert refused.reason in ("format", "merchant")  # noqa: PT017
            return
        if isinstance(told, ChannelReport) and told.outcome is Outcome.PAID:
            assert told.money is not None
            assert told.payment_ref
            assert told.money.amount >= 0

    look()


async def test_nobody_is_told_the_secret(bench: StubBench) -> None:
    callback = bench.forged(bench.genuine(bench.stub.event("x", INTENT)))
    with pytest.raises(BadCallback) as refused:
        bench.shipped.read(callback)
    expected = hmac.new(bench.secret.encode(), callback.body, "sha256").hexdigest()
    assert bench.secret not in str(refused.value)
    assert expected not in str(refused.value)


def now() -> datetime:
    return datetime.now(UTC)
