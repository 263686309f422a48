"""Orders as a merchant sees them."""

import asyncio

import pytest

from tests.web.api import Api, another_merchant, new_order


async def test_an_order_is_opened_once_and_answered_again_for_the_same_fields(api: Api) -> None:
    body = new_order(
        items=[{"name": "Tea", "quantity": 2, "unit_amount": 50}],
        metadata={"cart": "417"},
        notify_url="https://shop.example/hooks",
        return_url="https://shop.example/back?order=417",
        buyer_id="customer-88",
        expires_in=60,
    )
    first = await api.post("/v1/orders", body)
    again = await api.post("/v1/orders", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    order = first.json
    assert order["object"] == "order"
    assert order["state"] == "open"
    assert order["items"] == body["items"]
    assert order["metadata"] == {"cart": "417"}
    assert order["attempts"] == []
    assert str(order["checkout_url"]).startswith(f"{api.rig.url}/checkout/")
    assert str(order["expires_at"]).endswith("Z")


async def test_the_same_number_with_other_fields_is_a_conflict(api: Api) -> None:
    body = new_order()
    await api.post("/v1/orders", body)
    answer = await api.post("/v1/orders", {**body, "amount": 101})
    assert (answer.status, answer.code) == (409, "order_conflict")


async def test_the_same_purchase_a_moment_later_names_the_first_order(api: Api) -> None:
    first = await api.open_order(buyer_id="customer-88")
    twin = await api.post("/v1/orders", new_order(buyer_id="customer-88"))
    assert (twin.status, twin.code) == (409, "duplicate_submission")
    assert twin.json["order"] == first.id
    assert twin.json["checkout_url"] == first.json["checkout_url"]
    meant = await api.post("/v1/orders", new_order(buyer_id="customer-88", allow_duplicate=True))
    assert meant.status == 201


async def test_an_order_is_read_with_an_etag(api: Api) -> None:
    order = await api.open_order()
    answer = await api.get(f"/v1/orders/{order.id}")
    assert answer.json == order.json
    same = await api.get(f"/v1/orders/{order.id}", {"If-None-Match": answer.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")


async def test_waiting_ends_with_the_change(api: Api) -> None:
    order = await api.open_order()
    version = order.json["version"]
    waiting = asyncio.create_task(api.get(f"/v1/orders/{order.id}?version={version}&wait=30"))
    attempt = await api.apply(order.id)
    changed = await waiting
    assert changed.json["attempts"]
    await api.rig.pay(str(attempt.json["number"]))
    paid = await api.get(f"/v1/orders/{order.id}?version={changed.json['version']}&wait=30")
    while paid.json["state"] == "open":  # the attempt may have moved twice before the order did
        paid = await api.get(f"/v1/orders/{order.id}?version={paid.json['version']}&wait=30")
    assert paid.json["paid_attempt"] == attempt.id


async def test_waiting_ends_with_its_time(api: Api) -> None:
    order = await api.open_order()
    answer = await api.get(f"/v1/orders/{order.id}?version={order.json['version']}&wait=1")
    assert answer.json == order.json


async def test_waiting_for_an_older_version_ends_at_once(api: Api) -> None:
    order = await api.open_order()
    answer = await asyncio.wait_for(api.get(f"/v1/orders/{order.id}?version=0&wait=30"), 5)
    assert answer.json == order.json


async def test_orders_are_paged_newest_first(api: Api) -> None:
    made = [(await api.open_order()).id for _ in range(5)]
    first = await api.get("/v1/orders?limit=2")
    second = await api.get(f"/v1/orders?limit=2&cursor={first.json['next_cursor']}")
    third = await api.get(f"/v1/orders?limit=2&cursor={second.json['next_cursor']}")
    pages = [[order["id"] for order in page.data] for page in (first, second, third)]
    assert pages == [made[4:2:-1], made[2:0:-1], made[:1]]
    assert third.json["next_cursor"] is None


async def test_orders_are_found_by_number_state_channel_and_time(api: Api) -> None:
    paid = await api.open_order()
    await api.pay(await api.apply(paid.id))
    other = await api.open_order()

    async def found(query: str) -> list[object]:
        return [order["id"] for order in (await api.get(f"/v1/orders?{query}")).data]

    assert await found(f"merchant_order_no={paid.json['merchant_order_no']}") == [paid.id]
    assert await found("state=paid") == [paid.id]
    assert await found("state=open") == [other.id]
    assert await found("channel=wechat") == [paid.id]
    assert await found("channel=alipay") == []
    created = str(other.json["created_at"])
    assert await found(f"created_from={created}") == [other.id]
    assert await found(f"created_to={created}") == [paid.id]


async def test_a_merchant_closes_an_order_and_gets_the_same_answer_again(api: Api) -> None:
    order = await api.open_order()
    await api.apply(order.id)
    closed = await api.post(f"/v1/orders/{order.id}/close")
    assert (closed.status, closed.json["state"]) == (200, "closed")
    assert closed.json["close_reason"] == "merchant"
    again = await api.post(f"/v1/orders/{order.id}/close", {})
    assert again.json["state"] == "closed"


async def test_a_paid_order_cannot_be_closed(api: Api) -> None:
    order = await api.open_order()
    await api.pay(await api.apply(order.id))
    answer = await api.post(f"/v1/orders/{order.id}/close")
    assert (answer.status, answer.code) == (409, "order_already_paid")


async def test_the_history_of_an_order_names_each_move_and_its_evidence(api: Api) -> None:
    order = await api.open_order()
    attempt = await api.apply(order.id)
    await api.pay(attempt)
    moves = (await api.get(f"/v1/orders/{order.id}/events")).data
    told = [(move["noun"], move["id"], move["from"], move["to"]) for move in moves]
    assert told[:3] == [
        ("order", order.id, "none", "open"),
        ("attempt", attempt.id, "none", "created"),
        ("attempt", attempt.id, "created", "paying"),
    ]
    assert sorted(told[3:]) == [
        ("attempt", attempt.id, "paying", "captured"),
        ("order", order.id, "open", "paid"),
    ]
    captured = next(move for move in moves if move["to"] == "captured")
    assert captured["cause"] == "callback"
    assert isinstance(captured["evidence"], int)


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("GET", ""),
        ("GET", "?version=1&wait=30"),
        ("GET", "/events"),
        ("POST", "/close"),
        ("POST", "/attempts"),
    ],
)
async def test_another_merchants_order_is_not_there(api: Api, method: str, tail: str) -> None:
    order = await api.open_order()
    other = await another_merchant(api.rig)
    body = {"channel": "wechat", "terminal": "pc"} if tail == "/attempts" else None
    theirs = await other.call(method, f"/v1/orders/{order.id}{tail}", body)
    nobodys = await other.call(method, f"/v1/orders/ord_{'0' * 26}{tail}", body)
    assert theirs.status == nobodys.status == 404
    assert theirs.code == nobodys.code == "not_found"
    assert (await other.get("/v1/orders")).data == []
