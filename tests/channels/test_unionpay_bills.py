"""UnionPay's bills: the contract on both channels, and what its file may look like."""

import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.bills import BillLine, Happened
from gateway.channels.unionpay_bills import read_bill
from gateway.errors import ChannelUnavailable
from gateway.model import RefundState
from gateway.money import Money
from tests.channels.bill_contract import (
    FUZZED,
    BillContract,
    SandboxBills,
    StubBills,
    WrittenBillContract,
    changed,
    on,
    read_or_refuse,
    sandbox_bills,
)
from tests.channels.unionpay_benches import sandbox_bench, stub_bench
from tests.fakes.unionpay_bills import GIVEN_BACK, PAID, PAID_AT_NOON, archive_of
from tests.fakes.unionpay_crypto import MER_ID

DAY = date(2026, 9, 16)
SETTLEMENT_DAY_BEGINS = timedelta(hours=9)  # 23:00 of the day before, in Beijing
SPOILS = ("altered", "truncated")


def lines_of(day: date) -> tuple[BillLine, ...]:
    """What is written in the stub's bill."""
    eve = day - timedelta(days=1)
    payment = BillLine(
        happened=Happened.PAYMENT,
        number="01K5AAAAAAAAAAAAAAAAAAAAAA",
        payment_ref=f"{eve:%Y%m%d}2300001931218",
        money=Money(10000, "CNY"),
        at=on(eve, "23:00:00"),
        raw_state="01",
        fee=60,
    )
    return (
        payment,
        replace(
            payment,
            number="01K5BBBBBBBBBBBBBBBBBBBBBB",
            payment_ref=f"{day:%Y%m%d}1200001906248",
            money=Money(1, "CNY"),
            at=on(day, "12:00:00"),
            fee=0,
        ),
        BillLine(
            happened=Happened.REFUND,
            number="",
            payment_ref=payment.payment_ref,
            money=Money(3050, "CNY"),
            at=on(day, "22:59:59"),
            raw_state="04",
            fee=-18,
            refund_number="01K5AAAAAAAAAAAAAAAAAAAAAAR1",
            refund_ref=f"{day:%Y%m%d}2259591931405",
            refund_state=RefundState.DONE,
        ),
        replace(
            payment,
            number="PRE00000001",
            payment_ref=f"{day:%Y%m%d}1300001931509",
            money=Money(500, "CNY"),
            at=on(day, "13:00:00"),
            raw_state="03",
            fee=3,
        ),
    )


class TestOnTheSandbox(BillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[SandboxBills]:
        async with sandbox_bench() as bench:
            yield await sandbox_bills(
                bench,
                bench.shipped,
                SPOILS,
                day_begins=SETTLEMENT_DAY_BEGINS,
                refund_names_payment=False,
            )


class TestOnTheStub(WrittenBillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[StubBills]:
        async with stub_bench() as bench:
            written = bench.stub.bills
            lines = lines_of(written.day)
            yield StubBills(bench, bench.shipped, written, lines, {}, SPOILS)


@pytest.mark.parametrize("field", [{"merId": "777290058199999"}, {"settleDate": "0229"}])
async def test_an_answer_about_another_merchant_or_day_is_no_answer(field: dict[str, str]) -> None:
    async with stub_bench() as bench:
        bench.stub.answers["bill"] = field
        with pytest.raises(ChannelUnavailable, match="another merchant or day"):
            await bench.shipped.bill(bench.stub.bills.day)


async def test_a_day_that_would_be_named_like_another_years_is_not_asked_for() -> None:
    async with stub_bench() as bench:
        with pytest.raises(ChannelUnavailable, match="without its year"):
            await bench.shipped.bill(datetime.now(UTC).date() - timedelta(days=365))
        assert not bench.stub.calls


def test_a_year_ends_between_a_payment_and_its_settlement() -> None:
    """The file says neither year."""
    for day, year in ((date(2026, 1, 1), 2025), (date(2026, 12, 31), 2026)):
        line = PAID.replace(" 0915230000 ", " 1231225959 ")
        paid = read_bill(content_of(line), MER_ID, day).lines[0]
        assert paid.at == datetime(year, 12, 31, 14, 59, 59, tzinfo=UTC)
    leap = PAID.replace(" 0915230000 ", " 0229120000 ")
    paid = read_bill(content_of(leap), MER_ID, date(2028, 2, 29)).lines[0]
    assert paid.at == datetime(2028, 2, 29, 4, tzinfo=UTC)


def test_a_void_and_what_a_till_debits_are_refunds() -> None:
    voided = GIVEN_BACK.replace(" 04 00 000201 ", " 31 00 000201 ")
    other = GIVEN_BACK.replace(" 04 00 000201 ", " 33 00 000201 ")
    lines = read_bill(content_of(voided + other), MER_ID, DAY).lines
    assert [line.happened for line in lines] == [Happened.REFUND] * 2


def test_a_file_without_lines_is_an_empty_bill() -> None:
    assert read_bill(content_of(""), MER_ID, DAY).lines == ()
    assert read_bill(content_of("\r\n\x1a"), MER_ID, DAY).lines == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("000000010000 ", "00000001000X ", id="no amount"),
        pytest.param("D000000000060", "0000000000060", id="a fee that nobody owes"),
        pytest.param(" 0915230000 ", " 0932230000 ", id="no time"),
        pytest.param("202609152300001931218 ", "                      ", id="no number of its own"),
        pytest.param("777290058110048 ", "777290058199999 ", id="another merchant"),
        pytest.param("193121 ", "193121", id="a column that is too short"),
        pytest.param("S56 ", "S56|", id="another separator"),
        pytest.param(PAID[200:], "", id="a line that is cut off"),
    ],
)
def test_a_bill_that_does_not_read_as_documented_is_no_bill(old: str, new: str) -> None:
    assert old in PAID
    with pytest.raises(ChannelUnavailable) as refused:
        read_bill(content_of(PAID_AT_NOON + PAID.replace(old, new)), MER_ID, DAY)
    assert "622609" not in str(refused.value)


def test_an_archive_without_its_file_is_no_bill() -> None:
    for files in ({"ZME": ""}, {}):
        with pytest.raises(ChannelUnavailable, match="one ZM file"):
            read_bill(packed(archive_of(files)), MER_ID, DAY)


@FUZZED
@given(st.binary() | changed((PAID + GIVEN_BACK).encode()))
def test_any_lines_are_a_bill_or_none(lines: bytes) -> None:
    text = lines.decode("latin-1").encode("gbk", "replace").decode("gbk")
    read_or_refuse(lambda _: read_bill(content_of(text), MER_ID, DAY), lines)


@FUZZED
@given(st.binary() | changed(zlib.compress(archive_of({"ZM": PAID + GIVEN_BACK}))))
def test_any_packed_bytes_are_a_bill_or_none(file: bytes) -> None:
    read_or_refuse(lambda it: read_bill(b64encode(it).decode(), MER_ID, DAY), file)


@FUZZED
@given(st.text())
def test_any_content_is_a_bill_or_none(content: str) -> None:
    read_or_refuse(lambda _: read_bill(content, MER_ID, DAY), b"")


def content_of(lines: str) -> str:
    return packed(archive_of({"ZM": lines}))


def packed(archive: bytes) -> str:
    return b64encode(zlib.compress(archive)).decode()
