"""What UnionPay's answers mean: the codes that tell something, and everything that does not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundState
from gateway.money import Money
from tests.channels.bench import made, outcome, paid_and_refund_of, query_refund, request_of
from tests.channels.unionpay_benches import StubBench, stub_bench
from tests.fakes.unionpay_stub import Fault

VERBS = ["create", "query", "refund", "query_refund"]


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


async def call_of(bench: StubBench, verb: str) -> Callable[[], Awaitable[object]]:
    """A call that would be answered well, of that verb."""
    refund = await paid_and_refund_of(bench)
    if verb == "query_refund":
        await bench.shipped.refund(refund)
    new = request_of(bench)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: bench.shipped.create(new),
        "query": lambda: bench.shipped.query(refund.attempt_number),
        "refund": lambda: bench.shipped.refund(refund),
        "query_refund": lambda: query_refund(bench, refund),
    }
    return calls[verb]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("01", Outcome.UNPAID),  # a refused card: the buyer may take another
        ("02", Outcome.CLOSED),
        ("03", Outcome.UNPAID),
        ("05", Outcome.UNPAID),
        ("34", Outcome.NOT_FOUND),
        ("42", Outcome.CLOSED),  # charged too late: UnionPay itself gives it back
        ("61", Outcome.UNPAID),
        ("70", Outcome.UNPAID),
        ("83", Outcome.PROCESSING),
        ("99", Outcome.UNPAID),
        ("00", Outcome.PAID),
        ("A6", Outcome.PAID),
    ],
)
async def test_a_payment_stands_as_its_own_code_says(
    bench: StubBench, code: str, expected: Outcome
) -> None:
    request = await made(bench)
    bench.stub.pay(request.number)
    bench.stub.find(request.number)[1].code = code
    assert await outcome(bench, request.number) is expected


@pytest.mark.parametrize("code", ["03", "04", "05", "06", "12", "37", "77", "A6"])
async def test_a_query_that_did_not_go_well_tells_nothing(bench: StubBench, code: str) -> None:
    request = await made(bench)
    bench.stub.faults["query"] = [Fault(executes=True, said=code)]
    with pytest.raises(ChannelUnavailable, match=code):
        await bench.shipped.query(request.number)


async def test_another_time_is_another_payment(bench: StubBench) -> None:
    """Whoever asks with the number alone would be told of somebody else's payment, or of none."""
    request = await made(bench)
    bench.stub.pay(request.number)
    (key,) = bench.stub.payments
    bench.stub.payments[key[0], "20201122103456"] = bench.stub.payments.pop(key)
    assert await outcome(bench, request.number) is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("code", "spent"), [("01", False), ("10", False), ("11", False), ("61", False), ("12", True)]
)
async def test_a_listed_refusal_of_create_says_no(bench: StubBench, code: str, spent: bool) -> None:
    bench.stub.faults["create"] = [Fault(executes=False, said=code)]
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == (code, spent)


@pytest.mark.parametrize("code", ["03", "04", "05", "06", "34", "77", "ZZ"])
async def test_any_other_answer_to_create_tells_nothing(bench: StubBench, code: str) -> None:
    bench.stub.faults["create"] = [Fault(executes=True, said=code)]
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.create(request_of(bench))


@pytest.mark.parametrize(
    ("code", "spent"), [("01", False), ("35", False), ("36", False), ("39", False), ("45", True)]
)
async def test_a_listed_refusal_of_a_refund_says_no(
    bench: StubBench, code: str, spent: bool
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.faults["refund"] = [Fault(executes=False, said=code)]
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.refund(request)
    assert refused.value.number_spent is spent


@pytest.mark.parametrize("code", ["03", "05", "06", "34", "77"])
async def test_any_other_answer_to_a_refund_tells_nothing(bench: StubBench, code: str) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.faults["refund"] = [Fault(executes=True, said=code)]
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.refund(request)


async def test_a_duplicate_is_the_same_refund_and_a_query_tells_how_it_went(
    bench: StubBench,
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.faults["refund"] = [Fault(executes=False, said="12")]
    report = await bench.shipped.refund(request)
    assert (report.state, report.refund_ref) == (RefundState.SENT, None)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("00", RefundState.DONE),
        ("A6", RefundState.DONE),
        ("01", RefundState.FAILED),
        ("61", RefundState.FAILED),
        ("03", RefundState.SENT),
        ("83", RefundState.SENT),
        ("99", RefundState.SENT),
    ],
)
async def test_a_refund_stands_as_its_own_code_says(
    bench: StubBench, code: str, state: RefundState
) -> None:
    request = await paid_and_refund_of(bench)
    await bench.shipped.refund(request)
    bench.stub.refund_of(request.number).code = code
    found = await query_refund(bench, request)
    assert found is not None
    assert (found.state, found.money) == (state, Money(500, "CNY"))


async def test_a_refund_that_is_not_found_in_either_way_is_none(bench: StubBench) -> None:
    request = await paid_and_refund_of(bench)
    await bench.shipped.refund(request)
    bench.stub.refund_of(request.number).code = "34"
    assert await query_refund(bench, request) is None
    other = replace(request, sent_at=datetime(2020, 11, 22, tzinfo=UTC))
    assert await query_refund(bench, other) is None


async def test_a_refund_that_was_never_sent_is_asked_about_by_nobody(bench: StubBench) -> None:
    calls = bench.stub.calls.total()
    assert await bench.shipped.query_refund("01KACB3V9D6H2M4XQ7R8S5T0WZR1", "") is None
    assert bench.stub.calls.total() == calls


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, b""),
        (200, b"<html>Service Unavailable</html>"),
        (200, b"respCode=00&respMsg=ok"),
        (200, b"respCode=00&respCode=00"),
        (200, b"\xff\xfe=&=&&=="),
        (302, b""),
        (404, b""),
        (500, b"respCode=00"),
    ],
)
async def test_what_unionpay_did_not_sign_tells_nothing(
    bench: StubBench, verb: str, status: int, text: bytes
) -> None:
    call = await call_of(bench, verb)
    bench.stub.raw[verb] = (status, text)
    with pytest.raises(ChannelUnavailable):
        await call()
    await call()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "other",
    [{"orderId": "01KACB3V9D6H2M4XQ7R8S5T0AA"}, {"txnTime": "20201122103456"}, {"merId": "1"}],
)
async def test_an_answer_about_another_transaction_tells_nothing(
    bench: StubBench, verb: str, other: dict[str, str]
) -> None:
    call = await call_of(bench, verb)
    bench.stub.answers[verb] = other
    with pytest.raises(ChannelUnavailable, match="another transaction"):
        await call()


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("create", {"qrCode": ""}),
        ("query", {"origRespCode": ""}),
        ("query", {"queryId": ""}),
        ("query", {"txnAmt": "12.34"}),
        ("query", {"currencyCode": "840"}),
        ("refund", {"queryId": "密"}),
        ("query_refund", {"origRespCode": "0"}),
        ("query_refund", {"txnAmt": "-1"}),
        ("query", {"respCode": "000"}),
    ],
)
async def test_an_answer_that_lacks_what_it_should_say_tells_nothing(
    bench: StubBench, verb: str, said: dict[str, str]
) -> None:
    call = await call_of(bench, verb)
    bench.stub.answers[verb] = said
    with pytest.raises(ChannelUnavailable):
        await call()
