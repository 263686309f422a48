"""PayPal keeps the contract, at each of the two channels that were written apart from it.

Not taken are the parts that other channels promise: an order whose create was not answered is not
found, and nobody was shown it; nothing is ever closed there; and a webhook is of one app alone.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.channels.base import CloseResult
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, Source
from tests.channels.bench import ANY_TROUBLE, Trouble, Verb, made, outcome
from tests.channels.contract import (
    CallbackContract,
    CloseContract,
    CreateContract,
    QueryContract,
    RefundContract,
)
from tests.channels.paypal_benches import SandboxBench, StubBench, sandbox_bench, stub_bench

Bench = SandboxBench | StubBench


class ApprovedContract(QueryContract):
    test_a_refused_card_leaves_the_number_payable = None  # type: ignore[assignment]

    async def test_a_refused_card_leaves_the_order_payable(self, bench: Bench) -> None:
        """Whether it is still approved then is not documented; the two channels differ."""
        request = await made(bench)
        await bench.decline(request.number)
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.capture(request.number, request.money)
        assert refused.value.code == "INSTRUMENT_DECLINED"
        assert await outcome(bench, request.number) in (Outcome.UNPAID, Outcome.APPROVED)
        await bench.approve(request.number)
        await bench.channel.capture(request.number, request.money, tries=2)
        assert await outcome(bench, request.number) is Outcome.PAID


class NeverClosedContract(CloseContract):
    test_a_closed_payment_can_no_longer_be_paid = None  # type: ignore[assignment]
    test_a_closed_number_is_spent = None  # type: ignore[assignment]
    test_after_trouble_only_a_query_tells = None  # type: ignore[assignment]

    async def test_what_is_approved_closes_by_not_being_captured(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number)
        assert await bench.channel.close(request.number) is CloseResult.CLOSED
        assert await outcome(bench, request.number) is Outcome.APPROVED

    async def test_what_is_on_its_way_does_not_close(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number, "slow")
        await bench.channel.capture(request.number, request.money)
        assert await bench.channel.close(request.number) is CloseResult.UNKNOWN

    async def test_without_an_answer_nothing_is_said(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.befall(Verb.QUERY, Trouble.BROKEN_BEFORE)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.close(request.number)


class OneAppContract(CallbackContract):
    test_a_callback_of_another_app_is_refused = None  # type: ignore[assignment]


class CaptureContract:
    """Nothing is debited before `capture`, and then once, however often it is called."""

    async def test_who_approves_is_not_debited(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number)
        assert await outcome(bench, request.number) is Outcome.APPROVED

    async def test_who_has_not_approved_cannot_be_debited(self, bench: Bench) -> None:
        request = await made(bench)
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.capture(request.number, request.money)
        assert refused.value.code == "ORDER_NOT_APPROVED"

    async def test_the_same_capture_again_is_the_same_money(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number)
        reports = [await bench.channel.capture(request.number, request.money) for _ in range(3)]
        report = reports[0]
        assert reports == [report] * 3
        assert report == ChannelReport(
            "acct_1",
            request.number,
            Outcome.PAID,
            Source.POLL,
            payment_ref=report.payment_ref,
            money=request.money,
            channel_ref=bench.channel.orders[request.number],
        )
        assert await bench.channel.query(request.number) == report

    async def test_another_capture_of_what_is_captured_says_how_it_stands(
        self, bench: Bench
    ) -> None:
        """F28: ORDER_ALREADY_CAPTURED is not a failure."""
        request = await made(bench)
        await bench.approve(request.number)
        first = await bench.channel.capture(request.number, request.money)
        assert await bench.channel.capture(request.number, request.money, tries=2) == first

    async def test_money_that_is_on_its_way_is_not_paid(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number, "slow")
        report = await bench.channel.capture(request.number, request.money)
        assert (report.outcome, report.money) == (Outcome.PROCESSING, None)
        assert await outcome(bench, request.number) is Outcome.PROCESSING

    @ANY_TROUBLE
    async def test_after_trouble_nobody_knows_and_a_repeat_debits_once(
        self, bench: Bench, trouble: Trouble
    ) -> None:
        request = await made(bench)
        await bench.approve(request.number)
        await bench.befall("capture", trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.capture(request.number, request.money)
        expected = Outcome.PAID if trouble.done else Outcome.APPROVED
        assert await outcome(bench, request.number) is expected
        report = await bench.channel.capture(request.number, request.money)
        assert await bench.channel.query(request.number) == report

    async def test_an_answer_to_capture_after_the_deadline_is_no_answer(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.approve(request.number)
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.capture(request.number, request.money)


class PayPalContract(
    CreateContract,
    ApprovedContract,
    NeverClosedContract,
    RefundContract,
    OneAppContract,
    CaptureContract,
):
    """All that PayPal promises."""

    found_by_number = False


class TestOnTheSandbox(PayPalContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[SandboxBench]:
        async with sandbox_bench() as bench:
            yield bench


class TestOnTheStub(PayPalContract):
    @pytest_asyncio.fixture
    async def bench(self) -> AsyncIterator[StubBench]:
        async with stub_bench() as bench:
            yield bench
