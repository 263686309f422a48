"""News by webhook: believed when signed and fitting, acted on once, lost never."""

import asyncio

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.sandbox_shop.conftest import CART_FEN, OpenAShop, OpenShop
from tests.sandbox_shop.fake_payonce import FakePayOnce, event_body, sign


async def test_a_paid_order_waits_for_shipment(payonce: FakePayOnce, shop: OpenShop) -> None:
    no = await shop.place()
    stock = await shop.stock()
    assert await shop.tell(payonce.move(no, "paid")) == 200
    order = await shop.order(no)
    assert (order.state, order.paid_times, order.amount) == ("awaiting_shipment", 1, CART_FEN)
    assert order.version == 2
    assert await shop.stock() == stock - 2


async def test_a_closed_order_closes_the_shops(payonce: FakePayOnce, shop: OpenShop) -> None:
    no = await shop.place()
    stock = await shop.stock()
    assert await shop.tell(payonce.move(no, "closed"), kind="order.closed") == 200
    assert (await shop.order(no)).state == "closed"
    assert await shop.stock() == stock


async def deliver_in_every_way(shop: OpenShop, payonce: FakePayOnce, no: str) -> list[int]:
    """Thirty deliveries at once: the same event ten times over, and two more that say "paid"."""
    paid = payonce.move(no, "paid")
    later = payonce.move(no, "paid")
    return await asyncio.gather(
        *(
            shop.tell(order, event_id, kind)
            for _ in range(10)
            for order, event_id, kind in (
                (paid, "evt_1", "order.paid"),
                (later, "evt_2", "attempt.surplus"),
                (paid, "evt_3", "order.paid"),
            )
        )
    )


async def test_thirty_deliveries_at_once_act_once(payonce: FakePayOnce, shop: OpenShop) -> None:
    no = await shop.place()
    stock = await shop.stock()
    assert set(await deliver_in_every_way(shop, payonce, no)) == {200}
    assert (await shop.order(no)).paid_times == 1
    assert await shop.stock() == stock - 2
    effects = [delivery.effect for delivery in await shop.received()]
    assert effects.count("paid") == 1


async def test_control_a_receiver_that_just_acts_ships_thirty_times(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    """The same deliveries to a receiver without any guard: they would have done harm."""
    no = await shop.place()
    shipped = 0

    async def ship(request: web.Request) -> web.Response:
        nonlocal shipped
        event = msgspec.json.decode(await request.read())
        if event["data"]["order"]["state"] == "paid":
            shipped += 1
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/webhooks/payonce", ship)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        careless = OpenShop(str(server.make_url("/")).rstrip("/"), session)
        await deliver_in_every_way(careless, payonce, no)
    assert shipped == 30


async def test_older_news_after_newer_changes_nothing(payonce: FakePayOnce, shop: OpenShop) -> None:
    no = await shop.place()
    still_open = payonce.move(no, "open")
    paid = payonce.move(no, "paid")
    assert await shop.tell(paid, "evt_2") == 200
    assert await shop.tell(still_open, "evt_1", "refund.failed") == 200
    order = await shop.order(no)
    assert (order.state, order.version) == ("awaiting_shipment", paid.version)
    assert [delivery.effect for delivery in await shop.received()] == ["paid", "stale"]


async def test_later_news_of_a_paid_order_is_noted(payonce: FakePayOnce, shop: OpenShop) -> None:
    no = await shop.place()
    await shop.tell(payonce.move(no, "paid"), "evt_1")
    assert await shop.tell(payonce.move(no, "paid"), "evt_2", "refund.done") == 200
    order = await shop.order(no)
    assert (order.paid_times, order.version) == (1, 3)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"webhook-signature": "v1,Zm9yZ2Vk"}, id="another signature"),
        pytest.param({"webhook-signature": "nonsense"}, id="no signature at all"),
        pytest.param({"webhook-signature": "v1,%%%"}, id="not base64"),
        pytest.param({"webhook-id": "evt_other"}, id="another id"),
        pytest.param({"webhook-timestamp": "nan"}, id="no time"),
        pytest.param({"webhook-timestamp": "1700000000"}, id="another time"),
        pytest.param({"webhook-id": ""}, id="header missing"),
    ],
)
async def test_a_forged_webhook_is_refused(
    payonce: FakePayOnce, shop: OpenShop, headers: dict[str, str]
) -> None:
    no = await shop.place()
    body = event_body(payonce.move(no, "paid"), "evt_1")
    assert await shop.post_webhook(body, sign(body, "evt_1") | headers) == 401
    assert (await shop.order(no)).state == "unpaid"
    (delivery,) = await shop.received()
    assert (delivery.verified, delivery.effect) == (False, None)


