"""Bad input: tables of what is wrong and the field that the answer names; nothing is written."""

import msgspec
import pytest

from tests.rig import StartRig
from tests.web.api import Answer, Api, new_order

HALF_A_MIB = 512 * 1024


def items(count: int = 1, **changes: object) -> list[dict[str, object]]:
    return [{"name": "Tea", "quantity": 1, **changes} for _ in range(count)]


def pairs(count: int) -> dict[str, str]:
    return {f"key{n}": "value" for n in range(count)}


BAD_ORDERS: list[tuple[dict[str, object], str]] = [
    ({"amount": 0}, "amount"),
    ({"amount": -1}, "amount"),
    ({"amount": 10**12 + 1}, "amount"),
    ({"amount": 10**40}, "amount"),
    ({"amount": 12.34}, "amount"),
    ({"amount": 12.0}, "amount"),
    ({"amount": "1234"}, "amount"),
    ({"amount": True}, "amount"),
    ({"amount": None}, "amount"),
    ({"amount": [100]}, "amount"),
    ({"currency": "cny"}, "currency"),
    ({"currency": "CN"}, "currency"),
    ({"currency": "CNY\n"}, "currency"),
    ({"currency": "QQQ"}, "currency"),
    ({"currency": 156}, "currency"),
    ({"merchant_order_no": ""}, "merchant_order_no"),
    ({"merchant_order_no": "x" * 65}, "merchant_order_no"),
    ({"merchant_order_no": "a\u0000b"}, "merchant_order_no"),
    ({"merchant_order_no": "a\nb"}, "merchant_order_no"),
    ({"merchant_order_no": "a\x85b"}, "merchant_order_no"),
    ({"merchant_order_no": 417}, "merchant_order_no"),
    ({"subject": ""}, "subject"),
    ({"subject": "x" * 128}, "subject"),
    ({"subject": "tea\u0000"}, "subject"),
    ({"buyer_id": "x" * 129}, "buyer_id"),
    ({"buyer_id": ""}, "buyer_id"),
    ({"buyer_id": "\u0000"}, "buyer_id"),
    ({"items": items(101)}, "items"),
    ({"items": {}}, "items"),
    ({"items": ["Tea"]}, "items[0]"),
    ({"items": items(quantity=0)}, "items[0].quantity"),
    ({"items": [*items(), *items(quantity=1.5)]}, "items[1].quantity"),
    ({"items": items(name="")}, "items[0].name"),
    ({"items": items(unit_amount=-1)}, "items[0].unit_amount"),
    ({"items": items(price=1)}, "items[0].price"),
    ({"items": [{"name": "Tea"}]}, "items[0].quantity"),
    ({"expires_in": 59}, "expires_in"),
    ({"expires_in": 2_592_001}, "expires_in"),
    ({"expires_in": 1800.5}, "expires_in"),
    ({"expires_in": None}, "expires_in"),
    ({"notify_url": "/hooks"}, "notify_url"),
    ({"notify_url": "ftp://shop.example/"}, "notify_url"),
    ({"notify_url": "https://"}, "notify_url"),
    ({"notify_url": "https://user:word@shop.example/"}, "notify_url"),
    ({"notify_url": "https://shop.example:99999/"}, "notify_url"),
    ({"notify_url": "https://[::1/"}, "notify_url"),
    ({"notify_url": "https://shop.example/a b"}, "notify_url"),
    ({"notify_url": "https://shop.example/" + "x" * 2048}, "notify_url"),
    ({"return_url": "javascript:alert(1)"}, "return_url"),
    ({"return_url": "//shop.example/"}, "return_url"),
    ({"return_url": "https://user@shop.example/"}, "return_url"),
    ({"return_url": "https://shop.example/\u0000"}, "return_url"),
    ({"metadata": pairs(21)}, "metadata"),
    ({"metadata": {"k": 1}}, "metadata"),
    ({"metadata": {"k" * 41: "v"}}, "metadata"),
    ({"metadata": {"": "v"}}, "metadata"),
    ({"metadata": {"k": "v" * 501}}, "metadata"),
    ({"metadata": {"k": "\u0000"}}, "metadata"),
    ({"metadata": {"k\u0000": "v"}}, "metadata"),
    ({"metadata": []}, "metadata"),
    ({"allow_duplicate": 1}, "allow_duplicate"),
    ({"allow_duplicate": "true"}, "allow_duplicate"),
    ({"colour": "green"}, "colour"),
    ({"Amount": 100}, "Amount"),
    ({"x" * 5000: 1}, "x" * 64),
]

