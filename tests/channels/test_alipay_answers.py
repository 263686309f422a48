"""What Alipay says, and what we take it to mean: nothing more, and nothing less."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from msgspec import structs

from gateway.channels.base import CloseResult
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundState
from gateway.money import Money
from tests.channels.alipay_benches import TOO_MANY, UNKNOWN_OUTCOME, StubBench, stub_bench
from tests.channels.bench import made, paid_and_refund_of, request_of
from tests.fakes.alipay_crypto import Json, answer_text


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def said(code: str, sub_code: str = "", **more: str) -> dict[str, str]:
    return {"code": code, "msg": "见文档", "sub_code": sub_code, "sub_msg": "见文档", **more}


GATEWAY_REFUSED = [
    ("40001", "isv.missing-method"),
    ("40002", "isv.invalid-signature"),
    ("40002", "isv.invalid-parameter"),
    ("40003", "isv.insufficient-conditions"),
    ("40006", "isv.insufficient-isv-permissions"),
    ("40006", ""),
]
NOTHING_KNOWN = [
    UNKNOWN_OUTCOME,
    TOO_MANY,
    said("20000", "aop.unknow-error"),
    said("20001", "aop.invalid-auth-token"),
    said("10003", ""),
    said("40002", "isp.unknow-error"),
    said("40003", "aop.unknow-error"),
    said("40004", "ACQ.SYSTEM_ERROR"),
    said("40004", "ACQ.SOMETHING_NEW"),
    said("40004", "TRADE_NOT_EXIST"),
    said("40004", ""),
    said("99999", "ACQ.TRADE_NOT_EXIST"),
    {"msg": "Success"},
    {"code": 10000, "msg": "Success"},
]
R1 = "01KACB3V9D6H2M4XQ7R8S5T0WZR1"
VERBS = ["create", "query", "close", "refund", "query_refund"]


async def calls_of(bench: StubBench) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every verb, about payments and refunds that exist."""
    refund = await paid_and_refund_of(bench)
    await bench.channel.refund(refund)
    unpaid = await made(bench)
    return {
        "create": lambda: bench.shipped.create(unpaid),
        "query": lambda: bench.shipped.query(unpaid.number),
        "close": lambda: bench.shipped.close(unpaid.number),
        "refund": lambda: bench.shipped.refund(refund),
        "query_refund": lambda: bench.shipped.query_refund(refund.number, refund.attempt_number),
    }


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answer", NOTHING_KNOWN)
async def test_an_answer_that_is_not_listed_tells_nothing(
    bench: StubBench, verb: str, answer: Json
) -> None:
    calls = await calls_of(bench)
    bench.stub.answers[verb] = answer
    with pytest.raises(ChannelUnavailable):
        await calls[verb]()


# Of a refund, an answer with nothing in it says that there is none.
@pytest.mark.parametrize("verb", VERBS[:-1])
@pytest.mark.parametrize("content", [{}, {"out_trade_no": 7, "qr_code": 7, "trade_no": 7}])
async def test_yes_and_nothing_else_tells_nothing(
    bench: StubBench, verb: str, content: Json
) -> None:
    calls = await calls_of(bench)
    bench.stub.answers[verb] = {"code": "10000", "msg": "Success", **content}
    with pytest.raises(ChannelUnavailable):
        await calls[verb]()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, b""),
        (302, b""),
        (404, b"{}"),
        (200, b""),
        (200, b"null"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"\xff\xfe"),
        (200, b"<html>\xb7\xfe\xce\xf1\xc6\xf7\xb7\xb1\xc3\xa6</html>"),
        (200, b'{"sign":"AAAA"}'),
        (200, b'{"error_response":7,"sign":"AAAA"}'),
        (200, b'{"error_response":{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}}'),
        (200, b'{"error_response":{"code":"10000"},"sign":7}'),
        (200, b'{"error_response":{"code":"10000"},"sign":"AAAA","alipay_cert_sn":7}'),
        (200, b"[" * 100_000),
    ],
)
async def test_what_is_not_a_signed_answer_tells_nothing(
    bench: StubBench, verb: str, status: int, text: bytes
) -> None:
    calls = await calls_of(bench)
    bench.stub.raw[verb] = status, text
    with pytest.raises(ChannelUnavailable):
        await calls[verb]()


async def test_an_answer_is_believed_as_it_was_signed_and_not_as_it_might_be_written(
    bench: StubBench,
) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    name, key = "alipay_trade_query_response", bench.side.alipay.key
    words = answer_text(name, _paid(request.number), key)
    for text in (words, words.replace(b',"sign"', b' ,\n "sign"')):
        bench.stub.raw["query"] = 200, text
        assert (await bench.shipped.query(request.number)).outcome is Outcome.PAID
    for text in (words.replace(b"\\/", b"/"), words.replace(b'","', b'", "', 1)):
        bench.stub.raw["query"] = 200, text
        with pytest.raises(ChannelUnavailable, match="not Alipay's"):
            await bench.shipped.query(request.number)


