"""Alipay keeps the contract, at each of the two channels that were written apart from it.

Not taken are the parts that other channels promise: Alipay tells of a refund in the answer to it
and not in a callback of its own, says in no query how much of a payment was given back, and signs
its callbacks inside the form, where no header is needed.
"""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.channels.alipay_benches import SandboxBench, StubBench, sandbox_bench, stub_bench
from tests.channels.contract import (
    CallbackContract,
    CloseContract,
    CreateContract,
    QueryContract,
    RefundContract,
)


class SynchronousRefundContract:
    """The contract of refunds, without the callbacks that end them."""

    test_a_refund_is_taken_once_however_often_it_is_asked = (
        RefundContract.test_a_refund_is_taken_once_however_often_it_is_asked
    )
    test_more_than_was_paid_is_refused = RefundContract.test_more_than_was_paid_is_refused
    test_an_unknown_refund_is_none = RefundContract.test_an_unknown_refund_is_none
    test_after_trouble_a_query_tells_and_a_repeat_is_the_same_refund = (
        RefundContract.test_after_trouble_a_query_tells_and_a_repeat_is_the_same_refund
    )
    test_trouble_with_the_query_is_not_an_unknown_refund = (
        RefundContract.test_trouble_with_the_query_is_not_an_unknown_refund
    )


class SignedFormContract:
    """The contract of callbacks, without the headers that carry others' signatures."""

    test_a_callback_reports_what_a_query_reports = (
        CallbackContract.test_a_callback_reports_what_a_query_reports
    )
    test_reading_twice_is_reading_the_same = CallbackContract.test_reading_twice_is_reading_the_same
    test_a_callback_signed_by_somebody_else_is_refused = (
        CallbackContract.test_a_callback_signed_by_somebody_else_is_refused
    )
    test_a_callback_that_was_changed_anywhere_is_refused = (
        CallbackContract.test_a_callback_that_was_changed_anywhere_is_refused
    )
    test_a_callback_of_another_merchant_is_refused = (
        CallbackContract.test_a_callback_of_another_merchant_is_refused
    )
    test_a_callback_of_another_app_is_refused = (
        CallbackContract.test_a_callback_of_another_app_is_refused
    )
    test_acknowledging_is_success_and_rejecting_is_not = (
        CallbackContract.test_acknowledging_is_success_and_rejecting_is_not
    )
    test_any_bytes_are_read_or_refused_and_nothing_else = (
        CallbackContract.test_any_bytes_are_read_or_refused_and_nothing_else
    )


class AlipayContract(
    CreateContract, QueryContract, CloseContract, SynchronousRefundContract, SignedFormContract
):
    """All that Alipay promises, once somebody has scanned the code or opened the link."""


class TestOnTheSandbox(AlipayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench() as bench:
            yield bench


class TestOnTheSandboxWithCertificates(AlipayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench(certificates=True) as bench:
            yield bench


class TestOnTheStub(AlipayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench() as bench:
            yield bench


class TestOnTheStubWithCertificates(AlipayContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench(certificates=True) as bench:
            yield bench
