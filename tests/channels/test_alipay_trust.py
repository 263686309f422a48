"""Certificate mode: whom we believe when Alipay begins to sign with another certificate."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from gateway.channels.alipay import Alipay, alipay
from gateway.channels.alipay_keys import PAUSE
from gateway.channels.base import Callback
from gateway.errors import BadCallback, ChannelUnavailable, UnknownKey
from gateway.model import Outcome
from tests.channels.alipay_benches import StubBench, received, stub_bench
from tests.channels.bench import made, request_of
from tests.fakes.alipay_crypto import ALIPAYS_NAME, Certified, certified, notice_body
from tests.fakes.alipay_stub import AlipayStub, Fault

NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"


class TimedBench(StubBench):
    """The stub in certificate mode, with an adapter whose clock can be moved."""

    def __init__(self, stub: AlipayStub, url: str, http: aiohttp.ClientSession) -> None:
        super().__init__(stub, url, http)
        self._ahead = timedelta(0)
        settings = stub.side.settings(url, certificates=True)
        self.timed = alipay("acct_1", settings, {}, http, clock=self._now)

    def pass_time(self, passed: timedelta) -> None:
        self._ahead += passed

    def named(self, signer: Certified, *, signs_name: bool = False) -> Callback:
        """A callback that names the certificate that it is signed with."""
        fields, name = self.paid_notice(NUMBER), {"alipay_cert_sn": signer.sn}
        if signs_name:
            return received(notice_body(signer.key, {**fields, **name}))
        return received(notice_body(signer.key, fields, unsigned=name))

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


@asynccontextmanager
async def timed_bench() -> AsyncIterator[TimedBench]:
    async with stub_bench(certificates=True) as bench:
        yield TimedBench(bench.stub, bench.url, bench.http)


def rotate(bench: StubBench, to: Certified | None = None) -> Certified:
    """Let Alipay sign with another certificate from now on, and hand it out."""
    new = to or bench.side.next_alipay
    bench.stub.signer = new
    bench.stub.served = {new.sn: new.pem + bench.side.authority.pem}
    return new


async def outcome(channel: Alipay, number: str) -> Outcome:
    return (await channel.query(number)).outcome


async def test_a_new_certificate_is_learnt_from_an_answer_that_names_it() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID
        assert bench.stub.calls["certificate"] == 1


@pytest.mark.parametrize("signs_name", [True, False])
async def test_a_new_certificate_is_learnt_from_a_callback_that_names_it(signs_name: bool) -> None:
    async with timed_bench() as bench:
        callback = bench.named(rotate(bench), signs_name=signs_name)
        with pytest.raises(UnknownKey):
            bench.timed.read(callback)
        await bench.timed.refresh_keys()
        assert bench.timed.read(callback).report is not None


async def test_what_an_answer_has_taught_is_not_downloaded_for_a_callback_again() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        callback = bench.named(rotate(bench))
        with pytest.raises(UnknownKey):
            bench.timed.read(callback)
        await bench.timed.query(request.number)
        await bench.timed.refresh_keys()
        assert bench.timed.read(callback).report is not None
        assert bench.stub.calls["certificate"] == 1


async def test_a_callback_that_names_no_certificate_is_tried_against_all() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        new = rotate(bench)
        nameless = received(notice_body(new.key, bench.paid_notice(NUMBER)))
        with pytest.raises(BadCallback, match="does not fit"):
            bench.timed.read(nameless)
        await bench.timed.query(request.number)  # which teaches the certificate
        assert bench.timed.read(nameless).report is not None
        assert bench.timed.read(bench.genuine(bench.paid_notice(NUMBER))).report is not None


async def test_the_old_certificate_is_still_believed_after_a_new_one_was_learnt() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        await bench.timed.query(request.number)
        rotate(bench, bench.side.alipay)
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID
        assert bench.stub.calls["certificate"] == 1


def _apps(bench: StubBench) -> tuple[Certified, str]:
    """A merchant's own certificate: its chain leads to the same root as Alipay's."""
    return bench.side.app, bench.side.app.pem + bench.side.app_authority.pem


def _one_that_was_made_with_an_apps(bench: StubBench) -> tuple[Certified, str]:
    """Whoever has any certificate can sign another one with its key, in Alipay's name."""
    made_up = certified(ALIPAYS_NAME, issuer=bench.side.app)
    return made_up, made_up.pem + bench.side.app.pem + bench.side.app_authority.pem


def _one_that_was_made_with_one_that_is_silent(bench: StubBench) -> tuple[Certified, str]:
    """A certificate that does not say that it may issue others may not."""
    silent = certified("Silent", issuer=bench.side.authority, issues=None)
    made_up = certified(ALIPAYS_NAME, issuer=silent)
    return made_up, made_up.pem + silent.pem


def _of_another_root(bench: StubBench) -> tuple[Certified, str]:
    root = certified("Ant Certification Authority R1")
    made_up = certified(ALIPAYS_NAME, issuer=root)
    return made_up, made_up.pem + root.pem


def _expired(bench: StubBench) -> tuple[Certified, str]:
    old = certified(ALIPAYS_NAME, issuer=bench.side.authority, days=-1)
    return old, old.pem


def _another_than_was_asked_for(bench: StubBench) -> tuple[Certified, str]:
    new = bench.side.next_alipay
    return replace(new, sn="0" * 32), new.pem


def _of_another_company(bench: StubBench) -> tuple[Certified, str]:
    other = certified("某某网络技术有限公司-2088", issuer=bench.side.authority)
    return other, other.pem


def _no_certificate(bench: StubBench) -> tuple[Certified, str]:
    return bench.side.next_alipay, "no certificate"


def _no_text(bench: StubBench) -> tuple[Certified, str]:
    return bench.side.next_alipay, "证书"