async def test_a_signed_answer_under_another_methods_name_tells_nothing(bench: StubBench) -> None:
    request = await made(bench)
    text = answer_text("alipay_trade_pay_response", _paid(request.number), bench.side.alipay.key)
    bench.stub.raw["query"] = 200, text
    with pytest.raises(ChannelUnavailable, match="not one of Alipay's"):
        await bench.shipped.query(request.number)


async def test_an_error_of_the_gateway_is_told_to_the_operator_and_not_taken_for_no(
    bench: StubBench,
) -> None:
    request = await made(bench)
    bench.stub.side = replace(bench.side, app_id="2021999999999999")
    with pytest.raises(ChannelUnavailable, match=r"without Alipay's signature.*check app_id"):
        await bench.shipped.query(request.number)
    with pytest.raises(ChannelUnavailable, match="check app_id"):
        await bench.shipped.create(request_of(bench))


def _paid(number: str) -> Json:
    return {
        "code": "10000",
        "msg": "Success",
        "trade_no": "2026112222001445440500000001",
        "out_trade_no": number,
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "12.34",
        "store_name": "证大/五道口店",
        "send_pay_date": "2026-11-22 10:34:56",
    }


CREATE_DID_NOTHING = [
    *GATEWAY_REFUSED,
    ("40004", "ACQ.INVALID_PARAMETER"),
    ("40004", "ACQ.ACCESS_FORBIDDEN"),
    ("40004", "ACQ.EXIST_FORBIDDEN_WORD"),
    ("40004", "ACQ.PARTNER_ERROR"),
    ("40004", "ACQ.TOTAL_FEE_EXCEED"),
]


@pytest.mark.parametrize(("code", "sub_code"), CREATE_DID_NOTHING)
async def test_create_refused_by_a_listed_code_says_so(
    bench: StubBench, code: str, sub_code: str
) -> None:
    bench.stub.answers["create"] = said(code, sub_code)
    with pytest.raises(ChannelRefused, match="见文档") as refused:
        await bench.shipped.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == (sub_code or code, False)


@pytest.mark.parametrize(
    "sub_code", ["ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_CLOSE", "ACQ.CONTEXT_INCONSISTENT"]
)
async def test_create_under_a_number_that_is_in_use_asks_for_a_query(
    bench: StubBench, sub_code: str
) -> None:
    bench.stub.answers["create"] = said("40004", sub_code)
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.create(request_of(bench))
    assert (refused.value.code, refused.value.number_spent) == (sub_code, True)


async def test_a_wrong_signature_of_ours_is_explained_to_the_operator(bench: StubBench) -> None:
    bench.stub.answers["create"] = said("40002", "isv.invalid-signature")
    with pytest.raises(ChannelRefused, match="check app_key") as refused:
        await bench.shipped.create(request_of(bench))
    assert "PRIVATE KEY" not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ", "qr_code": "https://qr.alipay.com/x"},
        {"qr_code": "https://qr.alipay.com/x"},
    ],
)
async def test_a_code_for_another_payment_is_not_handed_out(
    bench: StubBench, answer: dict[str, str]
) -> None:
    bench.stub.answers["create"] = {"code": "10000", **answer}
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.create(request_of(bench))


async def test_an_answer_without_a_code_hands_out_nothing(bench: StubBench) -> None:
    request = request_of(bench)
    bench.stub.answers["create"] = {"code": "10000", "out_trade_no": request.number, "qr_code": ""}
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.create(request)


@pytest.mark.parametrize(
    ("status", "paid_at", "expected", "refunded"),
    [
        ("WAIT_BUYER_PAY", "", Outcome.UNPAID, None),
        ("TRADE_CLOSED", "", Outcome.CLOSED, None),
        ("TRADE_SUCCESS", "2026-11-22 10:34:56", Outcome.PAID, 0),
        ("TRADE_SUCCESS", "", Outcome.PAID, 0),
        ("TRADE_FINISHED", "2026-11-22 10:34:56", Outcome.PAID, 0),
        # Paid once, and given back in full since: it happened, and nothing of it is left.
        ("TRADE_CLOSED", "2026-11-22 10:34:56", Outcome.PAID, 1234),
    ],
)
async def test_what_a_status_means(
    bench: StubBench, status: str, paid_at: str, expected: Outcome, refunded: int | None
) -> None:
    request = await made(bench)
    answer = {**_paid(request.number), "trade_status": status, "send_pay_date": paid_at}
    bench.stub.answers["query"] = answer
    report = await bench.shipped.query(request.number)
    assert report.outcome is expected
    if refunded is None:
        assert (report.money, report.payment_ref) == (None, None)
    else:
        assert (report.money, report.refunded) == (Money(1234, "CNY"), refunded)
        assert report.payment_ref == answer["trade_no"]


