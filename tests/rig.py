"""The whole product on this machine for one test: gateway, worker, sandbox, a merchant, a receiver.

Everything is real: the gateway serves HTTP as in production, the sandbox signs, encrypts and keeps
the ledger that is the oracle of every test about money. `start_rig` starts one; a test that wants
two processes starts `payonce serve` beside it, on the same database.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol, TypeVar, overload

import aiohttp
import asyncpg
import msgspec
import pytest
from aiohttp import web
from cryptography.fernet import Fernet
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from gateway.app import make_app
from gateway.db import orders
from gateway.ids import OrderId
from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.model import NewOrder, Order, Terminal
from gateway.payments.applying import Applied, apply_for_payment
from gateway.payments.desk import Desk
from gateway.payments.ordering import open_order
from gateway.payments.planning import Wish
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, alipay_account, sandbox_keys, wechat_account
from gateway.sandbox.server import sandbox_app
from gateway.secrets import Cipher, new_api_key, new_webhook_secret
from gateway.settings import Settings
from gateway.up import serving
from gateway.web.keys import DESK

MERCHANT: Final = "demo"
ACCOUNT: Final = "wx"
ALIPAY_ACCOUNT: Final = "ali"
NATIVE: Final = Wish("wechat", Terminal.PC)
ALIPAY: Final = Wish("alipay", Terminal.PC)
H5: Final = Wish("wechat", Terminal.WAP, client_ip="203.0.113.7", user_agent="Mozilla/5.0")
PRICE: Final = 100


class Received(msgspec.Struct, frozen=True):
    """A webhook as the order service got it."""

    id: str
    type: str
    order: str
    version: int


class Receiver:
    """An order service that only remembers; `status` is what it answers."""

    def __init__(self, secret: str) -> None:
        self.status = 204
        self.received: list[Received] = []
        self.refused = 0
        self._webhook = Webhook(secret)
        self.app = web.Application()
        self.app.router.add_post("/webhooks", self._receive)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._webhook.verify(body, dict(request.headers), json_parse=False)
        if self.status >= 300:
            self.refused += 1
        else:
            self.received.append(msgspec.json.decode(body, type=Received))
        return web.Response(status=self.status)

    async def wait_for(self, type_: str, order: OrderId) -> Received:
        def look() -> Received | None:
            wanted = (type_, order)
            return next((r for r in self.received if (r.type, r.order) == wanted), None)

        return await until(look)


Seen = TypeVar("Seen")


@overload
async def until(look: Callable[[], Awaitable[Seen | None]], within_s: float = 10.0) -> Seen: ...
@overload
async def until(look: Callable[[], Seen | None], within_s: float = 10.0) -> Seen: ...
async def until(look: Callable[[], object], within_s: float = 10.0) -> object:
    """Look until there is something to see; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        looked = look()
        seen = await looked if isinstance(looked, Awaitable) else looked
        if seen:
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"nothing was seen within {within_s} s")
        await asyncio.sleep(0.02)  # between two looks, not instead of one