def _in_a_circle(bench: StubBench) -> tuple[Certified, str]:
    """Two authorities that vouch for each other and lead nowhere."""
    first = certified("One", issues=True)
    second = certified("Two", issuer=first, issues=True)
    first_again = certified("One", issuer=second, issues=True)
    leaf = certified(ALIPAYS_NAME, issuer=first_again)
    return leaf, leaf.pem + first_again.pem + second.pem + first.pem


@pytest.mark.parametrize(
    "offered",
    [
        _apps,
        _one_that_was_made_with_an_apps,
        _one_that_was_made_with_one_that_is_silent,
        _of_another_root,
        _expired,
        _another_than_was_asked_for,
        _of_another_company,
        _no_certificate,
        _no_text,
        _in_a_circle,
    ],
)
async def test_a_certificate_that_does_not_speak_for_alipay_is_not_believed(
    offered: Callable[[StubBench], tuple[Certified, str]], caplog: pytest.LogCaptureFixture
) -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        signer, text = offered(bench)
        bench.stub.signer, bench.stub.served = signer, {signer.sn: text}
        with caplog.at_level(logging.WARNING), pytest.raises(ChannelUnavailable, match="no key"):
            await bench.timed.query(request.number)
        assert "Alipay's certificate was not learnt" in caplog.text
        with pytest.raises(UnknownKey):
            bench.timed.read(bench.named(signer))


async def test_control_the_same_certificate_with_its_chain_is_believed() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        new = certified(ALIPAYS_NAME, issuer=bench.side.authority)
        bench.stub.signer, bench.stub.served = new, {new.sn: new.pem}
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID


async def test_an_answer_with_a_certificate_must_be_signed_by_it_or_by_a_known_one() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        new = rotate(bench)
        bench.stub.signer = replace(new, key=bench.side.stranger)
        with pytest.raises(ChannelUnavailable):
            await bench.timed.query(request.number)
        with pytest.raises(UnknownKey):
            bench.timed.read(bench.named(new))


@pytest.mark.parametrize("content", ["", "not base64!", "证书", "AAAA"])
async def test_an_answer_that_holds_no_certificate_teaches_nothing(content: str) -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        bench.stub.answers["certificate"] = {"code": "10000", "alipay_cert_content": content}
        with pytest.raises(ChannelUnavailable):
            await bench.timed.query(request.number)


async def test_a_failed_download_is_tried_again_a_little_later() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        bench.stub.faults["certificate"] = [Fault(executes=True, said=502)]
        for _ in range(3):
            with pytest.raises(ChannelUnavailable):
                await bench.timed.query(request.number)
        assert bench.stub.calls["certificate"] == 1
        bench.pass_time(PAUSE)
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID
        assert bench.stub.calls["certificate"] == 2


async def test_a_clock_that_was_set_back_does_not_stop_downloads_for_long() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        bench.stub.faults["certificate"] = [Fault(executes=True, said=502)]
        with pytest.raises(ChannelUnavailable):
            await bench.timed.query(request.number)
        bench.pass_time(-2 * PAUSE)
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID


async def test_callers_at_the_same_time_share_one_download() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        asked = await asyncio.gather(*(outcome(bench.timed, request.number) for _ in range(20)))
        assert set(asked) == {Outcome.UNPAID}
        assert bench.stub.calls["certificate"] == 1


async def test_a_caller_that_gives_up_does_not_end_the_download_of_the_others() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        rotate(bench)
        bench.stub.held = "certificate"
        impatient = asyncio.create_task(bench.timed.query(request.number))
        patient = asyncio.create_task(bench.timed.query(request.number))
        await bench.stub.called("certificate", 1)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        bench.stub.held = ""
        bench.stub.gate.set()
        assert (await patient).outcome is Outcome.UNPAID


async def test_a_flood_of_made_up_names_causes_one_download_and_delays_no_answer() -> None:
    async with timed_bench() as bench:
        request = await made(bench)
        new = rotate(bench)
        for number in range(300):
            forged = replace(new, sn=f"{number:032x}", key=bench.side.stranger)
            with pytest.raises(UnknownKey):
                bench.timed.read(bench.named(forged))
            await bench.timed.refresh_keys()
        assert bench.stub.calls["certificate"] == 1
        assert await outcome(bench.timed, request.number) is Outcome.UNPAID


async def test_a_download_has_the_deadline_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    async with stub_bench(certificates=True) as bench:
        callback = received(
            notice_body(
                bench.side.next_alipay.key,
                bench.paid_notice(NUMBER),
                unsigned={"alipay_cert_sn": bench.side.next_alipay.sn},
            )
        )
        with pytest.raises(UnknownKey):
            bench.hurried.read(callback)
        await bench.stall()
        await bench.hurried.refresh_keys()
        assert "no answer within 0.1 s" in caplog.text


async def test_nothing_is_downloaded_without_need() -> None:
    async with timed_bench() as bench:
        await bench.timed.refresh_keys()
        assert not bench.stub.calls
    async with stub_bench() as bench:
        await bench.shipped.refresh_keys()
        assert not bench.stub.calls


async def test_by_public_key_a_certificate_that_is_named_changes_nothing() -> None:
    async with stub_bench() as bench:
        await bench.shipped.create(request_of(bench))
        fields, name = bench.paid_notice(NUMBER), {"alipay_cert_sn": "0" * 32}
        for key, good in ((bench.side.alipay.key, True), (bench.side.stranger, False)):
            callback = received(notice_body(key, fields, unsigned=name))
            if good:
                assert bench.shipped.read(callback).report is not None
            else:
                with pytest.raises(BadCallback, match="does not fit"):
                    bench.shipped.read(callback)
