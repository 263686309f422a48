"""What Stripe's answers mean: the states and errors that tell something, and all that does not."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.channels.base import CaptureRequest, CloseResult
from gateway.channels.stripe_card import StripeCard
from gateway.channels.stripe_codes import sentence_of
from gateway.channels.stripe_wire import ErrorBody
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundState
from tests.channels.bench import BUYER, made, outcome, paid_and_refund_of, query_refund, request_of
from tests.channels.stripe_benches import StripeBench, StubBench, stub_bench
from tests.fakes.stripe_objects import KEY, Json

VERBS = ["create", "query", "close", "capture", "refund", "query_refund"]


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench("card") as bench:
        yield bench


@pytest_asyncio.fixture
async def slips() -> AsyncIterator[StubBench]:
    async with stub_bench("boleto") as bench:
        yield bench


def card_of(bench: StripeBench) -> StripeCard:
    assert isinstance(bench.shipped, StripeCard)
    return bench.shipped


async def approved(bench: StubBench) -> CaptureRequest:
    """A capture that would be answered well."""
    request = await made(bench)
    bench.stub.approve(request.number)
    return CaptureRequest(
        request.number, bench.refs[request.number], f"{request.number}C1", request.money
    )


async def call_of(bench: StubBench, verb: str) -> Callable[[], Awaitable[object]]:
    """A call of that verb that would be answered well."""
    refund = await paid_and_refund_of(bench)
    if verb == "query_refund":
        await bench.shipped.refund(refund)
    capture, new, open_one = await approved(bench), request_of(bench), await made(bench)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: bench.channel.create(new),
        "query": lambda: bench.channel.query(refund.attempt_number),
        "close": lambda: bench.channel.close(open_one.number),
        "capture": lambda: card_of(bench).capture(capture),
        "refund": lambda: bench.shipped.refund(refund),
        "query_refund": lambda: query_refund(bench, refund),
    }
    return calls[verb]


def refusal(**error: object) -> bytes:
    return json.dumps({"error": {"type": "invalid_request_error", **error}}).encode()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("requires_payment_method", Outcome.UNPAID),  # a refused card: the buyer may take another
        ("requires_confirmation", Outcome.UNPAID),
        ("requires_action", Outcome.UNPAID),
        ("requires_capture", Outcome.APPROVED),
        ("processing", Outcome.PROCESSING),
        ("succeeded", Outcome.PAID),
        ("canceled", Outcome.UNPAID),  # one try; the page is still open
        ("a_new_one", Outcome.UNPAID),
    ],
)
async def test_a_card_stands_as_its_intent_says_while_the_page_is_open(
    bench: StubBench, status: str, expected: Outcome
) -> None:
    request = await made(bench)
    bench.stub.of(request.number).status = status
    assert await outcome(bench, request.number) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("requires_payment_method", Outcome.CLOSED),
        ("canceled", Outcome.CLOSED),
        ("requires_capture", Outcome.APPROVED),
        ("succeeded", Outcome.PAID),
    ],
)
async def test_money_counts_more_than_a_page_that_has_ended(
    bench: StubBench, status: str, expected: Outcome
) -> None:
    request = await made(bench)
    (session,) = bench.stub.sessions.values()
    session.status = "expired"
    bench.stub.of(request.number).status = status
    assert await outcome(bench, request.number) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("requires_action", Outcome.UNPAID),
        ("requires_payment_method", Outcome.UNPAID),  # the slip's time is over
        ("canceled", Outcome.UNPAID),  # and may all the same be in the buyer's hand
        ("processing", Outcome.PROCESSING),
        ("succeeded", Outcome.PAID),
    ],
)
async def test_a_slip_is_never_closed_by_a_word_of_stripes(
    slips: StubBench, status: str, expected: Outcome
) -> None:
    request = await made(slips)
    slips.stub.of(request.number).status = status
    assert await outcome(slips, request.number) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("requires_capture", CloseResult.CLOSED),
        ("succeeded", CloseResult.PAID),
        ("processing", CloseResult.UNKNOWN),
        ("canceled", CloseResult.CLOSED),
    ],
)
async def test_what_was_confirmed_is_let_go_where_it_was_not_debited(
    bench: StubBench, status: str, expected: CloseResult
) -> None:
    request = await made(bench)
    bench.stub.approve(request.number)
    bench.stub.of(request.number).status = status
    assert await bench.channel.close(request.number) is expected
    assert bench.stub.of(request.number).status == (
        "canceled" if expected is CloseResult.CLOSED else status
    )


async def test_a_payment_beside_the_first_is_asked_about_by_its_own_id(bench: StubBench) -> None:
    """F33: the two have one number, and the session knows of one of them."""
    request = await made(bench)
    await bench.pay(request.number)
    first = await bench.channel.query(request.number)
    second = replace_intent(bench, request.number, "pi_3Second")
    asked = await bench.shipped.query(request.number, second)
    assert (first.payment_ref, asked.payment_ref) == (first.channel_ref, "pi_3Second")
    assert asked.outcome is Outcome.PAID
    found = await bench.shipped.query(request.number)
    assert found.outcome is Outcome.PAID


def replace_intent(bench: StubBench, number: str, intent_id: str) -> str:
    first = bench.stub.of(number)
    second = type(first)(intent_id, first.amount, first.currency, first.metadata)
    second.status, second.received = "succeeded", first.amount
    bench.stub.intents[intent_id] = second
    return intent_id


@pytest.mark.parametrize("status", ["canceled", "requires_payment_method", "requires_action"])
async def test_what_stripe_says_was_not_debited_may_be_approved_again(
    bench: StubBench, status: str
) -> None:
    capture = await approved(bench)
    bench.stub.of(capture.number).status = status
    with pytest.raises(ChannelRefused, match="unexpected_state"):
        await card_of(bench).capture(capture)


async def test_a_capture_of_what_was_captured_is_paid(bench: StubBench) -> None:
    """F28, at Stripe: another request, or the first one after its key was forgotten."""
    capture = await approved(bench)
    first = await card_of(bench).capture(capture)
    again = await card_of(bench).capture(replace(capture, request_id=f"{capture.number}C2"))
    assert again == first
    assert first.outcome is Outcome.PAID


async def test_what_nobody_approved_is_not_captured(bench: StubBench) -> None:
    number = (await made(bench)).number
    (session,) = bench.stub.sessions.values()
    capture = CaptureRequest(number, session.id, f"{number}C1", request_of(bench).money)
    with pytest.raises(ChannelRefused):
        await card_of(bench).capture(capture)
    with pytest.raises(ChannelRefused):
        await card_of(bench).capture(replace(capture, channel_ref=""))


@pytest.mark.parametrize("done", [False, True])
async def test_an_error_that_stripe_keeps_is_judged_by_how_the_payment_stands(
    bench: StubBench, done: bool
) -> None:
    """It would be repeated for a day: so it is a no where Stripe says that nothing was debited."""
    capture = await approved(bench)
    bench.stub.stored_error.add("capture")
    with pytest.raises(ChannelUnavailable):
        await card_of(bench).capture(capture)
    bench.stub.of(capture.number).status = "succeeded" if done else "requires_capture"
    if done:
        assert (await card_of(bench).capture(capture)).outcome is Outcome.PAID
    else:
        with pytest.raises(ChannelRefused):
            await card_of(bench).capture(capture)


async def test_an_error_that_stripe_keeps_under_a_new_number_makes_way_for_another(
    bench: StubBench,
) -> None:
    request = request_of(bench)
    bench.stub.stored_error.add("create")
    with pytest.raises(ChannelUnavailable):
        await bench.channel.create(request)
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.create(request)
    assert refused.value.number_spent


async def test_an_error_that_stripe_keeps_of_a_refund_tells_nothing(bench: StubBench) -> None:
    """Money may have gone: for a day it is asked about, and then a person looks."""
    refund = await paid_and_refund_of(bench)
    bench.stub.stored_error.add("refund")
    for _ in range(2):
        with pytest.raises(ChannelUnavailable):
            await bench.shipped.refund(refund)
    found = await query_refund(bench, refund)
    assert found is not None
    assert found.state is RefundState.SENT


async def test_a_payment_given_back_in_full_is_refused_as_spent(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench, amount=1234)
    await bench.shipped.refund(refund)
    with pytest.raises(ChannelRefused, match="already_refunded") as refused:
        await bench.shipped.refund(replace(refund, number=f"{refund.attempt_number}R2"))
    assert refused.value.number_spent


async def test_a_refund_number_with_another_amount_is_spent(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench)
    await bench.shipped.refund(refund)
    other = replace(refund, money=replace(refund.money, amount=7))
    with pytest.raises(ChannelRefused, match="idempotency_error") as refused:
        await bench.shipped.refund(other)
    assert refused.value.number_spent


async def test_a_refund_is_found_on_whichever_page_it_is_listed(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench)
    others = [{**listed("re_3Other"), "metadata": {}}]
    bench.stub.raw["query_refund"] = page([*others], more=True)
    await bench.shipped.refund(refund)
    found = await query_refund(bench, refund)
    assert found is not None
    assert bench.stub.seen[-1][2]["starting_after"] == "re_3Other"


async def test_a_list_without_end_tells_nothing(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench)

    class Endless(dict[str, tuple[int, bytes]]):
        def __contains__(self, verb: object) -> bool:
            return verb == "query_refund"

        def pop(self, verb: str, *_: object) -> tuple[int, bytes]:
            return page([listed("re_3Other")], more=True)

    bench.stub.raw = Endless()
    with pytest.raises(ChannelUnavailable, match="too many"):
        await query_refund(bench, refund)


def listed(refund_id: str) -> Json:
    return {"id": refund_id, "amount": 1, "currency": "usd", "status": "succeeded"}


def page(refunds: list[Json], *, more: bool) -> tuple[int, bytes]:
    return 200, json.dumps({"object": "list", "data": refunds, "has_more": more}).encode()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"null"),
        (200, b'{"id": "pi_3X"'),
        (200, b'{"id": 7, "data": {}}'),
        (200, b"\xff\xfe"),
        (302, b""),
        (400, b"<html>a proxy</html>"),
        (404, b"<html>not ours</html>"),
        (409, refusal(code="idempotency_key_in_use")),
        (429, refusal(code="rate_limit")),
        (500, refusal(code="api_error")),
        (503, b""),
    ],
)
async def test_an_answer_that_says_nothing_tells_nothing(
    bench: StubBench, verb: str, status: int, body: bytes
) -> None:
    call = await call_of(bench, verb)
    bench.stub.raw[verb] = (status, body)
    with pytest.raises(ChannelUnavailable):
        await call()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_not_let_in_is_told_nothing_and_may_try_again(
    bench: StubBench, verb: str, status: int
) -> None:
    """A key that is replaced is wrong for a moment: no refund fails for that."""
    call = await call_of(bench, verb)
    bench.stub.raw[verb] = (status, refusal(message=f"Invalid API Key provided: {KEY}"))
    with pytest.raises(ChannelUnavailable) as unknown:
        await call()
    assert KEY not in str(unknown.value)


async def test_an_answer_about_something_else_tells_nothing(bench: StubBench) -> None:
    request = await made(bench)
    bench.stub.of(request.number).metadata["number"] = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
    (session,) = bench.stub.sessions.values()
    session.fields["metadata[number]"] = "01KACB3V9D6H2M4XQ7R8S5T0WZ"
    with pytest.raises(ChannelUnavailable, match="another number"):
        await bench.channel.query(request.number)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"code": "amount_too_small"}, "amount_too_small (Stripe takes no payment that small"),
        ({"message": "No such price"}, "invalid_request_error No such price"),
        ({"message": f"Invalid API Key provided: {KEY}"}, "Invalid API Key provided: secret_key"),
        ({"message": "x" * 900}, "invalid_request_error " + "x" * 250),
    ],
)
def test_the_operator_is_told_what_stripe_said(said: dict[str, str], shown: str) -> None:
    code, message = said.get("code"), said.get("message")
    sentence = sentence_of(ErrorBody("invalid_request_error", code, message))
    assert shown in sentence
    assert KEY not in sentence
    assert len(sentence) <= 300


async def test_what_stripe_says_of_the_buyer_is_repeated_to_nobody(slips: StubBench) -> None:
    request = replace(request_of(slips), buyer=replace(BUYER, tax_id="123.secret"))
    with pytest.raises(ChannelRefused) as refused:
        await slips.channel.create(request)
    assert "123.secret" not in str(refused.value)
    assert "tax_id" in str(refused.value)
