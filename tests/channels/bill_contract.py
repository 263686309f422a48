"""What every adapter must do that fetches bills, whatever its channel speaks.

The channel beside it has the bill of one day. The sandbox makes it of what moved there; the stub
has one that was written by hand from the channel's documents.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gateway.channels.base import Billing
from gateway.channels.bills import Bill, BillLine, Happened
from gateway.errors import BillNotReady, ChannelUnavailable
from gateway.model import Outcome, RefundState, Source
from tests.channels.bench import Bench, Trouble, Verb, paid_and_refund_of

SETTLED = timedelta(hours=1)  # UnionPay's day begins and ends so much earlier


# A slow machine is no finding.
FUZZED: Final = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


class Billed(Struct, frozen=True):
    """A day, and what moved on it: first a payment, of which a part went back."""

    day: date
    lines: tuple[BillLine, ...]


class BillBench(Protocol):
    """A channel that runs beside the test and has a bill, and an adapter that talks to it."""

    billed: Billed

    @property
    def billing(self) -> Billing:
        """The adapter as shipped."""

    @property
    def spoils(self) -> tuple[str, ...]:
        """What can be wrong with its bills."""

    async def spoil(self, how: str) -> None:
        """Let bills have something wrong with them; with nothing given they are good."""

    async def make_none(self) -> None:
        """From now on the channel has not made any bill yet."""

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        """Let the next call of a verb meet trouble."""


class BillContract:
    """`bill` is what the channel did in a day, whole, or nothing."""

    async def test_a_bill_has_every_payment_and_every_refund_of_its_day(
        self, bills: BillBench
    ) -> None:
        bill = await bills.billing.bill(bills.billed.day)
        assert bill.day == bills.billed.day
        listed = [essence(line) for line in bill.lines]
        assert all(listed.count(essence(line)) == 1 for line in bills.billed.lines)
        for line in bill.lines:
            assert line.raw_state
            assert (line.fee >= 0) == (line.happened is Happened.PAYMENT)
            assert line.at.tzinfo is UTC
            local = line.at + timedelta(hours=8)
            assert bill.day in (local.date(), (local + SETTLED).date())

    async def test_the_same_bill_is_the_same_again(self, bills: BillBench) -> None:
        bill = await bills.billing.bill(bills.billed.day)
        assert await bills.billing.bill(bills.billed.day) == bill

    async def test_a_line_of_a_payment_is_evidence_like_any_other(self, bills: BillBench) -> None:
        bill = await bills.billing.bill(bills.billed.day)
        paid = essence(bills.billed.lines[0])
        line = next(line for line in bill.lines if essence(line) == paid)
        report = bill.report_of(line, "acct_1")
        assert (report.outcome, report.source) == (Outcome.PAID, Source.BILL)
        assert (report.number, report.payment_ref) == (line.number, line.payment_ref)
        assert report.money == line.money
        back = [one for one in bill.lines if one.payment_ref == line.payment_ref and one != line]
        assert report.refunded == sum(one.money.amount for one in back) > 0

    async def test_a_day_on_which_nothing_happened_has_an_empty_bill(
        self, bills: BillBench
    ) -> None:
        day = bills.billed.day - timedelta(days=9)
        assert await bills.billing.bill(day) == Bill(day)

    async def test_a_bill_that_is_not_made_yet_is_not_an_empty_one(self, bills: BillBench) -> None:
        await bills.make_none()
        today = (datetime.now(UTC) + timedelta(hours=8)).date()
        for day in (today, today - timedelta(days=1)):
            with pytest.raises(BillNotReady) as refused:
                await bills.billing.bill(day)
            assert datetime.now(UTC) < refused.value.try_at
            assert refused.value.try_at < datetime.now(UTC) + timedelta(days=2)

    async def test_a_bill_with_something_wrong_is_no_bill(self, bills: BillBench) -> None:
        for how in bills.spoils:
            await bills.spoil(how)
            with pytest.raises(ChannelUnavailable) as refused:
                await bills.billing.bill(bills.billed.day)
            assert not isinstance(refused.value, BillNotReady)
        await bills.spoil("")
        assert (await bills.billing.bill(bills.billed.day)).lines

    async def test_after_any_trouble_nothing_is_known(self, bills: BillBench) -> None:
        for trouble in Trouble:
            await bills.befall(Verb.BILL, trouble)
            with pytest.raises(ChannelUnavailable) as refused:
                await bills.billing.bill(bills.billed.day)
            assert not isinstance(refused.value, BillNotReady), trouble
            assert (await bills.billing.bill(bills.billed.day)).lines, trouble


def essence(line: BillLine) -> BillLine:
    """A line without what nobody can know beforehand."""
    return replace(line, at=EPOCH, raw_state="", fee=0)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SandboxFaults(Bench, Protocol):
    """A bench whose channel is the sandbox."""

    async def faults(self, **fields: object) -> None:
        """Change how the sandbox misbehaves."""


class SandboxBills:
    """The sandbox with a payment of today, of which a part went back."""

    def __init__(
        self, bench: SandboxFaults, billing: Billing, billed: Billed, spoils: tuple[str, ...]
    ) -> None:
        self.bench, self.billing, self.billed, self.spoils = bench, billing, billed, spoils

    async def spoil(self, how: str) -> None:
        await self.bench.faults(spoil_bill=how or "no")

    async def make_none(self) -> None:
        await self.bench.faults(bills="late")

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        await self.bench.befall(verb, trouble)


async def sandbox_bills(
    bench: SandboxFaults,
    billing: Billing,
    spoils: tuple[str, ...],
    *,
    day_begins: timedelta = timedelta(hours=8),
    refund_names_payment: bool = True,
) -> SandboxBills:
    """Let money move on one day, and have its bill made at once."""
    await bench.faults(bills="at_once")
    lines: tuple[BillLine, ...] = ()
    while True:
        day = (datetime.now(UTC) + day_begins).date()
        lines = (*lines, *await _payment_and_refund(bench, refund_names_payment))
        if (datetime.now(UTC) + day_begins).date() == day:
            return SandboxBills(bench, billing, Billed(day, lines[-2:]), spoils)


async def _payment_and_refund(
    bench: SandboxFaults, refund_names_payment: bool
) -> tuple[BillLine, BillLine]:
    request = await paid_and_refund_of(bench)
    sent = await bench.channel.refund(request)
    if sent.state is not RefundState.DONE:
        await bench.end_refund(request.number)
    payment = BillLine(
        happened=Happened.PAYMENT,
        number=request.attempt_number,
        payment_ref=request.payment_ref,
        money=request.total,
        at=EPOCH,
        raw_state="",
    )
    refund = BillLine(
        happened=Happened.REFUND,
        number=request.attempt_number if refund_names_payment else "",
        payment_ref=request.payment_ref,
        money=request.money,
        at=EPOCH,
        raw_state="",
        refund_number=request.number,
        refund_ref=sent.refund_ref or "",
        refund_state=RefundState.DONE,
    )
    return payment, refund


class Written(Protocol):
    """What a stub has to say about bills."""

    day: date
    late: bool
    spoil: str


class StubBills:
    """A stub with a bill that was written by hand."""

    def __init__(
        self,
        bench: Bench,
        billing: Billing,
        written: Written,
        lines: tuple[BillLine, ...],
        totals: Mapping[str, int],
        spoils: tuple[str, ...],
    ) -> None:
        self.bench, self.billing, self.spoils = bench, billing, spoils
        self.written, self.lines, self.totals = written, lines, totals
        self.billed = Billed(written.day, tuple(map(essence, lines)))

    async def spoil(self, how: str) -> None:
        self.written.spoil = how

    async def make_none(self) -> None:
        self.written.late = True

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        await self.bench.befall(verb, trouble)


class WrittenBillContract(BillContract):
    """On a stub nothing about the bill is unknown."""

    async def test_the_bill_is_what_was_written(self, bills: StubBills) -> None:
        bill = await bills.billing.bill(bills.billed.day)
        assert (bill.lines, bill.totals) == (bills.lines, bills.totals)


def on(day: date, at: str, days: int = 0) -> datetime:
    """A time of Beijing's on a day, or some days after it."""
    local = datetime.combine(day + timedelta(days=days), time.fromisoformat(at), UTC)
    return local - timedelta(hours=8)


def read_or_refuse(read: Callable[[bytes], Bill], file: bytes) -> None:
    """Any bytes at all are a bill, or are refused as none."""
    try:
        bill = read(file)
    except ChannelUnavailable:
        return
    assert isinstance(bill, Bill)


def changed(genuine: bytes) -> st.SearchStrategy[bytes]:
    """A genuine file with some of its bytes changed, left out or put in."""
    edits = st.lists(
        st.tuples(st.integers(0, len(genuine)), st.integers(0, 3), st.binary(max_size=4)),
        min_size=1,
        max_size=4,
    )

    def apply(wanted: list[tuple[int, int, bytes]]) -> bytes:
        file = genuine
        for at, gone, new in wanted:
            file = file[:at] + new + file[at + gone :]
        return file

    return edits.map(apply)
