"""WeChat Pay's orders: placing, repeating, paying, expiring and closing them."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox.merchant import Answer, Json, Merchant

NUMBER = "ORDER000001"


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat("T", "seconds")


async def test_native_answers_a_code_that_a_qr_can_carry(merchant: Merchant) -> None:
    answer = await merchant.create(NUMBER)
    assert str(answer.json["code_url"]).startswith("weixin://wxpay/bizpayurl?pr=")


@pytest.mark.parametrize("product", ["jsapi", "app"])
async def test_jsapi_and_app_answer_a_prepay_id(merchant: Merchant, product: str) -> None:
    answer = await merchant.create(NUMBER, product, payer={"openid": "oBuyer"})
    prepay_id = str(answer.json["prepay_id"])
    assert prepay_id.startswith("wx20")
    assert len(prepay_id) == 36


async def test_h5_answers_a_page_of_the_sandbox(merchant: Merchant, sandbox_url: str) -> None:
    scene = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    answer = await merchant.create(NUMBER, "h5", scene_info=scene)
    url = urlsplit(str(answer.json["h5_url"]))
    assert f"{url.scheme}://{url.netloc}{url.path}" == sandbox_url + "/wechat/h5"
    assert parse_qs(url.query).keys() == {"prepay_id", "package"}


@pytest.mark.parametrize(
    ("product", "changes", "field"),
    [
        ("native", {"appid": None}, "/body/appid"),
        ("native", {"description": ""}, "/body/description"),
        ("native", {"description": "咖" * 128}, "/body/description"),
        ("native", {"out_trade_no": "short"}, "/body/out_trade_no"),
        ("native", {"out_trade_no": "中文订单号123"}, "/body/out_trade_no"),
        ("native", {"out_trade_no": "x" * 33}, "/body/out_trade_no"),
        ("native", {"out_trade_no": 123456}, "/body/out_trade_no"),
        ("native", {"attach": "x" * 129}, "/body/attach"),
        ("native", {"notify_url": "https://shop.test/notify?a=1"}, "/body/notify_url"),
        ("native", {"notify_url": "ftp://shop.test/notify"}, "/body/notify_url"),
        ("native", {"amount": {"currency": "CNY"}}, "/body/amount/total"),
        ("native", {"amount": {"total": 0}}, "/body/amount/total"),
        ("native", {"amount": {"total": 1.5}}, "/body/amount/total"),
        ("native", {"amount": {"total": True}}, "/body/amount/total"),
        ("native", {"amount": {"total": 1, "currency": "USD"}}, "/body/amount/currency"),
        ("native", {"time_expire": "tomorrow"}, "/body/time_expire"),
        ("native", {"time_expire": "2099-01-01T00:00:00"}, "/body/time_expire"),
        ("native", {"time_expire": in_minutes(0.5)}, "/body/time_expire"),
        ("native", {"time_expire": in_minutes(8 * 24 * 60)}, "/body/time_expire"),
        ("jsapi", {}, "/body/payer/openid"),
        ("h5", {}, "/body/scene_info/payer_client_ip"),
        (
            "h5",
            {"scene_info": {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "PC"}}},
            "/body/scene_info/h5_info/type",
        ),
    ],
)
async def test_a_wrong_field_is_named(
    merchant: Merchant, product: str, changes: Json, field: str
) -> None:
    answer = await merchant.create(NUMBER, product, **changes)
    assert (answer.status, answer.code) == (400, "PARAM_ERROR")
    detail = answer.json["detail"]
    assert isinstance(detail, dict)
    assert (detail["location"], detail["field"]) == ("body", field)
    assert (await merchant.control("ledger")).json == {"data": []}


async def test_wrong_fields_are_described_in_the_channels_words(merchant: Merchant) -> None:
    answer = await merchant.create(NUMBER, amount={"total": 0})
    assert answer.message == (
        "输入源“/body/amount/total”映射到数值字段“总金额”规则校验失败，值低于最小值 1"
    )
    answer = await merchant.create(NUMBER, appid=None)
    assert answer.message == (
        "输入源“/body/appid”映射到字段“公众账号ID”必填性规则校验失败，此字段为必填项"
    )


@pytest.mark.parametrize("body", [b"appid=1", b"[]", b'"appid"', b"null", b'{"appid":"\xff"}'])
async def test_a_body_that_is_not_a_json_object_is_refused(merchant: Merchant, body: bytes) -> None:
    answer = await merchant.call("POST", "/v3/pay/transactions/native", body)
    assert (answer.status, answer.code) == (400, "PARAM_ERROR")


async def test_another_merchant_or_app_is_refused(merchant: Merchant) -> None:
    answer = await merchant.create(NUMBER, mchid="1600000000")
    assert (answer.status, answer.code) == (400, "MCH_NOT_EXISTS")
    answer = await merchant.create(NUMBER, appid="wx0000000000000000")
    assert (answer.status, answer.code) == (400, "APPID_MCHID_NOT_MATCH")
    path = f"/v3/pay/transactions/out-trade-no/{NUMBER}"
    assert (await merchant.call("GET", path)).code == "PARAM_ERROR"
    assert (await merchant.call("GET", path + "?mchid=1600000000")).code == "MCH_NOT_EXISTS"


async def test_an_unpaid_order_has_neither_payment_id_nor_amount(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    answer = (await merchant.query(NUMBER)).json
    assert answer == {
        "appid": merchant.keys.appid,
        "mchid": merchant.keys.mchid,
        "out_trade_no": NUMBER,
        "trade_type": "NATIVE",
        "trade_state": "NOTPAY",
        "trade_state_desc": "订单未支付",
        "attach": "attached",
    }


async def test_a_paid_order_is_found_by_either_number(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    assert (await merchant.pay(NUMBER)).status == 200
    by_number = (await merchant.query(NUMBER)).json
    assert by_number["trade_state"] == "SUCCESS"
    assert by_number["amount"] == {
        "total": 1234,
        "payer_total": 1234,
        "currency": "CNY",
        "payer_currency": "CNY",
    }
    assert str(by_number["success_time"]).endswith("+08:00")
    transaction_id = str(by_number["transaction_id"])
    assert len(transaction_id) == 28
    path = f"/v3/pay/transactions/id/{transaction_id}?mchid={merchant.keys.mchid}"
    by_id = await merchant.call("GET", path)
    assert by_id.json == by_number
    unknown = await merchant.call("GET", path.replace(transaction_id, "4" * 28))
    assert (unknown.status, unknown.code) == (404, "ORDER_NOT_EXIST")


async def test_the_same_order_again_gets_the_same_code(merchant: Merchant) -> None:
    body = merchant.order(NUMBER)
    path = "/v3/pay/transactions/native"
    first = await merchant.call("POST", path, body)
    again = await merchant.call("POST", path, dict(reversed(body.items())))
    assert first.json == again.json


async def test_after_two_hours_the_same_order_gets_a_fresh_code(merchant: Merchant) -> None:
    first = await merchant.create(NUMBER, time_expire=None)
    await merchant.faults(clock_shift_s=7201)
    assert (await merchant.pay(NUMBER)).code == "expired"
    path = "/v3/pay/transactions/native"
    body = merchant.order(NUMBER, time_expire=None)
    fresh = await merchant.call("POST", path, body, clock_shift_s=7201)
    assert fresh.status == 200
    assert fresh.json != first.json
    assert (await merchant.pay(NUMBER)).status == 200


@pytest.mark.parametrize(
    ("product", "changes"),
    [
        ("native", {"amount": {"total": 1235, "currency": "CNY"}}),
        ("native", {"description": "两杯咖啡"}),
        ("app", {}),
    ],
)
async def test_a_used_number_with_anything_else_is_refused(
    merchant: Merchant, product: str, changes: Json
) -> None:
    ends = in_minutes(30)
    await merchant.create(NUMBER, time_expire=ends)
    answer = await merchant.create(NUMBER, product, **{"time_expire": ends, **changes})
    assert (answer.status, answer.code) == (403, "OUT_TRADE_NO_USED")


async def test_a_paid_number_cannot_be_placed_again(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.pay(NUMBER)
    answer = await merchant.create(NUMBER)
    assert (answer.status, answer.code) == (400, "ORDERPAID")


async def test_a_closed_number_is_burnt(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.close(NUMBER)
    answer = await merchant.create(NUMBER)
    assert (answer.status, answer.code) == (400, "ORDER_CLOSED")


async def test_closing_may_be_repeated_and_ends_paying(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    assert (await merchant.close(NUMBER)).status == 204
    assert (await merchant.close(NUMBER)).status == 204
    assert (await merchant.query(NUMBER)).json["trade_state"] == "CLOSED"
    refused = await merchant.pay(NUMBER)
    assert (refused.status, refused.code) == (409, "closed")


async def test_a_paid_order_is_not_closed(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    await merchant.pay(NUMBER)
    answer = await merchant.close(NUMBER)
    assert (answer.status, answer.code) == (400, "ORDERPAID")
    assert (await merchant.query(NUMBER)).json["trade_state"] == "SUCCESS"


async def test_an_unknown_order_is_neither_found_nor_closed_nor_paid(merchant: Merchant) -> None:
    assert (await merchant.query(NUMBER)).code == "ORDER_NOT_EXIST"
    assert (await merchant.close(NUMBER)).code == "ORDER_NOT_EXIST"
    assert (await merchant.pay(NUMBER)).status == 404


async def test_time_expire_ends_paying_but_closes_nothing(merchant: Merchant) -> None:
    await merchant.create(NUMBER, time_expire=in_minutes(2))
    late = in_minutes(3)
    assert (await merchant.pay(NUMBER, at=late)).code == "expired"
    await merchant.faults(clock_shift_s=180)
    assert (await merchant.pay(NUMBER)).code == "expired"
    answer = await _query_later(merchant, 180)
    assert answer.json["trade_state"] == "NOTPAY"


async def test_an_order_unpaid_for_seven_days_is_closed(merchant: Merchant) -> None:
    await merchant.create(NUMBER, time_expire=None)
    week_s = 7 * 24 * 3600 + 1
    await merchant.faults(clock_shift_s=week_s)
    assert (await _query_later(merchant, week_s)).json["trade_state"] == "CLOSED"
    body = merchant.order(NUMBER, time_expire=None)
    path = "/v3/pay/transactions/native"
    again = await merchant.call("POST", path, body, clock_shift_s=week_s)
    assert again.code == "ORDER_CLOSED"


async def test_a_refused_card_leaves_the_order_payable(merchant: Merchant) -> None:
    await merchant.create(NUMBER)
    point = {"channel": "wechat", "number": NUMBER}
    assert (await merchant.control("scan", {**point})).status == 200
    assert (await merchant.control("decline", {**point})).status == 200
    assert (await merchant.query(NUMBER)).json["trade_state"] == "NOTPAY"
    assert (await merchant.pay(NUMBER)).status == 200


async def _query_later(merchant: Merchant, shift_s: int) -> Answer:
    path = f"/v3/pay/transactions/out-trade-no/{NUMBER}?mchid={merchant.keys.mchid}"
    return await merchant.call("GET", path, clock_shift_s=shift_s)
