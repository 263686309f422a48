"""What is said to WeChat Pay, to the byte, and what the buyer is handed."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from msgspec import structs

from gateway.channels.actions import AppAction, JsapiAction, QrAction, RedirectAction
from gateway.channels.base import CreateRequest, RefundRequest
from gateway.channels.wechat import wechat_pay
from gateway.channels.wechat_wire import Product, write_prepay, write_refund
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.money import Money
from tests.channels.bench import request_of, serving
from tests.channels.wechat_benches import StubBench, stub_bench
from tests.fakes.keys import signed_by
from tests.fakes.wechat_stub import Fault

REQUEST = CreateRequest(
    number="01KACB3V9D6H2M4XQ7R8S5T0WZ",
    product="native",
    money=Money(1234, "CNY"),
    subject="两杯茶",
    pay_by=datetime(2026, 11, 22, 16, 30, 59, 999_999, UTC),
    notify_url="https://pay.example/callbacks/wx_main",
    return_url="https://pay.example/checkout/tok/return/att?x=1&y=中",
    payer="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    client_ip="203.0.113.7",
    user_agent="Mozilla/5.0 (Linux; Android 14)",
)
COMMON = {
    "appid": "wx1",
    "mchid": "1900000109",
    "description": "两杯茶",
    "out_trade_no": "01KACB3V9D6H2M4XQ7R8S5T0WZ",
    "time_expire": "2026-11-23T00:30:59+08:00",
    "notify_url": "https://pay.example/callbacks/wx_main",
    "amount": {"total": 1234, "currency": "CNY"},
}
SCENE = {"scene_info": {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Android"}}}
PAYER = {"payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def written(request: CreateRequest, product: Product = Product.NATIVE) -> bytes:
    return write_prepay(request, product, "1900000109", "wx1")


@pytest.mark.parametrize(
    ("product", "more"),
    [
        (Product.NATIVE, {}),
        (Product.APP, {}),
        (Product.H5, SCENE),
        (Product.JSAPI, PAYER),
    ],
)
def test_a_prepay_call_says_exactly_this(product: Product, more: dict[str, object]) -> None:
    assert json.loads(written(REQUEST, product)) == {**COMMON, **more}


@pytest.mark.parametrize("product", list(Product))
def test_the_same_request_is_written_in_the_same_bytes(product: Product) -> None:
    elsewhere = REQUEST.pay_by.astimezone(timezone(timedelta(hours=-5)))
    same = structs.replace(REQUEST, pay_by=elsewhere)
    assert written(REQUEST, product) == written(same, product)


def test_a_long_subject_is_cut_to_what_the_channel_takes() -> None:
    body = json.loads(written(structs.replace(REQUEST, subject="茶" * 200)))
    assert body["description"] == "茶" * 127


@pytest.mark.parametrize(
    ("user_agent", "kind"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0)", "iOS"),
        ("Mozilla/5.0 (iPad)", "iOS"),
        ("Mozilla/5.0 (Linux; Android 14)", "Android"),
        ("", "Wap"),
    ],
)
def test_h5_says_what_kind_of_phone_it_is(user_agent: str, kind: str) -> None:
    body = json.loads(written(structs.replace(REQUEST, user_agent=user_agent), Product.H5))
    assert body["scene_info"]["h5_info"]["type"] == kind


REFUND = RefundRequest(
    number="01KACB3V9D6H2M4XQ7R8S5T0WZR1",
    attempt_number="01KACB3V9D6H2M4XQ7R8S5T0WZ",
    payment_ref="4200000000202611220000000001",
    money=Money(500, "CNY"),
    total=Money(1234, "CNY"),
    reason="付重了" * 40,
    notify_url="https://pay.example/callbacks/wx_main",
    sent_at=datetime(2026, 11, 22, 16, 0, tzinfo=UTC),
)


def test_a_refund_names_the_payment_by_the_channels_id_and_always_where_to_tell() -> None:
    assert json.loads(write_refund(REFUND)) == {
        "transaction_id": "4200000000202611220000000001",
        "out_refund_no": "01KACB3V9D6H2M4XQ7R8S5T0WZR1",
        "reason": ("付重了" * 40)[:80],
        "notify_url": "https://pay.example/callbacks/wx_main",
        "amount": {"refund": 500, "total": 1234, "currency": "CNY"},
    }
    assert write_refund(REFUND) == write_refund(structs.replace(REFUND))


def test_a_refund_without_the_channels_id_names_our_number() -> None:
    body = json.loads(write_refund(structs.replace(REFUND, payment_ref="", reason="")))
    assert body["out_trade_no"] == "01KACB3V9D6H2M4XQ7R8S5T0WZ"
    assert "transaction_id" not in body
    assert "reason" not in body


async def test_a_repeat_goes_over_the_wire_in_the_same_bytes(bench: StubBench) -> None:
    request = request_of(bench)
    await bench.channel.create(request)
    await bench.channel.create(request)
    first, second = bench.stub.bodies
    assert first == second


@pytest.mark.parametrize("executes", [False, True])
async def test_a_create_whose_connection_breaks_is_not_sent_again_by_itself(
    bench: StubBench, executes: bool
) -> None:
    await bench.channel.create(request_of(bench))  # leaves a connection to be used again
    bench.stub.faults["create"] = [Fault(executes=executes, status=None)]
    with pytest.raises(ChannelUnavailable):
        await bench.channel.create(request_of(bench))
    assert bench.stub.calls["create"] == 2


async def test_a_call_says_who_asks_and_wants_the_body_as_it_was_signed(bench: StubBench) -> None:
    await bench.channel.create(request_of(bench))
    assert bench.stub.headers["accept"] == "application/json"
    assert bench.stub.headers["accept-encoding"] == "identity"
    assert bench.stub.headers["content-type"] == "application/json"
    assert bench.stub.headers["user-agent"].startswith("PayOnce/")
    assert bench.stub.headers["wechatpay-serial"] == bench.keys.public.serial


async def test_a_redirect_is_not_followed(bench: StubBench, http: aiohttp.ClientSession) -> None:
    async def lead_away(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{bench.url}{request.raw_path}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", lead_away)
    async with serving(app) as url:
        channel = wechat_pay("acct_1", bench.keys.settings(url), {}, http)
        with pytest.raises(ChannelUnavailable):
            await channel.create(request_of(bench))
    assert not bench.stub.calls


async def test_a_channel_that_is_not_there_tells_nothing(http: aiohttp.ClientSession) -> None:
    async with stub_bench() as bench:
        gone = bench.url
    channel = wechat_pay("acct_1", bench.keys.settings(gone), {}, http)
    with pytest.raises(ChannelUnavailable, match="ClientConnectorError"):
        await channel.query(REQUEST.number)


async def test_native_hands_out_a_code_for_two_hours(bench: StubBench) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    request = structs.replace(request_of(bench), pay_by=until + timedelta(hours=1))
    created = await bench.channel.create(request)
    assert isinstance(created.next_action, QrAction)
    assert created.next_action.content.startswith("weixin://wxpay/bizpayurl?pr=")
    assert created.next_action.expires_at == created.usable_until
    assert until <= created.usable_until < until + timedelta(minutes=1)


async def test_a_code_ends_with_the_payments_deadline(bench: StubBench) -> None:
    request = request_of(bench)
    assert (await bench.channel.create(request)).usable_until == request.pay_by


async def test_h5_hands_out_a_link_for_five_minutes_that_leads_back(bench: StubBench) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    request = structs.replace(request_of(bench, "h5"), return_url=REQUEST.return_url)
    created = await bench.channel.create(request)
    assert isinstance(created.next_action, RedirectAction)
    link = urlsplit(created.next_action.url)
    assert link.netloc == "wx.tenpay.com"
    assert parse_qs(link.query)["redirect_url"] == [REQUEST.return_url]
    assert "prepay_id" in parse_qs(link.query)
    assert until <= created.usable_until < until + timedelta(minutes=1)


async def test_jsapi_hands_out_parameters_that_the_merchant_signed(bench: StubBench) -> None:
    created = await bench.channel.create(request_of(bench, "jsapi"))
    assert isinstance(created.next_action, JsapiAction)
    given = dict(created.next_action.parameters)
    signature = given.pop("paySign")
    assert given.keys() == {"appId", "timeStamp", "nonceStr", "package", "signType"}
    assert (given["appId"], given["signType"]) == (bench.keys.appid, "RSA")
    assert given["package"].startswith("prepay_id=tok")
    message = f"{given['appId']}\n{given['timeStamp']}\n{given['nonceStr']}\n{given['package']}\n"
    assert signed_by(bench.keys.merchant.pen.key, signature, message)


async def test_app_hands_out_parameters_that_the_merchant_signed(bench: StubBench) -> None:
    created = await bench.channel.create(request_of(bench, "app"))
    assert isinstance(created.next_action, AppAction)
    given = dict(created.next_action.parameters)
    signature = given.pop("sign")
    assert given.keys() == {"appid", "partnerid", "prepayid", "package", "noncestr", "timestamp"}
    assert (given["partnerid"], given["package"]) == (bench.keys.mchid, "Sign=WXPay")
    message = f"{given['appid']}\n{given['timestamp']}\n{given['noncestr']}\n{given['prepayid']}\n"
    assert signed_by(bench.keys.merchant.pen.key, signature, message)


@pytest.mark.parametrize(
    ("product", "lacking", "code"),
    [
        ("jsapi", {"payer": ""}, "payer_missing"),
        ("h5", {"client_ip": ""}, "client_ip_missing"),
        ("facepay", {}, "product_unknown"),
    ],
)
async def test_what_a_product_lacks_is_refused_before_anything_is_sent(
    bench: StubBench, product: str, lacking: dict[str, str], code: str
) -> None:
    request = structs.replace(request_of(bench, product), **lacking)
    with pytest.raises(ChannelRefused) as refused:
        await bench.channel.create(request)
    assert refused.value.code == code
    assert not bench.stub.calls
