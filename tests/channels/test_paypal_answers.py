"""What PayPal answers, and what we make of it: money first, refusals by name, all else unknown."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.base import CaptureRequest, RefundRequest
from gateway.channels.paypal import PayPal
from gateway.channels.paypal_reports import Reports
from gateway.channels.paypal_wire import Capture, Event, Order, Refund, read_body
from gateway.errors import BadCallback, ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundState
from gateway.money import Money
from tests.channels.bench import made, paid_and_refund_of, query_refund, request_of
from tests.channels.paypal_benches import StubBench, stub_bench
from tests.fakes.paypal_crypto import MERCHANT_ID
from tests.fakes.paypal_stub import Json

NUMBER, ORDER = "01KACB3V9D6H2M4XQ7R8S5T0WZ", "5O190127TN364715T"
USD = Money(1234, "USD")


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def amount(value: str = "12.34") -> Json:
    return {"currency_code": "USD", "value": value}


def capture(status: str, id_: str = "CAP1", value: str = "12.34") -> Json:
    return {"id": id_, "status": status, "amount": amount(value)}


def order(status: str, *captures: Json, refunds: tuple[Json, ...] = ()) -> Json:
    unit: Json = {"custom_id": NUMBER, "amount": amount(), "payee": {"merchant_id": MERCHANT_ID}}
    unit["payments"] = {"captures": captures, "refunds": refunds}
    return {"id": ORDER, "status": status, "purchase_units": [unit]}


def refund(status: str, value: str = "5.00") -> Json:
    return {"id": "REF1", "status": status, "amount": amount(value)}


async def ask(bench: StubBench, said: object, status: int = 200) -> ChannelReport:
    bench.stub.raw["query"] = (status, json.dumps(said).encode())
    return await bench.shipped.query(NUMBER, ORDER)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (order("CREATED"), Outcome.UNPAID),
        (order("SAVED"), Outcome.UNPAID),
        (order("PAYER_ACTION_REQUIRED"), Outcome.UNPAID),
        (order("APPROVED"), Outcome.APPROVED),
        (order("VOIDED"), Outcome.CLOSED),
        (order("COMPLETED", capture("PENDING")), Outcome.PROCESSING),
        (order("COMPLETED", capture("DECLINED")), Outcome.DECLINED),
        (order("COMPLETED", capture("FAILED")), Outcome.DECLINED),
        (order("APPROVED", capture("DECLINED")), Outcome.APPROVED),
        (order("APPROVED", capture("PENDING")), Outcome.PROCESSING),
        (order("COMPLETED", capture("DECLINED"), capture("PENDING")), Outcome.PROCESSING),
    ],
)
async def test_an_order_without_money_says_how_it_stands(
    bench: StubBench, said: Json, outcome: Outcome
) -> None:
    report = await ask(bench, said)
    assert (report.outcome, report.money, report.channel_ref) == (outcome, None, ORDER)


@pytest.mark.parametrize(
    ("said", "refunded"),
    [
        (order("COMPLETED", capture("COMPLETED")), 0),
        (order("COMPLETED", capture("REFUNDED")), 1234),
        (order("COMPLETED", capture("PARTIALLY_REFUNDED")), None),
        (order("COMPLETED", capture("PARTIALLY_REFUNDED"), refunds=(refund("COMPLETED"),)), 500),
        (order("COMPLETED", capture("COMPLETED"), refunds=(refund("PENDING"),)), 500),
        (order("COMPLETED", capture("COMPLETED"), refunds=(refund("FAILED"),)), 0),
        (order("COMPLETED", capture("COMPLETED"), refunds=(refund("CANCELLED"),)), 0),
        (
            order(
                "COMPLETED",
                capture("PARTIALLY_REFUNDED"),
                refunds=({"id": "REF1", "status": "COMPLETED"},),
            ),
            None,
        ),
        (order("APPROVED", capture("DECLINED"), capture("COMPLETED")), 0),
    ],
)
async def test_money_goes_before_all_else_with_what_was_given_back(
    bench: StubBench, said: Json, refunded: int | None
) -> None:
    report = await ask(bench, said)
    assert (report.outcome, report.payment_ref, report.money) == (Outcome.PAID, "CAP1", USD)
    assert report.refunded == refunded


async def test_of_two_captures_the_last_is_the_news(bench: StubBench) -> None:
    """The first is known by then, or told by its own webhook; under its id this is other money."""
    twice = order("COMPLETED", capture("REFUNDED"), capture("COMPLETED", "CAP2", "1.00"))
    report = await ask(bench, twice)
    assert (report.payment_ref, report.money) == ("CAP2", Money(100, "USD"))


@pytest.mark.parametrize(
    "said",
    [
        order("COMPLETED"),
        order("EATEN"),
        order("COMPLETED", capture("EATEN")),
        order("COMPLETED", capture("COMPLETED", value="12.345")),
        order("COMPLETED", capture("COMPLETED", value="-1")),
        order("COMPLETED", capture("COMPLETED", "")),
        {**order("APPROVED"), "id": "ANOTHER"},
        {**order("APPROVED"), "purchase_units": []},
        {**order("APPROVED"), "purchase_units": [{"custom_id": "ANOTHER"}]},
        {
            **order("APPROVED"),
            "purchase_units": [{"custom_id": NUMBER, "payee": {"merchant_id": "ANOTHER"}}],
        },
        {},
        [],
        None,
    ],
)
async def test_an_answer_that_does_not_fit_says_nothing(bench: StubBench, said: object) -> None:
    with pytest.raises(ChannelUnavailable):
        await ask(bench, said)


@pytest.mark.parametrize("status", [400, 403, 409, 422, 429, 500, 503, 302])
async def test_an_error_is_no_answer_to_a_question(bench: StubBench, status: int) -> None:
    with pytest.raises(ChannelUnavailable):
        await ask(bench, {"name": "SOMETHING", "message": "went wrong"}, status)


async def test_what_paypal_keeps_no_longer_is_not_found(bench: StubBench) -> None:
    report = await bench.shipped.query(NUMBER, "EXPIRED")
    assert report.outcome is Outcome.NOT_FOUND


async def test_what_no_buyer_was_ever_sent_to_is_not_found_without_a_call(
    bench: StubBench,
) -> None:
    calls = bench.stub.calls.total()
    assert (await bench.shipped.query(NUMBER)).outcome is Outcome.NOT_FOUND
    assert bench.stub.calls.total() == calls


def refusal(issue: str, name: str = "UNPROCESSABLE_ENTITY") -> Json:
    return {"name": name, "debug_id": "90957fca61718", "details": [{"issue": issue}]}


REFUSED = [
    (422, "INSTRUMENT_DECLINED"),
    (422, "ORDER_NOT_APPROVED"),
    (422, "PAYER_ACTION_REQUIRED"),
    (422, "TRANSACTION_REFUSED"),
    (422, "DUPLICATE_INVOICE_ID"),
    (422, "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED"),
    (404, "RESOURCE_NOT_FOUND"),
    (403, "PERMISSION_DENIED"),
    (400, "INVALID_REQUEST"),
]
UNKNOWN = [
    (422, "ORDER_COMPLETION_IN_PROGRESS"),
    (422, "PREVIOUS_REQUEST_IN_PROGRESS"),
    (422, ""),
    (409, "RESOURCE_CONFLICT"),
    (429, "RATE_LIMIT_REACHED"),
    (500, "INTERNAL_SERVER_ERROR"),
    (503, "SERVICE_UNAVAILABLE"),
    (302, "FOUND"),
]


def capture_request() -> CaptureRequest:
    return CaptureRequest(NUMBER, ORDER, NUMBER + "C1", USD)


@pytest.mark.parametrize(("status", "issue"), REFUSED)
async def test_a_refused_capture_debited_nobody(bench: StubBench, status: int, issue: str) -> None:
    bench.stub.raw["capture"] = (status, json.dumps(refusal(issue)).encode())
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.capture(capture_request())
    assert refused.value.code == issue
    assert "debug_id 90957fca61718" in str(refused.value)


@pytest.mark.parametrize(("status", "issue"), UNKNOWN)
async def test_after_any_other_answer_somebody_may_have_been_debited(
    bench: StubBench, status: int, issue: str
) -> None:
    name = issue if status != 422 else "UNPROCESSABLE_ENTITY"
    said: Json = refusal(issue, name) if issue else {}
    bench.stub.raw["capture"] = (status, json.dumps(said).encode())
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.capture(capture_request())


async def test_a_capture_without_an_order_is_refused_before_paypal_is_called(
    bench: StubBench,
) -> None:
    with pytest.raises(ChannelRefused, match="not known"):
        await bench.shipped.capture(replace(capture_request(), channel_ref=""))
    assert bench.stub.calls["capture"] == 0


async def test_a_capture_that_the_bank_refused_debited_nobody(bench: StubBench) -> None:
    declined = order("COMPLETED", capture("DECLINED"))
    bench.stub.raw["capture"] = (201, json.dumps(declined).encode())
    with pytest.raises(ChannelRefused, match="bank"):
        await bench.shipped.capture(capture_request())


async def test_what_is_already_captured_and_then_not_is_unknown(bench: StubBench) -> None:
    already = refusal("ORDER_ALREADY_CAPTURED")
    bench.stub.raw["capture"] = (422, json.dumps(already).encode())
    bench.stub.raw["query"] = (200, json.dumps(order("APPROVED")).encode())
    with pytest.raises(ChannelUnavailable, match="approved"):
        await bench.shipped.capture(capture_request())


async def test_what_create_is_refused_was_never_shown_to_a_buyer(bench: StubBench) -> None:
    said = json.dumps(refusal("CURRENCY_NOT_SUPPORTED")).encode()
    bench.stub.raw["create"] = (422, said)
    with pytest.raises(ChannelRefused, match="limit the account") as refused:
        await bench.shipped.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == ("CURRENCY_NOT_SUPPORTED", False)


async def test_an_order_without_a_link_is_no_answer(bench: StubBench) -> None:
    bench.stub.raw["create"] = (201, json.dumps(order("CREATED")).encode())
    with pytest.raises(ChannelUnavailable, match="link"):
        await bench.shipped.create(request_of(bench))


@pytest.mark.parametrize(
    ("issue", "spent"),
    [
        ("CAPTURE_FULLY_REFUNDED", True),
        ("DUPLICATE_INVOICE_ID", True),
        ("REFUND_AMOUNT_EXCEEDED", False),
        ("REFUND_TIME_LIMIT_EXCEEDED", False),
        ("PENDING_CAPTURE", False),
        ("MAX_NUMBER_OF_REFUNDS_EXCEEDED", False),
        ("INSUFFICIENT_FUNDS", False),
    ],
)
async def test_a_refused_refund_says_whether_it_may_be_done_already(
    bench: StubBench, issue: str, spent: bool
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.raw["refund"] = (422, json.dumps(refusal(issue)).encode())
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.refund(request)
    assert (refused.value.code, refused.value.number_spent) == (issue, spent)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("COMPLETED", RefundState.DONE),
        ("PENDING", RefundState.SENT),
        ("FAILED", RefundState.FAILED),
        ("CANCELLED", RefundState.FAILED),
    ],
)
async def test_a_refund_says_how_far_it_is(
    bench: StubBench, status: str, state: RefundState
) -> None:
    request: RefundRequest = await paid_and_refund_of(bench)
    await bench.shipped.refund(request)
    bench.stub.refund_of(request.number)[1].status = status
    asked = await query_refund(bench, request)
    assert asked is not None
    assert asked.state is state


async def test_a_refund_of_an_order_that_paypal_keeps_no_longer_is_repeated(
    bench: StubBench,
) -> None:
    """PayPal knows the repeat for 45 days; later the gateway leaves it to a person."""
    request = await paid_and_refund_of(bench)
    await bench.shipped.refund(request)
    bench.stub.raw["query"] = (404, json.dumps(refusal("INVALID_RESOURCE_ID")).encode())
    assert await query_refund(bench, request) is None


async def test_a_capture_that_does_not_name_its_order_says_nothing_of_refunds(
    bench: StubBench,
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.raw["query_refund"] = (200, json.dumps(capture("COMPLETED")).encode())
    with pytest.raises(ChannelUnavailable, match="which order"):
        await query_refund(bench, request)


WORDS = st.sampled_from(
    ["COMPLETED", "APPROVED", "PENDING", "DECLINED", "REFUNDED", ORDER, NUMBER, "USD", "12.34", ""]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
OF_ALL = ("id", "status", "amount", "currency_code", "value", "custom_id", "invoice_id", "links")
OF_ORDERS = ("purchase_units", "payments", "captures", "refunds", "payee", "create_time")
OF_CAPTURES = ("supplementary_data", "related_ids", "order_id", "event_type", "resource")
NAMES = st.sampled_from([*OF_ALL, *OF_ORDERS, *OF_CAPTURES])
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
RAW = st.binary(max_size=200) | BODIES.map(lambda said: json.dumps(said).encode())


@given(RAW)
def test_any_bytes_are_a_whole_body_or_none(body: bytes) -> None:
    for kind in (Order, Capture, Refund, Event):
        read = read_body(body, kind)
        assert read is None or isinstance(read, kind)


@given(
    st.sampled_from(["CHECKOUT.ORDER", "PAYMENT.CAPTURE", "PAYMENT.REFUND", "X"]),
    st.sampled_from(["APPROVED", "COMPLETED", "PENDING", "DENIED", "REFUNDED", "REVERSED", ""]),
    BODIES | st.just(order("APPROVED")) | st.just(capture("COMPLETED")),
)
def test_any_resource_of_an_event_is_a_report_or_nothing_or_refused(
    subject: str, happened: str, resource: object
) -> None:
    event = Event("WH-1", f"{subject}.{happened}", msgspec.Raw(json.dumps(resource).encode()))
    try:
        told = Reports("acct_1", MERCHANT_ID).told(event)
    except BadCallback:
        return
    assert told is None or told.account == "acct_1"


async def test_any_bytes_are_a_report_or_unavailable_and_nothing_else(bench: StubBench) -> None:
    await made(bench)  # the token is there

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([200, 201, 404, 422]), RAW | st.just(json.dumps(order("APPROVED"))))
    def hear(status: int, body: bytes | str) -> None:
        said = body.encode() if isinstance(body, str) else body
        heard.append((status, said))

    heard: list[tuple[int, bytes]] = []
    hear()
    for status, said in heard:
        await _hears(bench, bench.shipped, status, said)


async def _hears(bench: StubBench, adapter: PayPal, status: int, said: bytes) -> None:
    for verb, asking in (
        ("query", adapter.query(NUMBER, ORDER)),
        ("capture", adapter.capture(capture_request())),
    ):
        bench.stub.raw[verb] = (status, said)
        try:
            report: ChannelReport = await asking
        except (ChannelUnavailable, ChannelRefused):
            continue
        assert report.number == NUMBER
