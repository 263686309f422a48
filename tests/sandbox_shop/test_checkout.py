"""Checkout: the shop's order first, then PayOnce's, and a retry that can do no harm."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.sandbox.shop import ShopSettings
from tests.sandbox_shop.conftest import CART, OpenShop, settings_for
from tests.sandbox_shop.fake_payonce import FakePayOnce, Trouble


class Buyer:
    """A buyer's browser: cookies, forms, and no redirect followed unseen."""

    def __init__(self, shop: OpenShop, session: aiohttp.ClientSession) -> None:
        self._shop = shop
        self._session = session

    async def get(self, path: str, **headers: str) -> str:
        """Open a page."""
        async with self._session.get(self._shop.url + path, headers=headers) as answer:
            return await answer.text()

    async def post(self, path: str, **form: str | int) -> tuple[int, str]:
        """Send a form; answers the status and where it leads to, or the page."""
        async with self._session.post(
            self._shop.url + path, data=form, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get("Location") or await answer.text()

    async def fill_cart(self) -> str:
        """Put something into the cart; answers the number that the checkout form carries."""
        assert await self.post("/cart", sku="iron-kettle", quantity=1) == (303, "/")
        assert await self.post("/cart", sku="taster", quantity=3) == (303, "/")
        return number_in(await self.get("/"))


def number_in(page: str) -> str:
    """The order number in a form."""
    found = re.search(r'name="no" value="(\w+)"', page)
    assert found is not None
    return found[1]


@pytest.fixture
async def buyer(shop: OpenShop) -> AsyncIterator[Buyer]:
    """A fresh buyer."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Buyer(shop, session)


async def test_who_chose_another_currency_is_asked_for_it(
    payonce: FakePayOnce, buyer: Buyer
) -> None:
    assert "R$303.24" in await buyer.get("/?currency=BRL")
    no = await buyer.fill_cart()
    await buyer.post("/cart/checkout", no=no)
    theirs = payonce.orders[no]
    assert (theirs.amount, theirs.currency) == (303_24 + 3, "BRL")
    assert "R$303.27" in await buyer.get(f"/orders/{no}?currency=CNY")


async def test_a_checkout_ends_at_payonce(
    payonce: FakePayOnce, shop: OpenShop, buyer: Buyer
) -> None:
    no = await buyer.fill_cart()
    status, target = await buyer.post("/cart/checkout", no=no)
    assert (status, target) == (303, payonce.orders[no].checkout_url)
    theirs = payonce.orders[no]
    assert (theirs.amount, theirs.currency) == (399_00 + 3, "CNY")
    assert theirs.notify_url == f"{shop.url}/webhooks/payonce"
    assert theirs.return_url == f"{shop.url}/orders/{no}"
    assert theirs.subject == "铸铁提梁壶 + 一分钱试饮 × 3"
    order = await shop.order(no)
    assert (order.state, order.payonce_order) == ("unpaid", theirs.id)
    page = await buyer.get(f"/orders/{no}")
    assert theirs.checkout_url in page
    assert 'http-equiv="refresh"' in page
    assert no in await buyer.get("/orders")


async def test_a_checkout_sent_twice_at_once_is_one_order(
    payonce: FakePayOnce, buyer: Buyer
) -> None:
    no = await buyer.fill_cart()
    answers = await asyncio.gather(*(buyer.post("/cart/checkout", no=no) for _ in range(5)))
    again = await buyer.post("/cart/checkout", no=no)  # the cart is empty by now
    assert set(payonce.orders) == {no}
    assert again == (303, payonce.orders[no].checkout_url)
    assert {status for status, _ in answers} == {303}


@pytest.mark.parametrize("trouble", ["lose_request", "lose_answer", "error", "garbage"])
async def test_a_gateway_that_is_down_keeps_the_order_for_a_retry(
    payonce: FakePayOnce, shop: OpenShop, buyer: Buyer, trouble: Trouble
) -> None:
    payonce.trouble = trouble
    no = await buyer.fill_cart()
    assert await buyer.post("/cart/checkout", no=no) == (303, f"/orders/{no}")
    assert "收银台暂时没有应答" in await buyer.get(f"/orders/{no}")
    assert await buyer.post(f"/orders/{no}/pay") == (303, f"/orders/{no}")
    assert (await shop.order(no)).state == "unpaid"
    payonce.recover()
    assert await buyer.post(f"/orders/{no}/pay") == (303, payonce.orders[no].checkout_url)
    assert set(payonce.orders) == {no}
    assert len(payonce.bodies) <= 1


async def test_the_same_order_a_moment_later_is_asked_about(
    payonce: FakePayOnce, shop: OpenShop, buyer: Buyer
) -> None:
    payonce.refuses_duplicates = True
    first = await buyer.fill_cart()
    await buyer.post("/cart/checkout", no=first)
    second = await buyer.fill_cart()
    status, page = await buyer.post("/cart/checkout", no=second)
    assert status == 409
    assert "刚刚已经提交过相同的订单" in page
    assert payonce.orders[first].checkout_url in page
    assert (await shop.order(second)).state == "closed"
    third = number_in(page)
    status, target = await buyer.post("/cart/checkout", no=third, allow_duplicate=1)
    assert (status, target) == (303, payonce.orders[third].checkout_url)
    assert set(payonce.orders) == {first, third}


async def test_a_checkout_of_nothing_orders_nothing(payonce: FakePayOnce, buyer: Buyer) -> None:
    no = await buyer.fill_cart()
    for sku in ("iron-kettle", "taster"):
        await buyer.post("/cart", sku=sku, quantity=0)
    assert await buyer.post("/cart/checkout", no=no) == (303, "/")
    assert payonce.calls == []


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/cart", {"sku": "gold", "quantity": "1"}),
        ("/cart", {"sku": "taster", "quantity": "-1"}),
        ("/cart", {"sku": "taster"}),
        ("/cart/checkout", {}),
        ("/cart/checkout", {"no": "1"}),
    ],
)
async def test_a_form_that_makes_no_sense_is_refused(
    buyer: Buyer, path: str, form: dict[str, str]
) -> None:
    status, page = await buyer.post(path, **form)
    assert status == 400
    assert "这个请求无法处理" in page


async def test_a_buyer_sees_only_their_own_orders(shop: OpenShop, buyer: Buyer) -> None:
    no = await shop.place(buyer_id="someone_else")
    assert no not in await buyer.get("/orders")


async def test_the_pages_speak_the_buyers_language(buyer: Buyer) -> None:
    assert "山间茶铺" in await buyer.get("/")
    assert "山间茶铺" in await buyer.get("/", **{"Accept-Language": "fr,zh;q=0.8"})
    assert "Hillside Tea" in await buyer.get("/", **{"Accept-Language": "en-GB,zh;q=0.8"})
    assert "Hillside Tea" in await buyer.get("/?lang=en")
    assert "Hillside Tea" in await buyer.get("/orders")
    assert "There is no such order" in await buyer.get("/orders/S0")


async def test_the_api_names_what_is_wrong(shop: OpenShop) -> None:
    bad: list[tuple[dict[str, object], int, str]] = [
        ({"items": []}, 422, "$.items"),
        ({"items": [{"sku": "taster", "quantity": 0}]}, 422, "$.items[0].quantity"),
        ({"items": [{"sku": "taster"}, {"sku": "taster"}]}, 422, "$.items"),
        ({"items": [{"sku": "gold"}]}, 422, "gold"),
        ({**CART, "amount": 1}, 422, "amount"),
        ({**CART, "no": "a b"}, 422, "$.no"),
    ]
    for body, status, named in bad:
        async with shop.session.post(f"{shop.url}/api/orders", json=body) as answer:
            assert answer.status == status
            assert named in await answer.text()


async def test_one_number_is_one_order(payonce: FakePayOnce, shop: OpenShop) -> None:
    assert await shop.place(no="order-0001") == await shop.place(no="order-0001")
    assert await shop.place(no="order-0001", status=409, items=[{"sku": "taster"}])
    assert set(payonce.orders) == {"order-0001"}


async def test_more_than_is_in_stock_is_not_ordered(
    payonce: FakePayOnce, shop: OpenShop, tmp_path: Path
) -> None:
    leave_in_stock(tmp_path, 1)
    async with shop.session.post(f"{shop.url}/api/orders", json=CART) as answer:
        assert answer.status == 409
    assert payonce.calls == []


async def test_money_is_booked_even_when_the_last_piece_is_gone(
    payonce: FakePayOnce, shop: OpenShop, tmp_path: Path
) -> None:
    no = await shop.place()
    leave_in_stock(tmp_path, 1)
    await shop.tell(payonce.move(no, "paid"))
    assert (await shop.order(no)).state == "awaiting_shipment"
    assert await shop.stock() == -1
    assert "已售罄" in await (await shop.session.get(shop.url)).text()


def leave_in_stock(folder: Path, pieces: int) -> None:
    """Sell the rest behind the shop's back."""
    with closing(sqlite3.connect(folder / "shop.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE products SET stock = ?", (pieces,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gateway_url", "gateway:8080"),
        ("public_url", "http://shop.example/"),
        ("api_key", ""),
        ("webhook_secret", "whsec_"),
        ("webhook_secret", "whsec_a"),
        ("scan_interval_s", 0.0),
        ("slowest_ask_s", -1.0),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, field: str, value: str | float) -> None:
    payonce = FakePayOnce()
    payonce.url = "http://127.0.0.1:1"
    good = settings_for(payonce, tmp_path, "http://127.0.0.1:2")
    with pytest.raises(ValueError, match=field):
        msgspec.convert({**msgspec.structs.asdict(good), field: value}, ShopSettings)


def test_settings_do_not_print_their_secrets(tmp_path: Path) -> None:
    fake = FakePayOnce()
    fake.url = "http://127.0.0.1:1"
    settings = settings_for(fake, tmp_path, "http://127.0.0.1:2")
    assert settings.api_key not in repr(settings)
    assert settings.webhook_secret not in repr(settings)
