"""Checkout: the shop's order first, then PayOnce's, and a retry that can do no harm."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.sandbox_shop.conftest import CART, OpenShop
from tests.sandbox_shop.fake_payonce import FakePayOnce, Trouble


class Browser:
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
async def browser(shop: OpenShop) -> AsyncIterator[Browser]:
    """A fresh browser."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Browser(shop, session)


async def test_a_checkout_ends_at_payonce(
    payonce: FakePayOnce, shop: OpenShop, browser: Browser
) -> None:
    no = await browser.fill_cart()
    status, target = await browser.post("/cart/checkout", no=no)
    assert (status, target) == (303, payonce.orders[no].checkout_url)
    theirs = payonce.orders[no]
    assert (theirs.amount, theirs.currency) == (399_00 + 3, "CNY")
    assert theirs.notify_url == f"{shop.url}/webhooks/payonce"
    assert theirs.return_url == f"{shop.url}/orders/{no}"
    assert theirs.subject == "铸铁提梁壶 等 4 件"
    order = await shop.order(no)
    assert (order.state, order.payonce_order) == ("unpaid", theirs.id)
    page = await browser.get(f"/orders/{no}")
    assert theirs.checkout_url in page
    assert 'http-equiv="refresh"' in page
    assert no in await browser.get("/orders")


async def test_a_checkout_sent_twice_at_once_is_one_order(
    payonce: FakePayOnce, browser: Browser
) -> None:
    no = await browser.fill_cart()
    answers = await asyncio.gather(*(browser.post("/cart/checkout", no=no) for _ in range(5)))
    again = await browser.post("/cart/checkout", no=no)  # the cart is empty by now
    assert set(payonce.orders) == {no}
    assert again == (303, payonce.orders[no].checkout_url)
    assert {status for status, _ in answers} == {303}


@pytest.mark.parametrize("trouble", ["lose_request", "lose_answer", "error", "garbage"])
async def test_a_gateway_that_is_down_keeps_the_order_for_a_retry(
    payonce: FakePayOnce, shop: OpenShop, browser: Browser, trouble: Trouble
) -> None:
    payonce.trouble = trouble
    no = await browser.fill_cart()
    assert await browser.post("/cart/checkout", no=no) == (303, f"/orders/{no}")
    assert "收银台暂时没有应答" in await browser.get(f"/orders/{no}")
    assert await browser.post(f"/orders/{no}/pay") == (303, f"/orders/{no}")
    assert (await shop.order(no)).state == "unpaid"
    payonce.recover()
    assert await browser.post(f"/orders/{no}/pay") == (303, payonce.orders[no].checkout_url)
    assert set(payonce.orders) == {no}
    assert len(payonce.bodies) <= 1


async def test_the_same_order_a_moment_later_is_asked_about(
    payonce: FakePayOnce, shop: OpenShop, browser: Browser
) -> None:
    payonce.refuses_duplicates = True
    first = await browser.fill_cart()
    await browser.post("/cart/checkout", no=first)
    second = await browser.fill_cart()
    status, page = await browser.post("/cart/checkout", no=second)
    assert status == 409
    assert "刚刚已经提交过相同的订单" in page
    assert payonce.orders[first].checkout_url in page
    assert (await shop.order(second)).state == "closed"
    third = number_in(page)
    status, target = await browser.post("/cart/checkout", no=third, allow_duplicate=1)
    assert (status, target) == (303, payonce.orders[third].checkout_url)
    assert set(payonce.orders) == {first, third}


async def test_a_checkout_of_nothing_orders_nothing(payonce: FakePayOnce, browser: Browser) -> None:
    no = await browser.fill_cart()
    for sku in ("iron-kettle", "taster"):
        await browser.post("/cart", sku=sku, quantity=0)
    assert await browser.post("/cart/checkout", no=no) == (303, "/")
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
    browser: Browser, path: str, form: dict[str, str]
) -> None:
    status, page = await browser.post(path, **form)
    assert status == 400
    assert "这个请求无法处理" in page


async def test_a_buyer_sees_only_their_own_orders(shop: OpenShop, browser: Browser) -> None:
    no = await shop.place(buyer_id="someone_else")
    assert no not in await browser.get("/orders")


async def test_the_pages_speak_the_buyers_language(browser: Browser) -> None:
    assert "山间茶铺" in await browser.get("/")
    assert "山间茶铺" in await browser.get("/", **{"Accept-Language": "fr,zh;q=0.8"})
    assert "Hillside Tea" in await browser.get("/", **{"Accept-Language": "en-GB,zh;q=0.8"})
    assert "Hillside Tea" in await browser.get("/?lang=en")
    assert "Hillside Tea" in await browser.get("/orders")
    assert "There is no such order" in await browser.get("/orders/S0")


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