MALFORMED: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"null", "body"),
    (b"[]", "body"),
    (b'"amount"', "body"),
    (b"{", "body"),
    (b"{} {}", "merchant_order_no"),
    (b"\xef\xbb\xbf{}", "body"),
    (b"amount=100", "body"),
    (b'{"amount": NaN}', "body"),
    (b'{"amount": 1e999}', "amount"),
    (b'{"amount": 0x10}', "amount"),
    (b'{"subject": "\xff"}', "body"),
    (b'{"subject": "\xed\xa0\x80"}', "body"),
    (b'{"subject": "\\ud800"}', "body"),
    (b'{"subject": "a\x00b"}', "body"),
    (b'{"\xff": 1}', "body"),
    (b"[" * 60_000, "body"),
    (b'{"items": ' + b"[" * 60_000, "items[0]"),
    (b'{"items": ' + b'[{"name": ' * 6_000, "items[0].name"),
    (b"{}", "merchant_order_no"),
]

ADDRESS = {"line1": "Rua", "city": "São Paulo", "state": "SP", "postal_code": "01310-100"}
BAD_APPLICATIONS: list[tuple[dict[str, object], str]] = [
    ({"channel": ""}, "channel"),
    ({"channel": "WeChat"}, "channel"),
    ({"channel": "wechat\u0000"}, "channel"),
    ({"channel": "w" * 33}, "channel"),
    ({"channel": 1}, "channel"),
    ({"terminal": "phone"}, "terminal"),
    ({"terminal": None}, "terminal"),
    ({"product": "Native"}, "product"),
    ({"product": "x" * 33}, "product"),
    ({"buyer": "me"}, "buyer"),
    ({"buyer": {"openid": "x" * 129}}, "buyer.openid"),
    ({"buyer": {"openid": "a b"}}, "buyer.openid"),
    ({"buyer": {"openid": "a\u0000"}}, "buyer.openid"),
    ({"buyer": {"ip": "999.1.1.1"}}, "buyer.ip"),
    ({"buyer": {"ip": "203.0.113.7\n"}}, "buyer.ip"),
    ({"buyer": {"user_agent": "x" * 513}}, "buyer.user_agent"),
    ({"buyer": {"user_agent": "a\u0000"}}, "buyer.user_agent"),
    ({"buyer": {"shoe_size": 43}}, "buyer.shoe_size"),
    ({"buyer": {"name": ""}}, "buyer.name"),
    ({"buyer": {"email": "ana@example"}}, "buyer.email"),
    ({"buyer": {"email": "ana souza@example.com"}}, "buyer.email"),
    ({"buyer": {"tax_id": "529.982.247-26"}}, "buyer.tax_id"),
    ({"buyer": {"tax_id": "111.111.111-11"}}, "buyer.tax_id"),
    ({"buyer": {"tax_id": "16.727.230/0001-98"}}, "buyer.tax_id"),
    ({"buyer": {"tax_id": "52998224725000000000000"}}, "buyer.tax_id"),
    ({"buyer": {"tax_id": 52998224725}}, "buyer.tax_id"),
    ({"buyer": {"address": "Rua das Acácias, 45"}}, "buyer.address"),
    ({"buyer": {"address": {"line1": "Rua"}}}, "buyer.address.city"),
    ({"buyer": {"address": ADDRESS | {"state": "XX"}}}, "buyer.address.state"),
    ({"buyer": {"address": ADDRESS | {"postal_code": "1310-100"}}}, "buyer.address.postal_code"),
    ({"buyer": {"address": ADDRESS | {"country": "Brazil"}}}, "buyer.address.country"),
    ({"buyer": {"address": ADDRESS | {"line2": "ap. 3"}}}, "buyer.address.line2"),
    ({"amount": 100}, "amount"),
]

BAD_QUERIES: list[tuple[str, str]] = [
    ("/v1/orders?limit=0", "limit"),
    ("/v1/orders?limit=101", "limit"),
    ("/v1/orders?limit=ten", "limit"),
    ("/v1/orders?limit=1.0", "limit"),
    ("/v1/orders?limit=", "limit"),
    ("/v1/orders?limit=%D9%A3", "limit"),
    (f"/v1/orders?limit={'9' * 5000}", "limit"),
    ("/v1/orders?limit=1&limit=2", "limit"),
    ("/v1/orders?cursor=abc", "cursor"),
    ("/v1/orders?cursor=ord_%00", "cursor"),
    ("/v1/orders?state=lost", "state"),
    ("/v1/orders?channel=%00", "channel"),
    ("/v1/orders?merchant_order_no=%00", "merchant_order_no"),
    ("/v1/orders?created_from=yesterday", "created_from"),
    ("/v1/orders?created_from=2026-11-01", "created_from"),
    ("/v1/orders?created_from=2026-11-01T00:00:00", "created_from"),
    ("/v1/orders?created_from=2026-11-01T00:00:00+08:00", "created_from"),  # the + is a space
    ("/v1/orders?created_from=0001-01-01T00:00:00%2B10:00", "created_from"),
    ("/v1/orders?created_to=9999-12-31T23:59:59-10:00", "created_to"),
    ("/v1/orders?page=2", "page"),
    ("/v1/orders?%00=1", "?"),
    ("/v1/events?after=abc", "after"),
    ("/v1/events?limit=-1", "limit"),
    (f"/v1/orders/ord_{'0' * 26}?wait=31", "wait"),
    (f"/v1/orders/ord_{'0' * 26}?version=1&wait=-1", "wait"),
    (f"/v1/orders/ord_{'0' * 26}?version={2**63}", "version"),
    (f"/v1/orders/ord_{'0' * 26}?version=one", "version"),
]