async def test_a_payment_given_back_in_part_is_still_reported_as_paid(bench: StubBench) -> None:
    refund = await paid_and_refund_of(bench)
    await bench.channel.refund(refund)
    report = await bench.shipped.query(refund.attempt_number)
    assert (report.outcome, report.money) == (Outcome.PAID, refund.total)
    assert report.payment_ref == refund.payment_ref


async def test_a_payment_given_back_in_full_is_reported_as_paid_and_given_back(
    bench: StubBench,
) -> None:
    refund = await paid_and_refund_of(bench, amount=1234)
    await bench.channel.refund(refund)
    report = await bench.shipped.query(refund.attempt_number)
    assert (report.outcome, report.money, report.refunded) == (Outcome.PAID, refund.total, 1234)
    read = bench.shipped.read(await bench.end_refund(refund.number)).report
    assert isinstance(read, ChannelReport)
    assert structs.replace(read, source=report.source) == report


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ"},
        {"trade_status": "NEW_STATUS"},
        {"trade_status": 1},
        {"trade_no": None},
        {"trade_no": ""},
        {"trade_no": "2026\u0000"},
        {"total_amount": None},
        {"total_amount": "-12.34"},
        {"total_amount": "12.345"},
        {"total_amount": 12.34},
        {"total_amount": "1e3"},
        {"total_amount": "10000000000.00"},
    ],
)
async def test_a_signed_answer_that_is_not_about_this_payment_tells_nothing(
    bench: StubBench, change: Json
) -> None:
    request = await made(bench)
    bench.stub.answers["query"] = {**_paid(request.number), **change}
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.query(request.number)


@pytest.mark.parametrize(("code", "sub_code"), CREATE_DID_NOTHING)
async def test_a_query_or_a_close_that_is_refused_tells_nothing(
    bench: StubBench, code: str, sub_code: str
) -> None:
    request = await made(bench)
    bench.stub.answers |= {"query": said(code, sub_code), "close": said(code, sub_code)}
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.query(request.number)
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.close(request.number)


@pytest.mark.parametrize(
    "sub_code",
    ["ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS"],
)
@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({}, CloseResult.PAID),
        ({"trade_status": "TRADE_CLOSED", "send_pay_date": ""}, CloseResult.CLOSED),
        ({"trade_status": "TRADE_CLOSED"}, CloseResult.PAID),
        ({"trade_status": "WAIT_BUYER_PAY", "send_pay_date": ""}, CloseResult.UNKNOWN),
    ],
)
async def test_why_a_close_was_refused_is_asked(
    bench: StubBench, sub_code: str, change: dict[str, str], result: CloseResult
) -> None:
    request = await made(bench)
    bench.stub.answers["close"] = said("40004", sub_code)
    bench.stub.answers["query"] = {**_paid(request.number), **change}
    assert await bench.shipped.close(request.number) is result


async def test_where_nobody_says_why_a_close_was_refused_nothing_is_known(bench: StubBench) -> None:
    request = await made(bench)
    bench.stub.answers["close"] = said("40004", "ACQ.TRADE_STATUS_ERROR")
    bench.stub.answers["query"] = UNKNOWN_OUTCOME
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.close(request.number)


async def test_a_close_of_another_payment_tells_nothing(bench: StubBench) -> None:
    request = await made(bench)
    bench.stub.answers["close"] = {"code": "10000", "out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ"}
    with pytest.raises(ChannelUnavailable, match="another payment"):
        await bench.shipped.close(request.number)


async def test_what_gives_money_back_by_itself_is_never_called(bench: StubBench) -> None:
    request = await made(bench)
    await bench.pay(request.number)
    await bench.shipped.close(request.number)
    assert "alipay.trade.cancel" not in {fields["method"] for fields in bench.stub.seen}
    assert (await bench.shipped.query(request.number)).refunded == 0


