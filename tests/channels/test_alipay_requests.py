"""What is said to Alipay, to the letter, and what the buyer is handed."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from msgspec import structs

from gateway.channels.actions import AppAction, QrAction, RedirectAction
from gateway.channels.alipay import alipay
from gateway.channels.alipay_wire import Product, write_refund, write_refund_query, write_trade
from gateway.channels.base import CreateRequest, RefundRequest
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.money import Money
from tests.channels.alipay_benches import StubBench, stub_bench
from tests.channels.bench import paid_and_refund_of, request_of, serving
from tests.fakes.alipay_crypto import request_text, stub_side
from tests.fakes.alipay_stub import Fault
from tests.fakes.keys import signed_by

REQUEST = CreateRequest(
    number="01KACB3V9D6H2M4XQ7R8S5T0WZ",
    product="precreate",
    money=Money(1234, "CNY"),
    subject="茶/咖啡=2杯 & 蛋糕",
    pay_by=datetime(2026, 11, 22, 16, 30, 59, 999_999, UTC),
    notify_url="https://pay.example/callbacks/ali_main",
    return_url="https://pay.example/checkout/tok/return/att?x=1&y=中",
)
COMMON = {
    "out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ",
    "total_amount": "12.34",
    "subject": "茶／咖啡＝2杯 ＆ 蛋糕",
    "time_expire": "2026-11-23 00:30:59",
}


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("product", "more"),
    [
        (Product.PRECREATE, {"product_code": "QR_CODE_OFFLINE"}),
        (Product.PAGE, {"product_code": "FAST_INSTANT_TRADE_PAY"}),
        (Product.WAP, {"product_code": "QUICK_WAP_WAY", "quit_url": REQUEST.return_url}),
        (Product.APP, {"product_code": "QUICK_MSECURITY_PAY"}),
    ],
)
def test_a_payment_is_described_exactly_so(product: Product, more: dict[str, str]) -> None:
    assert json.loads(write_trade(REQUEST, product)) == {**COMMON, **more}


@pytest.mark.parametrize("product", list(Product))
def test_the_same_request_is_written_in_the_same_words(product: Product) -> None:
    elsewhere = REQUEST.pay_by.astimezone(timezone(timedelta(hours=-5)))
    same = structs.replace(REQUEST, pay_by=elsewhere)
    assert write_trade(REQUEST, product) == write_trade(same, product)


def test_a_long_subject_is_cut_to_what_the_channel_takes() -> None:
    body = json.loads(write_trade(structs.replace(REQUEST, subject="茶" * 300), Product.PAGE))
    assert body["subject"] == "茶" * 256


@pytest.mark.parametrize(("amount", "text"), [(1, "0.01"), (10, "0.10"), (10**10, "100000000.00")])
def test_an_amount_is_written_in_yuan_with_two_decimals(amount: int, text: str) -> None:
    request = structs.replace(REQUEST, money=Money(amount, "CNY"))
    assert json.loads(write_trade(request, Product.PAGE))["total_amount"] == text


REFUND = RefundRequest(
    number="01KACB3V9D6H2M4XQ7R8S5T0WZR1",
    attempt_number="01KACB3V9D6H2M4XQ7R8S5T0WZ",
    payment_ref="2026112222001445440500000001",
    money=Money(500, "CNY"),
    total=Money(1234, "CNY"),
    reason="付重了" * 100,
    notify_url="https://pay.example/callbacks/ali_main",
    sent_at=datetime(2026, 11, 22, 16, 0, tzinfo=UTC),
)


def test_a_refund_names_the_payment_by_the_channels_id() -> None:
    assert json.loads(write_refund(REFUND)) == {
        "trade_no": "2026112222001445440500000001",
        "out_request_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR1",
        "refund_amount": "5.00",
        "refund_reason": ("付重了" * 100)[:256],
    }
    assert write_refund(REFUND) == write_refund(structs.replace(REFUND))


def test_a_refund_without_the_channels_id_names_our_number() -> None:
    body = json.loads(write_refund(structs.replace(REFUND, payment_ref="", reason="")))
    assert body == {
        "out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ",
        "out_request_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR1",
        "refund_amount": "5.00",
    }


def test_a_refund_is_asked_about_by_its_number_and_the_payments() -> None:
    asked = write_refund_query("01KACB3V9D6H2M4XQ7R8S5T0WZR12", "01KACB3V9D6H2M4XQ7R8S5T0WX", "")
    assert json.loads(asked) == {
        "out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WX",
        "out_request_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR12",
    }


def test_a_refund_is_asked_about_under_the_trade_that_it_gives_back() -> None:
    asked = write_refund_query("01KACB3V9D6H2M4XQ7R8S5T0WZR1", "01KACB3V9D6H2M4XQ7R8S5T0WX", "22")
    assert json.loads(asked) == {
        "trade_no": "22",
        "out_request_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR1",
    }


async def test_a_call_divides_its_fields_as_alipays_sdks_do(bench: StubBench) -> None:
    await bench.shipped.create(request_of(bench))
    (fields,) = bench.stub.seen
    assert fields["notify_url"] == bench.notify_url
    assert "return_url" not in fields
    assert "app_cert_sn" not in fields
    form = "application/x-www-form-urlencoded;charset=utf-8"
    assert bench.stub.headers["content-type"] == form
    assert bench.stub.headers["user-agent"].startswith("PayOnce/")


async def test_certificate_mode_names_both_certificates() -> None:
    async with stub_bench(certificates=True) as bench:
        await bench.shipped.create(request_of(bench))
        (fields,) = bench.stub.seen
        assert fields["app_cert_sn"] == bench.side.app.sn
        assert fields["alipay_root_cert_sn"] == bench.side.roots_sn


async def test_a_repeat_says_the_same(bench: StubBench) -> None:
    request = request_of(bench)
    await bench.shipped.create(request)
    await bench.shipped.create(request)
    first, second = (fields["biz_content"] for fields in bench.stub.seen)
    assert first == second


async def test_times_are_beijings_wherever_we_are(http: aiohttp.ClientSession) -> None:
    now = datetime(2026, 11, 22, 16, 0, 1, tzinfo=UTC)
    settings = stub_side().settings("https://ali.example")
    channel = alipay("acct_1", settings, {}, http, clock=lambda: now)
    created = await channel.create(structs.replace(REQUEST, product="page"))
    assert isinstance(created.next_action, RedirectAction)
    fields = dict(parse_qsl(urlsplit(created.next_action.url).query))
    assert fields["timestamp"] == "2026-11-23 00:00:01"


async def test_a_code_is_handed_out_for_two_hours(bench: StubBench) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    request = structs.replace(request_of(bench), pay_by=until + timedelta(hours=1))
    created = await bench.shipped.create(request)
    assert isinstance(created.next_action, QrAction)
    assert created.next_action.content.startswith("https://qr.alipay.com/")
    assert created.next_action.expires_at == created.usable_until
    assert until <= created.usable_until < until + timedelta(minutes=1)


@pytest.mark.parametrize("product", list(Product))
async def test_nothing_is_usable_beyond_the_payments_deadline(
    bench: StubBench, product: Product
) -> None:
    request = request_of(bench, product)
    assert (await bench.shipped.create(request)).usable_until == request.pay_by


@pytest.mark.parametrize(("product", "method"), [("page", "page"), ("wap", "wap")])
async def test_a_link_is_signed_here_and_the_channel_hears_of_it_when_it_is_opened(
    bench: StubBench, product: str, method: str
) -> None:
    request = structs.replace(request_of(bench, product), return_url=REQUEST.return_url)
    created = await bench.shipped.create(request)
    assert not bench.stub.calls
    assert isinstance(created.next_action, RedirectAction)
    link = urlsplit(created.next_action.url)
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{bench.url}/gateway.do"
    fields = dict(parse_qsl(link.query, strict_parsing=True))
    assert fields["method"] == f"alipay.trade.{method}.pay"
    assert fields["return_url"] == REQUEST.return_url
    assert fields["notify_url"] == bench.notify_url
    assert signed_by(bench.side.app.key, fields["sign"], request_text(fields))
    await bench.open(request.number, created.next_action)
    assert bench.stub.calls == {"open": 1}


async def test_an_app_is_handed_an_order_that_the_merchant_signed(bench: StubBench) -> None:
    created = await bench.shipped.create(request_of(bench, "app"))
    assert not bench.stub.calls
    assert isinstance(created.next_action, AppAction)
    assert created.next_action.parameters.keys() == {"orderStr"}
    text = created.next_action.parameters["orderStr"]
    assert "+" not in text  # a space is %20: the wallet does not take a plus for one
    fields = dict(parse_qsl(text, strict_parsing=True))
    assert fields["method"] == "alipay.trade.app.pay"
    assert signed_by(bench.side.app.key, fields["sign"], request_text(fields))


@pytest.mark.parametrize("product", list(Product))
async def test_a_deadline_that_is_over_is_refused_before_anything_is_signed(
    bench: StubBench, product: Product
) -> None:
    request = request_of(bench, product)
    late = structs.replace(request, pay_by=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(ChannelRefused) as refused:
        await bench.shipped.create(late)
    assert (refused.value.code, refused.value.number_spent) == ("pay_by_over", False)
    assert not bench.stub.calls


async def test_an_unknown_product_is_refused_before_anything_is_sent(bench: StubBench) -> None:
    with pytest.raises(ChannelRefused, match="precreate, wap, page, app") as refused:
        await bench.shipped.create(request_of(bench, "facepay"))
    assert refused.value.code == "product_unknown"
    assert not bench.stub.calls


@pytest.mark.parametrize("executes", [False, True])
async def test_a_call_whose_connection_breaks_is_not_sent_again_by_itself(
    bench: StubBench, executes: bool
) -> None:
    refund = await paid_and_refund_of(bench)  # leaves a connection to be used again
    bench.stub.faults["refund"] = [Fault(executes=executes, said=None)]
    with pytest.raises(ChannelUnavailable):
        await bench.channel.refund(refund)
    assert bench.stub.calls["refund"] == 1


async def test_a_redirect_is_not_followed(bench: StubBench, http: aiohttp.ClientSession) -> None:
    async def lead_away(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{bench.url}{request.raw_path}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", lead_away)
    async with serving(app) as url:
        channel = alipay("acct_1", bench.side.settings(url), {}, http)
        with pytest.raises(ChannelUnavailable, match="HTTP 307"):
            await channel.create(request_of(bench))
    assert not bench.stub.calls


async def test_a_channel_that_is_not_there_tells_nothing(http: aiohttp.ClientSession) -> None:
    async with stub_bench() as bench:
        gone = bench.side.settings(bench.url)
    channel = alipay("acct_1", gone, {}, http)
    with pytest.raises(ChannelUnavailable, match="ClientConnectorError"):
        await channel.query(REQUEST.number)
