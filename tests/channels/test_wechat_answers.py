"""What WeChat Pay says, and what we take it to mean: nothing more, and nothing less."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from gateway.channels.base import CloseResult
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome, RefundReport, RefundState
from gateway.money import Money
from tests.channels.bench import made, paid_and_refund_of, request_of
from tests.channels.wechat_benches import StubBench, signed, stub_bench
from tests.fakes.wechat_crypto import Json


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def refusal(code: str, message: str = "") -> bytes:
    return json.dumps({"code": code, "message": message, "detail": {"field": "/x"}}).encode()


DID_NOTHING = [
    (400, "PARAM_ERROR"),
    (400, "INVALID_REQUEST"),
    (400, "APPID_MCHID_NOT_MATCH"),
    (400, "MCH_NOT_EXISTS"),
    (401, "SIGN_ERROR"),
    (403, "NO_AUTH"),
    (403, "RULE_LIMIT"),
    (403, "USER_ACCOUNT_ABNORMAL"),
]
NOTHING_KNOWN = [
    (200, b""),
    (200, b"[]"),
    (200, b'{"code_url": 7}'),
    (200, b"{}"),
    (202, b'{"code_url": "weixin://wxpay/bizpayurl?pr=x"}'),
    (204, b""),
    (302, b""),
    (400, b"<html>a proxy's page</html>"),
    (400, refusal("SOMETHING_NEW")),
    (403, b"\xff\xfe"),
    (404, b""),
    (404, refusal("RESOURCE_NOT_EXISTS")),
    (405, b""),
    (429, refusal("FREQUENCY_LIMITED")),
    (429, refusal("RATELIMIT_EXCEEDED")),
    (429, refusal("PARAM_ERROR")),
    (500, refusal("SYSTEM_ERROR")),
    (500, refusal("SYSTEMERROR")),
    (500, refusal("PARAM_ERROR")),
    (502, refusal("SERVICE_UNAVAILABLE")),
    (503, refusal("SERVICE_UNAVAILABLE")),
]


@pytest.mark.parametrize(("status", "code"), DID_NOTHING)
async def test_create_refused_by_a_listed_code_says_so(
    bench: StubBench, status: int, code: str
) -> None:
    bench.stub.answers["create"] = status, refusal(code, "见文档")
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == (code, False)
    assert "见文档" in refused.value.detail


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "OUT_TRADE_NO_USED", ""),
        (400, "INVALID_REQUEST", "201 商户订单号重复"),
        (400, "ORDERPAID", "该订单已支付"),
        (400, "ORDER_CLOSED", ""),
        (403, "TRADE_ERROR", ""),
    ],
)
async def test_create_under_a_number_that_is_in_use_asks_for_a_query(
    bench: StubBench, status: int, code: str, message: str
) -> None:
    bench.stub.answers["create"] = status, refusal(code, message)
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == (code, True)


@pytest.mark.parametrize(("status", "body"), NOTHING_KNOWN)
async def test_create_answered_by_anything_else_tells_nothing(
    bench: StubBench, status: int, body: bytes
) -> None:
    bench.stub.answers["create"] = status, body
    with pytest.raises(ChannelUnavailable):
        await bench.channel.create(request_of(bench))


async def test_a_wrong_signature_of_ours_is_explained_to_the_operator(bench: StubBench) -> None:
    bench.stub.answers["create"] = 401, refusal("SIGN_ERROR", "签名错误")
    with pytest.raises(ChannelRefused, match="check merchant_key") as refused:
        await bench.channel.create(request_of(bench))
    for secret in (bench.keys.apiv3_key, "PRIVATE KEY"):
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("NOTPAY", Outcome.UNPAID),
        ("PAYERROR", Outcome.UNPAID),
        ("USERPAYING", Outcome.PROCESSING),
        ("CLOSED", Outcome.CLOSED),
        ("REVOKED", Outcome.CLOSED),
    ],
)
async def test_a_state_without_money_is_reported_without_money(
    bench: StubBench, state: str, expected: Outcome
) -> None:
    request = await made(bench)
    bench.stub.trades[request.number].state = state
    report = await bench.channel.query(request.number)
    assert (report.outcome, report.money, report.payment_ref) == (expected, None, None)


@pytest.mark.parametrize(("state", "refunded"), [("SUCCESS", 0), ("REFUND", None)])
async def test_success_and_refund_both_say_that_it_was_paid(
    bench: StubBench, state: str, refunded: int | None
) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    bench.stub.trades[request.number].state = state
    report = await bench.channel.query(request.number)
    assert (report.outcome, report.money) == (Outcome.PAID, Money(1234, "CNY"))
    assert report.refunded == refunded


@pytest.mark.parametrize(
    "change",
    [
        {"mchid": "1900000999"},
        {"appid": "wx0000000000000000"},
        {"out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ"},
        {"trade_state": "NEW_STATE"},
        {"trade_state": 1},
        {"transaction_id": None},
        {"transaction_id": ""},
        {"transaction_id": "4200\u0000"},
        {"amount": None},
        {"amount": {"total": -1, "currency": "CNY"}},
        {"amount": {"total": 12.5, "currency": "CNY"}},
        {"amount": {"total": "1234", "currency": "CNY"}},
        {"amount": {"total": 10**30, "currency": "CNY"}},
        {"amount": {"total": 1234, "currency": "元"}},
        {"amount": {"total": 1234, "currency": "CNY\n"}},
    ],
)
async def test_a_signed_answer_that_is_not_about_this_payment_tells_nothing(
    bench: StubBench, change: Json
) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    said = {**bench.stub.transaction(request.number), **change}
    bench.stub.answers["query"] = 200, json.dumps(said).encode()
    with pytest.raises(ChannelUnavailable):
        await bench.channel.query(request.number)


@pytest.mark.parametrize(
    ("status", "body"), [*NOTHING_KNOWN, *((s, refusal(c)) for s, c in DID_NOTHING)]
)
async def test_a_query_answered_by_anything_else_tells_nothing(
    bench: StubBench, status: int, body: bytes
) -> None:
    request = await made(bench)
    bench.stub.answers["query"] = status, body
    with pytest.raises(ChannelUnavailable):
        await bench.channel.query(request.number)


@pytest.mark.parametrize("code", ["ORDER_NOT_EXIST", "ORDERNOTEXIST"])
async def test_not_found_is_said_in_two_spellings(bench: StubBench, code: str) -> None:
    number = request_of(bench).number
    bench.stub.answers["query"] = 404, refusal(code)
    assert (await bench.channel.query(number)).outcome is Outcome.NOT_FOUND
    bench.stub.answers["close"] = 404, refusal(code)
    assert await bench.channel.close(number) is CloseResult.NOT_FOUND


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (204, b"", CloseResult.CLOSED),
        (200, b"{}", CloseResult.UNKNOWN),
        (202, refusal("USERPAYING"), CloseResult.UNKNOWN),
        (400, refusal("ORDERPAID"), CloseResult.PAID),
        (403, refusal("TRADE_ERROR"), CloseResult.PAID),
        (400, refusal("INVALID_REQUEST"), CloseResult.UNKNOWN),
        (400, refusal("ORDER_CLOSED"), CloseResult.UNKNOWN),
        (401, refusal("SIGN_ERROR"), CloseResult.UNKNOWN),
        (404, b"", CloseResult.UNKNOWN),
        (404, refusal("RESOURCE_NOT_EXISTS"), CloseResult.UNKNOWN),
    ],
)
async def test_only_a_signed_204_means_closed(
    bench: StubBench, status: int, body: bytes, result: CloseResult
) -> None:
    request = await made(bench)
    bench.stub.answers["close"] = status, body
    assert await bench.channel.close(request.number) is result


@pytest.mark.parametrize("verb", ["create", "query", "close", "refund", "query_refund"])
async def test_no_good_answer_without_a_signature_is_believed(bench: StubBench, verb: str) -> None:
    refund = await paid_and_refund_of(bench)
    await bench.channel.refund(refund)
    unpaid = await made(bench)
    bench.stub.unsigned = True
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: bench.channel.create(unpaid),
        "query": lambda: bench.channel.query(unpaid.number),
        "close": lambda: bench.channel.close(unpaid.number),
        "refund": lambda: bench.channel.refund(refund),
        "query_refund": lambda: bench.channel.query_refund(refund.number, refund.attempt_number),
    }
    with pytest.raises(ChannelUnavailable, match="not WeChat Pay's"):
        await calls[verb]()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *DID_NOTHING,
        (403, "NOT_ENOUGH"),
        (403, "TRADE_ERROR"),
        (404, "RESOURCE_NOT_EXISTS"),
    ],
)
async def test_a_refund_refused_by_a_listed_code_says_so(
    bench: StubBench, status: int, code: str
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = status, refusal(code)
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.refund(request)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (400, refusal("SOMETHING_NEW")),
        (404, b""),
        (429, refusal("FREQUENCY_LIMITED")),
        (500, refusal("SYSTEM_ERROR")),
    ],
)
async def test_a_refund_answered_by_anything_else_tells_nothing(
    bench: StubBench, status: int, body: bytes
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = status, body
    with pytest.raises(ChannelUnavailable):
        await bench.channel.refund(request)
    bench.stub.answers["query_refund"] = status, body
    with pytest.raises(ChannelUnavailable):
        await bench.channel.query_refund(request.number, request.attempt_number)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROCESSING", RefundState.SENT),
        ("SUCCESS", RefundState.DONE),
        ("CLOSED", RefundState.FAILED),
        # A person finishes it under the same number: a new one would give the money back twice.
        ("ABNORMAL", RefundState.SENT),
    ],
)
async def test_a_refunds_status_is_read_alike_from_answer_and_callback(
    bench: StubBench, status: str, state: RefundState
) -> None:
    request = await paid_and_refund_of(bench)
    await bench.channel.refund(request)
    bench.stub.end_refund(request.number, status)
    asked = await bench.channel.query_refund(request.number, request.attempt_number)
    told = bench.channel.read(signed(bench.pen, bench.stub.refund_news(request.number))).report
    assert isinstance(told, RefundReport)
    assert asked is not None
    assert (asked.state, told.state) == (state, state)
    assert asked.refund_ref == told.refund_ref


async def test_an_answer_about_another_refund_tells_nothing(bench: StubBench) -> None:
    first, second = [await paid_and_refund_of(bench) for _ in range(2)]
    await bench.channel.refund(first)
    trade = bench.stub.trades[first.attempt_number]
    other = json.dumps(bench.stub.refund_body(trade, first.number)).encode()
    bench.stub.answers["query_refund"] = 200, other
    with pytest.raises(ChannelUnavailable, match="another refund"):
        await bench.channel.query_refund(second.number, second.attempt_number)