@pytest.mark.parametrize(
    ("code", "sub_code"),
    [
        *GATEWAY_REFUSED,
        ("40004", "ACQ.INVALID_PARAMETER"),
        ("40004", "ACQ.REASON_TRADE_REFUND_FEE_ERR"),
        ("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"),
        ("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH"),
        ("40004", "ACQ.TRADE_HAS_FINISHED"),
        ("40004", "ACQ.TRADE_NOT_ALLOW_REFUND"),
        ("40004", "ACQ.TRADE_NOT_EXIST"),
        ("40004", "ACQ.TRADE_STATUS_ERROR"),
    ],
)
async def test_a_refund_refused_by_a_listed_code_says_so(
    bench: StubBench, code: str, sub_code: str
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = said(code, sub_code)
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.refund(request)
    assert (refused.value.code, refused.value.number_spent) == (sub_code or code, False)


async def test_a_refund_number_with_another_amount_asks_for_a_query(bench: StubBench) -> None:
    request = await paid_and_refund_of(bench)
    await bench.channel.refund(request)
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.refund(structs.replace(request, money=Money(99, "CNY")))
    assert refused.value.code == "ACQ.DISCORDANT_REPEAT_REQUEST"
    assert refused.value.number_spent
    assert await bench.given_back(request.attempt_number) == {request.number: 500}


async def test_a_refund_of_what_is_closed_asks_for_a_query(bench: StubBench) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = said("40004", "ACQ.TRADE_HAS_CLOSE")
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.refund(request)
    assert refused.value.number_spent


async def test_a_refund_is_done_when_the_call_moved_the_money(bench: StubBench) -> None:
    request = await paid_and_refund_of(bench)
    assert (await bench.channel.refund(request)).state is RefundState.DONE
    # A repeat moves nothing, and so does not say that anything was moved.
    assert (await bench.channel.refund(request)).state is RefundState.SENT
    asked = await bench.channel.query_refund(request.number, request.attempt_number)
    assert asked is not None
    assert (asked.state, asked.money) == (RefundState.DONE, request.money)


@pytest.mark.parametrize("change", [{"fund_change": "N"}, {"fund_change": ""}, {}])
async def test_a_refund_that_does_not_say_that_money_moved_is_only_sent(
    bench: StubBench, change: dict[str, str]
) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = {
        "code": "10000",
        "out_trade_no": request.attempt_number,
        "trade_no": request.payment_ref,
        "refund_fee": "5.00",
        **change,
    }
    report = await bench.channel.refund(request)
    assert (report.state, report.money) == (RefundState.SENT, request.money)


@pytest.mark.parametrize("other", ["out_trade_no", "trade_no"])
async def test_a_refund_of_another_payment_tells_nothing(bench: StubBench, other: str) -> None:
    request = await paid_and_refund_of(bench)
    bench.stub.answers["refund"] = {
        "code": "10000",
        "out_trade_no": request.attempt_number,
        "trade_no": request.payment_ref,
        "fund_change": "Y",
        other: "2026112222001445440500009999",
    }
    with pytest.raises(ChannelUnavailable, match="another payment"):
        await bench.channel.refund(request)


@pytest.mark.parametrize("answer", [{}, {"out_request_no": R1, "refund_amount": "5.00"}])
async def test_a_refund_without_a_status_is_none(bench: StubBench, answer: dict[str, str]) -> None:
    bench.stub.answers["query_refund"] = {"code": "10000", **answer}
    assert await bench.shipped.query_refund(R1, R1[:26]) is None


async def test_a_refund_with_another_status_than_success_has_not_ended(bench: StubBench) -> None:
    answer = {"code": "10000", "out_request_no": R1, "refund_amount": "5.00"}
    bench.stub.answers["query_refund"] = {**answer, "refund_status": "REFUND_PROCESSING"}
    report = await bench.shipped.query_refund(R1, R1[:26])
    assert report is not None
    assert (report.state, report.money) == (RefundState.SENT, Money(500, "CNY"))


@pytest.mark.parametrize(
    "answer",
    [
        {"out_request_no": R1, "refund_amount": "5.00", "refund_status": 7},
        {"out_request_no": R1, "refund_amount": "-5.00", "refund_status": "REFUND_SUCCESS"},
        {"out_request_no": R1, "refund_status": "REFUND_SUCCESS"},
    ],
)
async def test_a_refund_that_does_not_say_how_much_tells_nothing(
    bench: StubBench, answer: Json
) -> None:
    bench.stub.answers["query_refund"] = {"code": "10000", **answer}
    with pytest.raises(ChannelUnavailable):
        await bench.shipped.query_refund(R1, R1[:26])


async def test_an_answer_about_another_refund_tells_nothing(bench: StubBench) -> None:
    bench.stub.answers["query_refund"] = {
        "code": "10000",
        "out_request_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR2",
        "refund_status": "REFUND_SUCCESS",
        "refund_amount": "5.00",
    }
    with pytest.raises(ChannelUnavailable, match="another refund"):
        await bench.channel.query_refund(R1, R1[:26])
