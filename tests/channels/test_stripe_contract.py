"""Stripe's two channels keep the contract, at each of the two channels written apart from them.

Not taken are the parts that other channels promise: a Boleto is neither closed nor given back, and
merchants have no apps.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.channels.base import CloseResult, Created
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Outcome
from tests.channels.bench import (
    ANY_TROUBLE,
    Bench,
    Trouble,
    Verb,
    made,
    outcome,
    paid_and_refund_of,
    request_of,
)
from tests.channels.contract import (
    CallbackContract,
    CloseContract,
    CreateContract,
    FreshCallbackContract,
    QueryContract,
    RefundContract,
)
from tests.channels.stripe_benches import (
    SandboxBench,
    StubBench,
    sandbox_bench,
    stub_bench,
)


class KeyedCreateContract(CreateContract):
    async def test_two_creates_at_once_make_one_payment(self, bench: Bench) -> None:
        """While the first is under way Stripe answers 409 to the same key: nothing is known."""
        request = request_of(bench)
        calls = (bench.channel.create(request) for _ in range(5))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert any(isinstance(each, Created) for each in answers)
        assert all(isinstance(each, Created | ChannelUnavailable) for each in answers)
        assert (await bench.known()).count(request.number) == 1


class StripeContract(KeyedCreateContract, QueryContract, CallbackContract, FreshCallbackContract):
    test_a_callback_of_another_app_is_refused = None  # type: ignore[assignment]


class CardContract(StripeContract, CloseContract, RefundContract):
    found_by_number = False

    @ANY_TROUBLE
    async def test_after_trouble_only_a_query_tells(self, bench: Bench, trouble: Trouble) -> None:
        """Closing asks first; a spoilt answer is that to the question, and nothing was done."""
        request = await made(bench)
        await bench.befall(Verb.CLOSE, trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.close(request.number)
        done = trouble.done and trouble is not Trouble.SPOILT
        assert await outcome(bench, request.number) is (Outcome.CLOSED if done else Outcome.UNPAID)


class BoletoContract(StripeContract):
    async def test_a_cancelled_slip_can_still_be_paid_as_far_as_we_know(self, bench: Bench) -> None:
        request = await made(bench)
        assert await bench.channel.close(request.number) is CloseResult.STILL_LIVE
        assert await outcome(bench, request.number) is Outcome.UNPAID
        assert await bench.channel.close(request.number) is CloseResult.STILL_LIVE

    async def test_a_paid_slip_does_not_close(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.pay(request.number)
        assert await bench.channel.close(request.number) is CloseResult.PAID

    async def test_no_slip_no_close(self, bench: Bench) -> None:
        assert await bench.channel.close(request_of(bench).number) is CloseResult.NOT_FOUND

    async def test_a_slip_is_not_given_back(self, bench: Bench) -> None:
        refund = await paid_and_refund_of(bench)
        with pytest.raises(ChannelRefused):
            await bench.channel.refund(refund)


class TestCardOnTheSandbox(CardContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench("card") as bench:
            yield bench


class TestCardOnTheStub(CardContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench("card") as bench:
            yield bench


class TestBoletoOnTheSandbox(BoletoContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench("boleto") as bench:
            yield bench


class TestBoletoOnTheStub(BoletoContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench("boleto") as bench:
            yield bench
