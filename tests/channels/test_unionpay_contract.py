"""UnionPay keeps the contract, at each of the two channels that were written apart from it.

Not taken are the parts that other channels promise: nothing is closed, a query does not say how
much of a payment was given back, callbacks are signed inside the form, and merchants have no apps.
"""

from collections.abc import AsyncIterator

import pytest_asyncio

from gateway.channels.base import CloseResult
from tests.channels.bench import made
from tests.channels.contract import (
    CallbackContract,
    CreateContract,
    QueryContract,
    RefundContract,
)
from tests.channels.unionpay_benches import SandboxBench, StubBench, sandbox_bench, stub_bench


class EndedRefundContract(RefundContract):
    test_a_payment_given_back_in_part_is_still_reported_as_paid = None  # type: ignore[assignment]


class SignedFormContract(CallbackContract):
    test_a_callback_without_its_headers_is_refused = None  # type: ignore[assignment]
    test_a_callback_of_another_app_is_refused = None  # type: ignore[assignment]


class UnionPayContract(CreateContract, QueryContract, EndedRefundContract, SignedFormContract):
    """All that UnionPay promises, once a browser has posted what is a form."""


class TestOnTheSandbox(UnionPayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench() as bench:
            yield bench


class TestOnTheStub(UnionPayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench() as bench:
            yield bench


async def test_close_says_that_it_can_still_be_paid_and_asks_nobody() -> None:
    async with stub_bench() as bench:
        request = await made(bench)
        calls = bench.stub.calls.total()
        assert await bench.channel.close(request.number) is CloseResult.STILL_LIVE
        assert bench.stub.calls.total() == calls
        assert await bench.payable(request.number)
