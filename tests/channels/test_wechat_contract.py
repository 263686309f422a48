"""WeChat Pay keeps the contract, at each of the two channels that were written apart from it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.channels.contract import (
    CallbackContract,
    CloseContract,
    CreateContract,
    FreshCallbackContract,
    QueryContract,
    RefundContract,
)
from tests.channels.wechat_benches import SandboxBench, StubBench, sandbox_bench, stub_bench


class WeChatContract(
    CreateContract,
    QueryContract,
    CloseContract,
    RefundContract,
    CallbackContract,
    FreshCallbackContract,
):
    """All of it: WeChat Pay closes, refunds, and signs each send afresh."""


class TestOnTheSandbox(WeChatContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench() as bench:
            yield bench


class TestOnTheStub(WeChatContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench() as bench:
            yield bench


class TestOnTheStubWithCertificates(WeChatContract):
    """The channel signs its answers with a platform certificate that has to be downloaded."""

    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench(public_key=False) as bench:
            await bench.channel.refresh_keys()
            yield bench