class Rig:
    """Handles on one running product."""

    def __init__(
        self,
        desk: Desk,
        settings: Settings,
        sandbox_url: str,
        http: aiohttp.ClientSession,
        receiver: Receiver,
        api_key: str,
    ) -> None:
        self.desk = desk
        self.settings = settings
        self.sandbox_url = sandbox_url
        self.http = http
        self.receiver = receiver
        self.api_key = api_key
        self._orders = 0

    @property
    def url(self) -> str:
        return self.settings.base_url

    async def order(self, amount: int = PRICE, expires_in_s: int = 1800) -> Order:
        self._orders += 1
        new = NewOrder(f"no-{self._orders}", amount, "CNY", "tea", expires_in_s)
        order, opened = await open_order(self.desk, MERCHANT, new)
        assert opened
        return order

    async def apply(self, order: Order, wish: Wish = NATIVE) -> Applied:
        return await apply_for_payment(self.desk, order.id, wish, MERCHANT)

    async def read(self, order: Order) -> Order:
        async with self.desk.pool.acquire() as conn:
            reading = await orders.read(conn, order.id)
        assert reading is not None
        return reading[0]

    async def until_order(self, order: Order, state: str, within_s: float = 10.0) -> Order:
        async def look() -> Order | None:
            now = await self.read(order)
            return now if now.state == state else None

        return await until(look, within_s)

    async def control(self, call: str, **said: object) -> None:
        url = f"{self.sandbox_url}/_control/{call}"
        async with self.http.post(url, json=said) as answer:
            assert answer.status < 300, await answer.text()

    async def pay(self, number: str, channel: str = "wechat", **said: object) -> None:
        await self.control("pay", channel=channel, number=number, **said)

    async def faults(self, channel: str = "wechat", **said: object) -> None:
        await self.control("faults", channel=channel, **said)

    async def ledger(self) -> list[dict[str, object]]:
        async with self.http.get(f"{self.sandbox_url}/_control/ledger") as answer:
            return list((await answer.json())["data"])

    async def calls(self, verb: str) -> dict[str, int]:
        """How often the sandbox was called with that verb, by number."""
        async with self.http.get(f"{self.sandbox_url}/_control/calls") as answer:
            rows = (await answer.json())["data"]
        return {row["number"]: row["count"] for row in rows if row["verb"] == verb}


class StartRig(Protocol):
    """Start a rig: with its worker, with Alipay beside WeChat Pay, with other settings."""

    async def __call__(
        self, *, worker: bool = False, alipay: bool = False, **changes: object
    ) -> Rig: ...


@pytest.fixture(scope="session")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


@pytest.fixture
async def start_rig(
    keys: SandboxKeys, database_url: str, redis_url: str
) -> AsyncIterator[StartRig]:
    """Start rigs that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(*, worker: bool = False, alipay: bool = False, **changes: object) -> Rig:
            settings = replace(
                Settings(
                    database_url=database_url,
                    redis_url=redis_url,
                    port=free_port(),
                    secret_keys=(Fernet.generate_key().decode(),),
                    allow_private_webhooks=True,
                    sweep_interval_s=0.1,
                ),
                **changes,
            )
            running = running_rig(settings, keys, worker=worker, alipay=alipay)
            return await stack.enter_async_context(running)

        yield start


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    """The product without its worker: nothing happens but what the test does."""
    return await start_rig()


@asynccontextmanager
async def running_rig(
    settings: Settings, keys: SandboxKeys, *, worker: bool, alipay: bool = False
) -> AsyncIterator[Rig]:
    sandbox_port, receiver_port = free_port(), free_port()
    sandbox_url = f"http://127.0.0.1:{sandbox_port}"
    secret, api_key = new_webhook_secret(), new_api_key()
    receiver = Receiver(secret)
    cipher = Cipher(settings.secret_keys)
    assert settings.database_url is not None
    conn = await asyncpg.connect(settings.database_url)
    try:
        notify_url = f"http://127.0.0.1:{receiver_port}/webhooks"
        await add_merchant(conn, cipher, MERCHANT, "Demo", notify_url, secret)
        await let_key_in(conn, MERCHANT, api_key)
        said = wechat_account(keys, f"{sandbox_url}/wechat")
        await add_channel(conn, cipher, MERCHANT, ACCOUNT, "wechat", said)
        if alipay:
            said = alipay_account(keys, f"{sandbox_url}/alipay")
            await add_channel(conn, cipher, MERCHANT, ALIPAY_ACCOUNT, "alipay", said)
    finally:
        await conn.close()
    app = make_app(settings, worker=worker)
    sandbox = sandbox_app(keys, public_url=sandbox_url, pace=0.001)
    async with (
        serving(receiver.app, "127.0.0.1", receiver_port),
        serving(sandbox, "127.0.0.1", sandbox_port),
        serving(app, "127.0.0.1", settings.port),
        aiohttp.ClientSession() as http,
    ):
        yield Rig(app[DESK], settings, sandbox_url, http, receiver, api_key)
