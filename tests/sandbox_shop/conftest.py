"""The shop on a real port with its own file, against a fake PayOnce on another."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from gateway.ports import free_port
from gateway.sandbox.shop import ShopSettings, shop_app
from gateway.sandbox.shop_orders import Order
from tests.sandbox_shop.fake_payonce import (
    API_KEY,
    SECRET,
    FakePayOnce,
    PayOnceOrder,
    event_body,
    sign,
)

MERCHANT = "tea"
NEVER_S = 3600.0
PATIENCE_S = 10.0
LOOK_AGAIN_S = 0.01
CART = {"items": [{"sku": "longjing", "quantity": 2}, {"sku": "taster", "quantity": 1}]}
CART_FEN = 2 * 128_00 + 1


class Received(msgspec.Struct):
    """A line of GET /_control/received."""

    id: str | None
    type: str | None
    version: int | None
    verified: bool | None
    effect: str | None
    status: int | None


class OpenShop:
    """A running shop as its neighbours see it: by HTTP alone."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def order(self, no: str) -> Order:
        """What the shop says of an order."""
        async with self.session.get(f"{self.url}/api/orders/{no}") as answer:
            assert answer.status == 200
            return msgspec.json.decode(await answer.read(), type=Order)

    async def place(self, status: int = 201, **more: object) -> str:
        """Order two teas and a taster; answers the order's number."""
        async with self.session.post(f"{self.url}/api/orders", json={**CART, **more}) as answer:
            assert answer.status == status, await answer.text()
            return str((await answer.json())["no"])

    async def stock(self, sku: str = "longjing") -> int:
        """How many are left."""
        async with self.session.get(f"{self.url}/api/products") as answer:
            shelf = (await answer.json())["data"]
        return next(int(product["stock"]) for product in shelf if product["sku"] == sku)

    async def tell(
        self, order: PayOnceOrder, event_id: str = "evt_1", kind: str = "order.paid"
    ) -> int:
        """Deliver a well-signed webhook; answers the status."""
        body = event_body(order, event_id, kind)
        return await self.post_webhook(body, sign(body, event_id))

    async def post_webhook(self, body: bytes, headers: dict[str, str]) -> int:
        """Deliver whatever this is; answers the status."""
        url = f"{self.url}/webhooks/payonce"
        async with self.session.post(url, data=body, headers=headers) as answer:
            return answer.status

    async def break_receiver(self, **faults: object) -> None:
        """Replace the faults of the webhook receiver."""
        async with self.session.post(f"{self.url}/_control/faults", json=faults) as answer:
            assert answer.status == 200

    async def received(self) -> list[Received]:
        """The webhooks that arrived."""
        async with self.session.get(f"{self.url}/_control/received") as answer:
            body = await answer.read()
        return msgspec.json.decode(body, type=dict[str, list[Received]])["data"]

    async def until(self, no: str, state: str) -> Order:
        """Look at the order until it is in this state."""
        async with asyncio.timeout(PATIENCE_S):
            while (order := await self.order(no)).state != state:  # noqa: ASYNC110 - what is awaited is in another program
                await asyncio.sleep(LOOK_AGAIN_S)
        return order


async def until(condition: Callable[[], bool]) -> None:
    """Look until this is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited is in another program
            await asyncio.sleep(LOOK_AGAIN_S)


class OpenAShop(Protocol):
    """Closes the shop that is open, if any, and opens one over the same file."""

    async def __call__(
        self,
        *,
        scan_interval_s: float = NEVER_S,
        ask_after_s: float = NEVER_S,
        events_url: str | None = None,
        claim_after_s: float = NEVER_S,
    ) -> OpenShop: ...


@asynccontextmanager
async def running_payonce() -> AsyncIterator[FakePayOnce]:
    """A fake gateway on a port of its own."""
    fake = FakePayOnce()
    async with TestServer(fake.app()) as server:
        fake.url = str(server.make_url("/")).rstrip("/")
        yield fake
        fake.recover()


@asynccontextmanager
async def shop_street(payonce: FakePayOnce, folder: Path) -> AsyncIterator[OpenAShop]:
    """Where shops open, one after another, over the file in this folder."""
    servers: list[TestServer] = []

    async def open_one(
        *,
        scan_interval_s: float = NEVER_S,
        ask_after_s: float = NEVER_S,
        events_url: str | None = None,
        claim_after_s: float = NEVER_S,
    ) -> OpenShop:
        while servers:
            await servers.pop().close()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        settings = settings_for(
            payonce,
            folder,
            url,
            scan_interval_s=scan_interval_s,
            ask_after_s=ask_after_s,
            events_url=events_url,
            claim_after_s=claim_after_s,
        )
        servers.append(TestServer(shop_app(settings), port=port))
        await servers[-1].start_server()
        return OpenShop(url, session)

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield open_one
        for server in servers:
            await server.close()


@pytest.fixture
async def payonce() -> AsyncIterator[FakePayOnce]:
    """The fake gateway."""
    async with running_payonce() as fake:
        yield fake


@pytest.fixture
async def open_shop(payonce: FakePayOnce, tmp_path: Path) -> AsyncIterator[OpenAShop]:
    """Open a shop over this test's file; unless told otherwise it never asks by itself."""
    async with shop_street(payonce, tmp_path) as open_one:
        yield open_one


@pytest.fixture
async def shop(open_shop: OpenAShop) -> OpenShop:
    """A shop that learns only from webhooks."""
    return await open_shop()


def settings_for(
    payonce: FakePayOnce,
    folder: Path,
    url: str,
    *,
    scan_interval_s: float = NEVER_S,
    ask_after_s: float = NEVER_S,
    events_url: str | None = None,
    claim_after_s: float = NEVER_S,
) -> ShopSettings:
    """Settings of a shop next to this fake gateway."""
    return ShopSettings(
        gateway_url=payonce.url,
        api_key=API_KEY,
        webhook_secret=SECRET,
        public_url=url,
        database_path=str(folder / "shop.sqlite"),
        scan_interval_s=scan_interval_s,
        ask_after_s=ask_after_s,
        events_url=events_url,
        merchant=MERCHANT,
        claim_after_s=claim_after_s,
    )
