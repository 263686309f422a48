"""A code that nobody has scanned: Alipay knows of no payment, and yet it can be paid.

So "not found" must never be taken for "closed", neither from a query nor from a close.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from gateway.channels.alipay import TRAITS
from gateway.channels.base import CloseResult
from gateway.model import Outcome
from tests.channels.alipay_benches import SandboxBench, StubBench, sandbox_bench, stub_bench
from tests.channels.bench import request_of


class BeforeTheScan:
    async def test_a_query_finds_nothing(self, bench: StubBench | SandboxBench) -> None:
        request = request_of(bench)
        await bench.shipped.create(request)
        assert (await bench.shipped.query(request.number)).outcome is Outcome.NOT_FOUND

    @pytest.mark.parametrize("product", ["precreate", "page", "wap", "app"])
    async def test_a_close_finds_nothing_and_the_buyer_can_still_pay(
        self, bench: StubBench | SandboxBench, product: str
    ) -> None:
        request = request_of(bench, product)
        created = await bench.shipped.create(request)
        assert await bench.shipped.close(request.number) is CloseResult.NOT_FOUND
        await bench.open(request.number, created.next_action)
        callback = await bench.pay(request.number)
        asked = await bench.shipped.query(request.number)
        read = bench.shipped.read(callback).report
        assert asked.outcome is Outcome.PAID
        assert (asked.money, asked.number) == (request.money, request.number)
        assert read is not None
        assert read.number == request.number

    async def test_making_it_again_makes_no_second_payment(
        self, bench: StubBench | SandboxBench
    ) -> None:
        request = request_of(bench)
        await bench.shipped.create(request)
        await bench.shipped.create(request)
        await bench.pay(request.number)
        assert (await bench.shipped.query(request.number)).outcome is Outcome.PAID


class TestOnTheStub(BeforeTheScan):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench() as bench:
            yield bench


class TestOnTheSandbox(BeforeTheScan):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench() as bench:
            yield bench


async def test_a_scanned_code_is_closed_for_good() -> None:
    async with sandbox_bench() as bench:
        request = request_of(bench)
        await bench.channel.create(request)
        assert await bench.channel.close(request.number) is CloseResult.CLOSED
        assert not await bench.payable(request.number)


async def test_a_close_that_is_refused_although_nobody_paid_tells_nothing() -> None:
    async with sandbox_bench() as bench:
        request = request_of(bench)
        await bench.channel.create(request)
        await bench.faults(close="refuse")
        assert await bench.channel.close(request.number) is CloseResult.UNKNOWN


def test_the_traits_say_so() -> None:
    assert TRAITS.closes
    assert TRAITS.live_after_close
    assert TRAITS.late_margin == timedelta(minutes=10)
