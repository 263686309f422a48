"""What every adapter must do, whatever its channel speaks.

An adapter's own test module makes a class of the parts that its channel's traits promise, gives it
a fixture `bench`, and is done; once for each independent channel that it can be tried against.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.channels.base import Callback, CloseResult
from gateway.errors import BadCallback, ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from tests.channels.bench import (
    ANY_TROUBLE,
    Bench,
    Trouble,
    Verb,
    made,
    outcome,
    paid_and_refund_of,
    query_refund,
    reason_of,
    request_of,
    with_amount,
)


class CreateContract:
    """`create` is idempotent by our number, and only a listed refusal says no."""

    found_by_number = True
    """Without: who was not told of it has sent nobody to it, and there is nothing to find."""

    async def test_every_product_gives_the_buyer_something_to_do(self, bench: Bench) -> None:
        for product in sorted(bench.channel.traits.all_products):
            request = request_of(bench, product)
            created = await bench.channel.create(request)
            assert datetime.now(UTC) < created.usable_until <= request.pay_by
            assert await outcome(bench, request.number) is Outcome.UNPAID

    async def test_the_same_create_again_makes_no_second_payment(self, bench: Bench) -> None:
        request = await made(bench)
        again = await bench.channel.create(request)
        assert again.usable_until <= request.pay_by
        assert (await bench.known()).count(request.number) == 1

    async def test_two_creates_at_once_make_one_payment(self, bench: Bench) -> None:
        request = request_of(bench)
        await asyncio.gather(*(bench.channel.create(request) for _ in range(5)))
        assert (await bench.known()).count(request.number) == 1

    @ANY_TROUBLE
    async def test_after_trouble_nothing_is_known_and_a_repeat_ends_well(
        self, bench: Bench, trouble: Trouble
    ) -> None:
        request = request_of(bench)
        await bench.befall(Verb.CREATE, trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.create(request)
        found = trouble.done and self.found_by_number
        expected = Outcome.UNPAID if found else Outcome.NOT_FOUND
        assert await outcome(bench, request.number) is expected
        await bench.channel.create(request)
        assert await outcome(bench, request.number) is Outcome.UNPAID
        assert (await bench.known()).count(request.number) == 1

    async def test_an_answer_to_create_after_the_deadline_is_no_answer(self, bench: Bench) -> None:
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.create(request_of(bench))

    async def test_a_number_with_another_amount_is_spent(self, bench: Bench) -> None:
        request = await made(bench)
        other = structs.replace(request, money=with_amount(request.money, 99))
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.create(other)
        assert refused.value.number_spent

    async def test_a_paid_number_is_spent(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.pay(request.number)
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.create(request)
        assert refused.value.number_spent
        assert await outcome(bench, request.number) is Outcome.PAID

    async def test_a_request_that_the_channel_refuses_leaves_the_number_unused(
        self, bench: Bench
    ) -> None:
        request = request_of(bench)
        past = structs.replace(request, pay_by=datetime.now(UTC) - timedelta(hours=1))
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.create(past)
        assert refused.value.code
        assert not refused.value.number_spent
        assert await outcome(bench, request.number) is Outcome.NOT_FOUND


class QueryContract:
    """`query` is the authority: it says exactly what the channel knows, or nothing."""

    async def test_an_unknown_number_is_not_found(self, bench: Bench) -> None:
        number = request_of(bench).number
        assert await outcome(bench, number) is Outcome.NOT_FOUND

    async def test_a_payment_is_reported_with_its_money_and_the_channels_id(
        self, bench: Bench
    ) -> None:
        request = await made(bench)
        await bench.pay(request.number)
        report = await bench.channel.query(request.number)
        assert report.payment_ref
        assert report == ChannelReport(
            account="acct_1",
            number=request.number,
            outcome=Outcome.PAID,
            source=Source.POLL,
            payment_ref=report.payment_ref,
            money=request.money,
            refunded=0,
            channel_ref=report.channel_ref,
        )
        assert await bench.channel.query(request.number) == report

    async def test_what_was_really_paid_is_reported_not_what_was_asked(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.pay(request.number, amount=1)
        report = await bench.channel.query(request.number)
        assert report.money == with_amount(request.money, 1)

    async def test_a_refused_card_leaves_the_number_payable(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.decline(request.number)
        assert await outcome(bench, request.number) is Outcome.UNPAID
        await bench.pay(request.number)
        assert await outcome(bench, request.number) is Outcome.PAID

    @ANY_TROUBLE
    async def test_after_trouble_nothing_is_known(self, bench: Bench, trouble: Trouble) -> None:
        request = await made(bench)
        await bench.pay(request.number)
        await bench.befall(Verb.QUERY, trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.query(request.number)
        assert await outcome(bench, request.number) is Outcome.PAID

    async def test_an_answer_to_query_after_the_deadline_is_no_answer(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.query(request.number)


class CloseContract:
    """For channels that close: CLOSED is believed, so it must be true; nothing else is."""

    async def test_a_closed_payment_can_no_longer_be_paid(self, bench: Bench) -> None:
        request = await made(bench)
        assert await bench.channel.close(request.number) is CloseResult.CLOSED
        assert await outcome(bench, request.number) is Outcome.CLOSED
        assert not await bench.payable(request.number)

    async def test_closing_again_is_closed(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.channel.close(request.number)
        assert await bench.channel.close(request.number) is CloseResult.CLOSED

    async def test_a_paid_payment_does_not_close(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.pay(request.number)
        assert await bench.channel.close(request.number) is CloseResult.PAID
        assert await outcome(bench, request.number) is Outcome.PAID

    async def test_an_unknown_number_is_not_found_to_close(self, bench: Bench) -> None:
        number = request_of(bench).number
        assert await bench.channel.close(number) is CloseResult.NOT_FOUND

    async def test_a_closed_number_is_spent(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.channel.close(request.number)
        with pytest.raises(ChannelRefused) as refused:
            await bench.channel.create(request)
        assert refused.value.number_spent

    @ANY_TROUBLE
    async def test_after_trouble_only_a_query_tells(self, bench: Bench, trouble: Trouble) -> None:
        request = await made(bench)
        await bench.befall(Verb.CLOSE, trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.close(request.number)
        expected = Outcome.CLOSED if trouble.done else Outcome.UNPAID
        assert await outcome(bench, request.number) is expected

    async def test_an_answer_to_close_after_the_deadline_is_no_answer(self, bench: Bench) -> None:
        request = await made(bench)
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.close(request.number)


class RefundContract:
    """For channels that refund: one refund for a refund number, however often it is asked."""

    async def test_a_refund_is_taken_once_however_often_it_is_asked(self, bench: Bench) -> None:
        request = await paid_and_refund_of(bench)
        for _ in range(3):
            report = await bench.channel.refund(request)
            assert report.state in (RefundState.SENT, RefundState.DONE)
            assert (report.number, report.money) == (request.number, request.money)
        assert await bench.given_back(request.attempt_number) == {request.number: 500}

    async def test_a_refund_ends_well(self, bench: Bench) -> None:
        request = await paid_and_refund_of(bench)
        sent = await bench.channel.refund(request)
        callback = await bench.end_refund(request.number)
        told = bench.channel.read(callback).report
        assert isinstance(told, RefundReport)
        assert (told.state, told.source) == (RefundState.DONE, Source.CALLBACK)
        assert (told.number, told.money) == (request.number, request.money)
        asked = await query_refund(bench, request)
        assert asked == structs.replace(told, source=Source.POLL)
        assert asked.refund_ref == sent.refund_ref

    async def test_a_refund_ends_badly(self, bench: Bench) -> None:
        request = await paid_and_refund_of(bench)
        await bench.let_refunds_fail()
        await bench.channel.refund(request)
        told = bench.channel.read(await bench.end_refund(request.number)).report
        assert isinstance(told, RefundReport)
        assert told.state is RefundState.FAILED
        asked = await query_refund(bench, request)
        assert asked == structs.replace(told, source=Source.POLL)

    async def test_a_payment_given_back_in_part_is_still_reported_as_paid(
        self, bench: Bench
    ) -> None:
        request = await paid_and_refund_of(bench)
        await bench.channel.refund(request)
        await bench.end_refund(request.number)
        report = await bench.channel.query(request.attempt_number)
        assert (report.outcome, report.money) == (Outcome.PAID, request.total)
        assert report.payment_ref == request.payment_ref
        assert report.refunded in (None, 500)

    async def test_more_than_was_paid_is_refused(self, bench: Bench) -> None:
        request = await paid_and_refund_of(bench, amount=1235)
        with pytest.raises(ChannelRefused):
            await bench.channel.refund(request)
        assert await bench.given_back(request.attempt_number) == {}

    async def test_an_unknown_refund_is_none(self, bench: Bench) -> None:
        asked = bench.channel.query_refund(
            "unknownR1", request_of(bench).number, sent_at=datetime.now(UTC)
        )
        assert await asked is None

    @ANY_TROUBLE
    async def test_after_trouble_a_query_tells_and_a_repeat_is_the_same_refund(
        self, bench: Bench, trouble: Trouble
    ) -> None:
        request = await paid_and_refund_of(bench)
        await bench.befall(Verb.REFUND, trouble)
        with pytest.raises(ChannelUnavailable):
            await bench.channel.refund(request)
        found = await query_refund(bench, request)
        assert (found is not None) == trouble.done
        await bench.channel.refund(request)
        assert await bench.given_back(request.attempt_number) == {request.number: 500}

    @ANY_TROUBLE
    async def test_trouble_with_the_query_is_not_an_unknown_refund(
        self, bench: Bench, trouble: Trouble
    ) -> None:
        request = await paid_and_refund_of(bench)
        await bench.channel.refund(request)
        await bench.befall(Verb.QUERY_REFUND, trouble)
        with pytest.raises(ChannelUnavailable):
            await query_refund(bench, request)


class CallbackContract:
    """`read` believes what the channel signed for this merchant and app, and nothing else."""

    async def test_a_callback_reports_what_a_query_reports(self, bench: Bench) -> None:
        request = await made(bench)
        callback = await bench.pay(request.number)
        read = bench.channel.read(callback)
        asked = await bench.channel.query(request.number)
        assert read.report == structs.replace(asked, source=Source.CALLBACK)
        assert read.notification_id

    async def test_reading_twice_is_reading_the_same(self, bench: Bench) -> None:
        request = await made(bench)
        callback = await bench.pay(request.number)
        assert bench.channel.read(callback) == bench.channel.read(callback)

    async def test_a_callback_signed_by_somebody_else_is_refused(self, bench: Bench) -> None:
        """F24: with a key of the right kind."""
        request = await made(bench)
        callback = await bench.pay(request.number)
        assert reason_of(bench, bench.forged(callback)) == "signature"

    async def test_a_callback_without_its_headers_is_refused(self, bench: Bench) -> None:
        request = await made(bench)
        callback = await bench.pay(request.number)
        assert reason_of(bench, structs.replace(callback, headers={})) == "signature"

    async def test_a_callback_that_was_changed_anywhere_is_refused(self, bench: Bench) -> None:
        request = await made(bench)
        callback = await bench.pay(request.number)
        for place in range(0, len(callback.body), 7):
            body = bytearray(callback.body)
            body[place] ^= 1
            assert reason_of(bench, structs.replace(callback, body=bytes(body))) == "signature"
        assert reason_of(bench, structs.replace(callback, body=callback.body + b" ")) == "signature"

    async def test_a_callback_of_another_merchant_is_refused(self, bench: Bench) -> None:
        """F22: whoever signed it."""
        request = await made(bench)
        assert reason_of(bench, bench.of_another_merchant(request.number)) == "merchant"

    async def test_a_callback_of_another_app_is_refused(self, bench: Bench) -> None:
        """F22: whoever signed it."""
        request = await made(bench)
        assert reason_of(bench, bench.of_another_app(request.number)) == "app"

    async def test_acknowledging_is_success_and_rejecting_is_not(self, bench: Bench) -> None:
        taken, _ = bench.channel.acknowledgement()
        rejected, body = bench.channel.rejection('not "ours"')
        assert 200 <= taken < 300
        assert rejected >= 400 or body != bench.channel.acknowledgement()[1]

    async def test_any_bytes_are_read_or_refused_and_nothing_else(self, bench: Bench) -> None:
        request = await made(bench)
        callback = await bench.pay(request.number)
        names = sorted(callback.headers)
        values = st.text(max_size=80) | st.sampled_from(sorted(callback.headers.values()))
        bodies = st.binary(max_size=400) | st.just(callback.body)

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.dictionaries(st.sampled_from(names), values), bodies)
        def read(headers: dict[str, str], body: bytes) -> None:
            mixed = {**callback.headers, **headers}
            try:
                bench.channel.read(Callback(mixed, body, callback.received_at))
            except BadCallback:
                return

        read()


class FreshCallbackContract:
    """For channels that sign each send afresh: an old signature is a replay."""

    @pytest.mark.parametrize("age_s", [-301, 302, 86_400])
    async def test_a_stale_callback_is_refused(self, bench: Bench, age_s: int) -> None:
        """F24: where the channel signs each sending anew, an old one is a replay."""
        request = await made(bench)
        callback = await bench.pay(request.number)
        late = structs.replace(
            callback, received_at=callback.received_at + timedelta(seconds=age_s)
        )
        assert reason_of(bench, late) == "stale"