def check(answer: Answer, field: str) -> None:
    """The refusal names the field, and says in a sentence what to do."""
    assert (answer.status, answer.code) == (422, "invalid_request"), answer.body
    assert answer.json["field"] == field
    detail = str(answer.json["detail"])
    assert detail.endswith((".", ")."))
    assert len(detail) < 500


async def written(api: Api) -> tuple[int, int]:
    async with api.rig.desk.pool.acquire() as conn:
        row = await conn.fetchrow(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM attempts)"
        )
    assert row is not None
    return row[0], row[1]


async def test_a_wrong_field_of_an_order_is_named(api: Api) -> None:
    for changes, field in BAD_ORDERS:
        check(await api.post("/v1/orders", new_order(**changes)), field)
    assert await written(api) == (0, 0)


async def test_a_missing_field_of_an_order_is_named(api: Api) -> None:
    for field in ("merchant_order_no", "amount", "currency", "subject"):
        body = new_order()
        del body[field]
        check(await api.post("/v1/orders", body), field)
    assert await written(api) == (0, 0)


async def test_what_is_not_json_is_refused(api: Api) -> None:
    for raw, field in MALFORMED:
        check(await api.call("POST", "/v1/orders", raw=raw), field)
    assert await written(api) == (0, 0)


async def test_a_field_that_stands_twice_is_refused(api: Api) -> None:
    body = msgspec.json.encode(new_order())
    twice = body[:-1] + b',"amount":1}'
    check(await api.call("POST", "/v1/orders", raw=twice), "amount")
    inside = msgspec.json.encode(new_order(metadata={"k": "v"}))
    inside = inside.replace(b'"k":"v"', b'"k":"v","k":"w"')
    check(await api.call("POST", "/v1/orders", raw=inside), "k")
    assert await written(api) == (0, 0)


async def test_a_wrong_field_of_an_application_is_named(api: Api) -> None:
    order = await api.open_order()
    for changes, field in BAD_APPLICATIONS:
        body = {"channel": "wechat", "terminal": "pc", **changes}
        check(await api.apply(order.id, body), field)
    for field in ("channel", "terminal"):
        body = {"channel": "wechat", "terminal": "pc"}
        del body[field]
        check(await api.apply(order.id, body), field)
    assert await written(api) == (1, 0)


async def test_a_wrong_parameter_of_a_url_is_named(api: Api) -> None:
    for path, field in BAD_QUERIES:
        check(await api.get(path), field)


async def test_a_call_that_takes_nothing_refuses_fields(api: Api) -> None:
    order = await api.open_order()
    check(await api.post(f"/v1/orders/{order.id}/close", {"reason": "x"}), "reason")
    check(await api.call("POST", f"/v1/orders/{order.id}/close", raw=b"["), "body")
    assert (await api.get(f"/v1/orders/{order.id}")).json["state"] == "open"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=gbk"],
)
async def test_only_json_in_utf8_is_taken(api: Api, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await api.call("POST", "/v1/orders", new_order(), headers=headers)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert await written(api) == (0, 0)


async def test_a_charset_of_utf8_may_be_said(api: Api) -> None:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    answer = await api.call("POST", "/v1/orders", new_order(), headers=headers)
    assert answer.status == 201


async def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    small = new_order(metadata=dict.fromkeys((f"k{n}" for n in range(20)), "é" * 500))
    assert (await api.post("/v1/orders", small)).status == 201
    for padding in (64 * 1024, HALF_A_MIB):
        large = msgspec.json.encode(new_order()) + b" " * padding
        answer = await api.call("POST", "/v1/orders", raw=large)
        assert (answer.status, answer.code) == (413, "payload_too_large")
    assert await written(api) == (1, 0)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "shop.localhost:8080",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "224.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_webhooks_do_not_go_into_private_networks(start_rig: StartRig, host: str) -> None:
    api = Api(await start_rig(allow_private_webhooks=False))
    check(await api.post("/v1/orders", new_order(notify_url=f"http://{host}/hook")), "notify_url")
    back = await api.post("/v1/orders", new_order(return_url=f"http://{host}/back"))
    assert back.status == 201  # the buyer's browser goes there, not we


async def test_webhooks_go_to_public_addresses(start_rig: StartRig) -> None:
    api = Api(await start_rig(allow_private_webhooks=False))
    for host in ("shop.example", "8.8.8.8", "[2606:4700::1111]", "shop.example:8443"):
        answer = await api.post("/v1/orders", new_order(notify_url=f"https://{host}/hook"))
        assert answer.status == 201
