"""A sandbox of its own for each test, a merchant who calls it, and where its callbacks arrive."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys, sandbox_keys
from gateway.sandbox.server import sandbox_app
from tests.sandbox.alipay_merchant import AlipayMerchant
from tests.sandbox.merchant import Merchant, Receiver
from tests.sandbox.stripe_merchant import StripeMerchant
from tests.sandbox.unionpay_merchant import UnionPayMerchant

StartSandbox = Callable[[Path | None], Awaitable[TestServer]]


@pytest.fixture(scope="session")
def keys() -> SandboxKeys:
    return sandbox_keys(None)


@pytest.fixture
async def start_sandbox(keys: SandboxKeys) -> AsyncIterator[StartSandbox]:
    """Start sandboxes that stop with the test; resends are a thousand times faster than real."""
    async with AsyncExitStack() as stack:

        async def start(state_file: Path | None) -> TestServer:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            app = sandbox_app(keys, public_url=url, state_file=state_file, pace=0.001)
            server = TestServer(app, port=port)
            await server.start_server()
            stack.push_async_callback(server.close)
            return server

        yield start


@pytest.fixture
async def sandbox_url(start_sandbox: StartSandbox) -> str:
    server = await start_sandbox(None)
    return str(server.make_url("")).rstrip("/")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with TestServer(receiver.app) as server:
        receiver.url = str(server.make_url("/notify"))
        yield receiver


@pytest.fixture
async def merchant(
    keys: SandboxKeys, sandbox_url: str, receiver: Receiver
) -> AsyncIterator[Merchant]:
    async with aiohttp.ClientSession() as session:
        merchant = Merchant(session, keys, sandbox_url, receiver)
        await merchant.faults(refund_takes_s=0)
        yield merchant


@pytest.fixture
async def alipay(
    keys: SandboxKeys, sandbox_url: str, receiver: Receiver
) -> AsyncIterator[AlipayMerchant]:
    receiver.status, receiver.answer = 200, b"success"
    async with aiohttp.ClientSession() as session:
        yield AlipayMerchant(session, keys, sandbox_url, receiver)


@pytest.fixture
async def unionpay(
    keys: SandboxKeys, sandbox_url: str, receiver: Receiver
) -> AsyncIterator[UnionPayMerchant]:
    receiver.status, receiver.answer = 200, b"ok"
    async with aiohttp.ClientSession() as session:
        merchant = UnionPayMerchant(session, keys, sandbox_url, receiver)
        await merchant.faults(refund_takes_s=0)
        yield merchant


@pytest.fixture
async def stripe(
    keys: SandboxKeys, sandbox_url: str, receiver: Receiver
) -> AsyncIterator[StripeMerchant]:
    async with aiohttp.ClientSession() as session:
        merchant = StripeMerchant(session, keys, sandbox_url, receiver)
        await merchant.control("faults", channel="card", refund_takes_s=0)
        yield merchant
