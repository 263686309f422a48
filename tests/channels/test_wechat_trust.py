"""Which keys are believed, how new ones are learnt, and that strangers cannot make us busy."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from gateway.channels.base import Callback, CloseResult
from gateway.channels.wechat import WeChatPay, wechat_pay
from gateway.errors import ChannelUnavailable, UnknownKey
from gateway.model import ChannelReport, Outcome
from tests.channels.bench import made, outcome, reason_of, request_of, serving
from tests.channels.wechat_benches import (
    ACCOUNT,
    Adapters,
    StubBench,
    signed,
    stub_bench,
)
from tests.fakes.wechat_crypto import Pen, certified, stub_keys
from tests.fakes.wechat_stub import Fault, WeChatStub

FIRST, SECOND = stub_keys().certificates


class Clock:
    """The real time, moved by as much as a test likes."""

    def __init__(self) -> None:
        self.moved = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.moved


class ClockedBench(StubBench):
    """A stub and an adapter that read the same clock, which the test moves."""

    def __init__(self, stub: WeChatStub, url: str, channel: WeChatPay, clock: Clock) -> None:
        super().__init__(stub, url, Adapters(channel, channel), FIRST.pen)
        self._clock = clock

    def pass_time(self, passed: timedelta) -> None:
        self._clock.moved += passed
        self.stub.moved += passed


@asynccontextmanager
async def bench_with(
    settings: Mapping[str, str] | None = None, *, public_key: bool = False
) -> AsyncIterator[ClockedBench]:
    """A bench whose account has the given settings; by default it must download certificates."""
    stub, clock = WeChatStub(stub_keys()), Clock()
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        account = {**stub.keys.settings(url, public_key=public_key), **(settings or {})}
        yield ClockedBench(stub, url, wechat_pay(ACCOUNT, account, {}, http, clock=clock), clock)


async def test_the_first_call_downloads_the_certificates_that_it_needs() -> None:
    async with bench_with() as bench:
        await made(bench)
        await made(bench)
        assert bench.stub.calls["certificates"] == 1


async def test_a_rotation_is_followed_by_one_download() -> None:
    async with bench_with() as bench:
        await made(bench)
        bench.stub.listed = [FIRST, SECOND]
        bench.pass_time(timedelta(minutes=2))
        request = await made(bench)  # signed with the second
        assert bench.stub.calls["certificates"] == 2
        bench.stub.trades[request.number].state = "CLOSED"
        assert await outcome(bench, request.number) is Outcome.CLOSED
        assert bench.stub.calls["certificates"] == 2


async def test_a_certificate_that_is_no_longer_listed_is_no_longer_believed() -> None:
    async with bench_with() as bench:
        await made(bench)
        bench.stub.listed = [SECOND]
        bench.pass_time(timedelta(minutes=2))
        await bench.channel.refresh_keys()
        request = await made(bench)
        bench.stub.pay(request.number)
        with pytest.raises(UnknownKey):
            bench.channel.read(signed(FIRST.pen, bench.stub.payment_news(request.number)))


async def test_certificates_are_downloaded_again_before_they_are_twelve_hours_old() -> None:
    async with bench_with() as bench:
        await made(bench)
        bench.pass_time(timedelta(hours=10, minutes=50))
        await made(bench)
        assert bench.stub.calls["certificates"] == 1
        bench.pass_time(timedelta(minutes=20))
        await made(bench)  # does not wait for the download that it begins
        await bench.stub.called("certificates", 2)
        await bench.channel.refresh_keys()  # joins it
        assert bench.stub.calls["certificates"] == 2


async def test_certificates_given_as_text_need_no_download() -> None:
    pem = FIRST.pem + SECOND.pem
    settings = {"platform_certificates": pem, "download_certificates": "no"}
    async with bench_with(settings) as bench:
        request = await made(bench)
        bench.stub.pen = SECOND.pen
        assert await outcome(bench, request.number) is Outcome.UNPAID
        assert bench.stub.calls["certificates"] == 0
        await bench.channel.refresh_keys()
        assert bench.stub.calls["certificates"] == 0


async def test_an_expired_certificate_is_not_believed() -> None:
    expired = certified("expired", 0x11111111, days=-1)
    settings = {"platform_certificates": expired.pem, "download_certificates": "no"}
    async with bench_with(settings) as bench:
        bench.stub.pen = expired.pen
        with pytest.raises(ChannelUnavailable, match="no key with serial"):
            await bench.channel.create(request_of(bench))


async def test_while_a_merchant_migrates_either_kind_of_key_is_believed() -> None:
    async with bench_with(public_key=True) as bench:
        request = await made(bench)  # answered with the public key, as asked for
        bench.stub.pay(request.number)
        news = bench.stub.payment_news(request.number)
        assert bench.channel.read(signed(bench.keys.public, news)).report
        by_certificate = signed(FIRST.pen, news)
        with pytest.raises(UnknownKey):
            bench.channel.read(by_certificate)
        await bench.channel.refresh_keys()
        report = bench.channel.read(by_certificate).report
        assert isinstance(report, ChannelReport)
        assert report.outcome is Outcome.PAID


async def test_a_merchant_without_certificates_lives_on_its_public_key() -> None:
    async with bench_with(public_key=True) as bench:
        bench.stub.listed = []
        await bench.channel.refresh_keys()  # answered by 404
        request = await made(bench)
        assert await bench.channel.close(request.number) is CloseResult.CLOSED


async def test_a_download_vouched_for_by_a_stranger_is_not_believed() -> None:
    async with bench_with() as bench:
        genuine = signed(FIRST.pen, b"{}")
        bench.stub.pen = Pen(FIRST.pen.serial, bench.keys.stranger)
        await bench.channel.refresh_keys()
        with pytest.raises(UnknownKey):
            bench.channel.read(genuine)
        bench.stub.pen = None
        bench.pass_time(timedelta(seconds=10))
        await bench.channel.refresh_keys()
        assert reason_of(bench, genuine) == "format"  # now the signature is believed


async def test_certificates_sealed_with_another_apiv3_key_are_not_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench_with({"apiv3_key": "another-key-of-exactly-32-letter"}) as bench:
        with caplog.at_level(logging.WARNING), pytest.raises(ChannelUnavailable):
            await bench.channel.create(request_of(bench))
    assert "apiv3_key" in caplog.text
    assert "another-key" not in caplog.text


async def test_a_failed_download_leaves_the_keys_and_may_be_tried_again_soon() -> None:
    async with bench_with() as bench:
        request = await made(bench)
        bench.pass_time(timedelta(minutes=2))
        bench.stub.faults["certificates"] = [Fault(executes=True, status=500)]
        await bench.channel.refresh_keys()
        assert await outcome(bench, request.number) is Outcome.UNPAID
        bench.pass_time(timedelta(seconds=6))
        await bench.channel.refresh_keys()
        assert bench.stub.calls["certificates"] == 3


async def test_callers_at_the_same_time_share_one_download() -> None:
    async with bench_with() as bench:
        await asyncio.gather(*(bench.channel.refresh_keys() for _ in range(20)))
        assert bench.stub.calls["certificates"] == 1


async def test_control_without_sharing_and_pausing_each_caller_downloads() -> None:
    async with bench_with() as bench:
        for _ in range(20):
            await bench.channel.refresh_keys()
            bench.pass_time(timedelta(seconds=61))
        assert bench.stub.calls["certificates"] == 20


async def test_a_caller_that_gives_up_does_not_end_the_download_of_the_others() -> None:
    async with bench_with() as bench:
        bench.stub.gate.clear()
        impatient = asyncio.create_task(bench.channel.refresh_keys())
        patient = asyncio.create_task(bench.channel.refresh_keys())
        await bench.stub.called("certificates", 1)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        bench.stub.gate.set()
        await patient
        await made(bench)
        assert bench.stub.calls["certificates"] == 1


async def test_a_slow_download_is_not_overtaken_by_a_second_one() -> None:
    async with bench_with() as bench:
        bench.stub.gate.clear()
        first = asyncio.create_task(bench.channel.refresh_keys())
        await bench.stub.called("certificates", 1)
        bench.pass_time(timedelta(minutes=2))
        second = asyncio.create_task(bench.channel.refresh_keys())
        bench.stub.gate.set()
        await asyncio.gather(first, second)
        assert bench.stub.calls["certificates"] == 1


async def test_a_flood_of_forged_serials_causes_one_download_a_minute() -> None:
    async with bench_with() as bench:
        await made(bench)
        bench.pass_time(timedelta(minutes=2))
        for serial in range(500):
            forged = signed(Pen(f"{serial:040X}", bench.keys.stranger), b"{}")
            with pytest.raises(UnknownKey):
                bench.channel.read(forged)
            await bench.channel.refresh_keys()
        assert bench.stub.calls["certificates"] == 2


async def test_an_old_message_with_an_unknown_serial_is_stale_and_no_reason_to_download() -> None:
    async with bench_with() as bench:
        forged = signed(Pen("0123456789ABCDEF", bench.keys.stranger), b"{}")
        late = Callback(forged.headers, forged.body, forged.received_at + timedelta(seconds=301))
        assert reason_of(bench, late) == "stale"


@pytest.mark.parametrize("off_s", [-400, 400])
async def test_an_answer_signed_too_long_ago_or_ahead_tells_nothing(off_s: int) -> None:
    async with stub_bench() as bench:
        bench.stub.signs_at = timedelta(seconds=off_s)
        with pytest.raises(ChannelUnavailable, match="five minutes"):
            await bench.channel.create(request_of(bench))


async def test_a_clock_that_is_wrong_is_told_to_the_operator_and_not_taken_for_no() -> None:
    async with bench_with(public_key=True) as bench:
        request = await made(bench)
        bench.stub.moved = timedelta(minutes=6)
        with pytest.raises(ChannelUnavailable, match="this machine's clock"):
            await bench.channel.query(request.number)