async def test_a_webhook_of_another_merchant_or_hour_is_refused(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    body = event_body(payonce.move(no, "paid"), "evt_1")
    other = sign(body, "evt_1", secret="whsec_b3RoZXItbWVyY2hhbnQtc2VjcmV0")
    assert await shop.post_webhook(body, other) == 401
    assert await shop.post_webhook(body, sign(body, "evt_1", age_s=600)) == 401
    assert await shop.post_webhook(body, sign(body, "evt_1", age_s=-600)) == 401
    assert await shop.post_webhook(body + b" ", sign(body, "evt_1")) == 401
    assert await shop.post_webhook(b"\xff" + body, sign(body, "evt_1")) == 401
    assert (await shop.order(no)).state == "unpaid"


async def test_a_signed_webhook_that_is_no_event_is_refused(shop: OpenShop) -> None:
    for body in (b"", b"[]", b'{"id":"evt_1","type":"order.paid","data":{}}'):
        assert await shop.post_webhook(body, sign(body, "evt_1")) == 400


async def test_a_huge_webhook_is_refused(shop: OpenShop) -> None:
    body = b" " * 70_000
    assert await shop.post_webhook(body, sign(body, "evt_1")) == 413


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param({"amount": 1}, id="amount"),
        pytest.param({"currency": "USD"}, id="currency"),
        pytest.param({"id": "ord_of_someone_else"}, id="id"),
    ],
)
async def test_other_money_than_the_price_releases_no_goods(
    payonce: FakePayOnce, shop: OpenShop, lie: dict[str, str | int]
) -> None:
    no = await shop.place()
    paid = payonce.move(no, "paid")
    assert await shop.tell(msgspec.structs.replace(paid, **lie)) == 409
    order = await shop.order(no)
    assert (order.state, order.version) == ("unpaid", 1)
    # Nothing was remembered of it: the same event, put right, still counts.
    assert await shop.tell(paid) == 200
    assert (await shop.order(no)).state == "awaiting_shipment"


@pytest.mark.parametrize(("first", "then"), [("closed", "paid"), ("paid", "closed")])
async def test_news_that_undoes_a_final_state_is_refused(
    payonce: FakePayOnce, shop: OpenShop, first: str, then: str
) -> None:
    no = await shop.place()
    assert await shop.tell(payonce.move(no, first), "evt_1") == 200
    before = await shop.order(no)
    assert await shop.tell(payonce.move(no, then), "evt_2") == 409
    assert await shop.order(no) == before


async def test_news_of_an_order_that_is_not_ours_is_refused(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    stranger = msgspec.structs.replace(payonce.orders[no], merchant_order_no="S_of_another_shop")
    assert await shop.tell(stranger) == 404


async def test_a_webhook_may_overtake_the_answer_to_checkout(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    payonce.trouble = "lose_answer"
    no = await shop.place(status=202)
    assert (await shop.order(no)).payonce_order is None
    assert await shop.tell(payonce.move(no, "paid")) == 200
    order = await shop.order(no)
    assert (order.state, order.payonce_order) == ("awaiting_shipment", payonce.orders[no].id)


async def test_a_receiver_that_answers_500_acts_on_the_redelivery(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    paid = payonce.move(no, "paid")
    await shop.break_receiver(answer_status=500)
    assert await shop.tell(paid) == 500
    assert (await shop.order(no)).state == "unpaid"
    await shop.break_receiver()
    assert await shop.tell(paid) == 200
    assert (await shop.order(no)).paid_times == 1
    effects = [(delivery.status, delivery.effect) for delivery in await shop.received()]
    assert effects == [(500, None), (200, "paid")]


async def test_an_acknowledgement_lost_after_the_commit_does_no_harm(
    payonce: FakePayOnce, shop: OpenShop
) -> None:
    no = await shop.place()
    paid = payonce.move(no, "paid")
    await shop.break_receiver(drop=True, after_commit=True)
    with pytest.raises(aiohttp.ClientError):
        await shop.tell(paid)
    await shop.break_receiver(delay_s=0.01)
    assert await shop.tell(paid) == 200
    assert (await shop.order(no)).paid_times == 1
    assert [delivery.effect for delivery in await shop.received()] == ["paid", "repeated"]


async def test_events_are_remembered_across_a_restart(
    payonce: FakePayOnce, open_shop: OpenAShop
) -> None:
    first = await open_shop()
    no = await first.place()
    paid = payonce.move(no, "paid")
    await first.tell(paid)
    second = await open_shop()
    assert await second.tell(paid) == 200
    assert [delivery.effect for delivery in await second.received()] == ["repeated"]
    assert (await second.order(no)).paid_times == 1


async def test_an_unknown_fault_is_refused_by_name(shop: OpenShop) -> None:
    url = f"{shop.url}/_control/faults"
    async with shop.session.post(url, json={"answer_staus": 500}) as answer:
        assert answer.status == 422
        assert "answer_staus" in await answer.text()
