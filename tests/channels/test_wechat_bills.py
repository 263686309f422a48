"""WeChat Pay's bills: the contract on both channels, and what its file may look like."""

import gzip
import hashlib
from collections.abc import AsyncIterator
from datetime import date

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.bills import Bill, BillLine, Happened
from gateway.channels.downloads import MOST_UNPACKED
from gateway.channels.wechat_bills import read_bill
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
from tests.channels.wechat_benches import sandbox_bench, stub_bench
from tests.fakes.wechat_bills import TEXT, TEXT_DAY

MCHID = "1900000109"
DAY = date.fromisoformat(TEXT_DAY)
SPOILS = ("altered", "truncated", "totals", "expired")
TOTALS = {
    "总交易单数": 4,
    "应结订单总金额": 10001,
    "退款总金额": 3150,
    "充值券退款总金额": 0,
    "手续费总金额": 41,
    "订单总金额": 10001,
    "申请退款总金额": 3150,
}


def lines_of(day: date) -> tuple[BillLine, ...]:
    """What is written in the stub's bill."""
    payment = BillLine(
        happened=Happened.PAYMENT,
        number="01K5AAAAAAAAAAAAAAAAAAAAAA",
        payment_ref="4200000001202609160000000001",
        money=Money(10000, "CNY"),
        at=on(day, "00:00:00"),
        raw_state="SUCCESS",
        fee=60,
    )
    refund = BillLine(
        happened=Happened.REFUND,
        number=payment.number,
        payment_ref=payment.payment_ref,
        money=Money(3050, "CNY"),
        at=on(day, "13:00:00"),
        raw_state="REFUND SUCCESS",
        fee=-18,
        refund_number="01K5AAAAAAAAAAAAAAAAAAAAAAR1",
        refund_ref="50000000382026091600000000001",
        refund_state=RefundState.DONE,
    )
    return (
        payment,
        replace(
            payment,
            number="01K5BBBBBBBBBBBBBBBBBBBBBB",
            payment_ref="4200000001202609160000000002",
            money=Money(1, "CNY"),
            at=on(day, "12:34:56"),
            fee=0,
        ),
        refund,
        replace(
            refund,
            number="01K3CCCCCCCCCCCCCCCCCCCCCC",
            payment_ref="4200000001202608310000000009",
            money=Money(100, "CNY"),
            at=on(day, "23:59:59"),
            raw_state="REFUND PROCESSING",
            fee=-1,
            refund_number="01K3CCCCCCCCCCCCCCCCCCCCCCR1",
            refund_ref="50000000382026091600000000002",
            refund_state=RefundState.SENT,
        ),
    )


class TestOnTheSandbox(BillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[SandboxBills]:
        async with sandbox_bench() as bench:
            yield await sandbox_bills(bench, bench.channel, SPOILS)


class TestOnTheStub(WrittenBillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[StubBills]:
        async with stub_bench() as bench:
            written = bench.stub.bills
            written.origin = "https://api.mch.weixin.qq.com"  # the adapter stays at its own host
            lines = lines_of(written.day)
            yield StubBills(bench, bench.channel, written, lines, TOTALS, SPOILS)


async def test_an_answer_after_the_deadline_is_no_answer() -> None:
    async with stub_bench() as bench:
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.bill(bench.stub.bills.day)


@pytest.mark.parametrize("link", ["", "not a URL", "https://[1/x", "ftp://api.example/file"])
async def test_an_answer_that_names_no_file_is_no_answer(link: str) -> None:
    async with stub_bench() as bench:
        said = f'{{"hash_type":"SHA1","hash_value":"{"0" * 40}","download_url":"{link}"}}'
        bench.stub.answers["bill"] = (200, said.encode())
        with pytest.raises(ChannelUnavailable):
            await bench.channel.bill(bench.stub.bills.day)


def test_a_file_may_be_unpacked_already() -> None:
    assert read(TEXT.encode()) == read_bill(
        gzip.compress(TEXT.encode()), sha1(TEXT.encode()), MCHID, DAY
    )


def test_columns_are_found_by_their_names() -> None:
    """A column more, the order another, and headers with backticks, as they have been seen."""
    header, *rows, names, totals, _ = TEXT.removeprefix("\ufeff").split("\r\n")
    lines = ["`" + header.replace(",", ",`") + ",`门店编号"]
    lines += [row + ",`007" for row in rows]
    lines += ["`" + names.replace(",", ",`"), totals, ""]
    assert read("\n".join(lines).encode()).lines == lines_of(DAY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("`100.00,`0.00,`0,", "`100.001,`0.00,`0,", id="a part of a fen"),
        pytest.param("`100.00,`0.00,`0,", "`1e2,`0.00,`0,", id="an exponent"),
        pytest.param("`100.00,`0.00,`0,", "`１00.00,`0.00,`0,", id="digits of another script"),
        pytest.param("2026-09-16 12:34:56", "2026-13-16 12:34:56", id="no time"),
        pytest.param("2026-09-16 12:34:56", "0001-01-01 00:00:00", id="before all times"),
        pytest.param("`SUCCESS,`CMB", "`UNHEARD,`CMB", id="an unknown state"),
        pytest.param("`ORIGINAL,`PROCESSING", "`ORIGINAL,`UNHEARD", id="an unknown refund state"),
        pytest.param("`1900000109", "`1900000999", id="another merchant"),
        pytest.param("申请退款金额,费率备注", "费率备注", id="a column less"),
        pytest.param("`4.0,", "`4.5,", id="half a transaction"),
        pytest.param("`4.0,", "`5.0,", id="a line less than stated"),
    ],
)
def test_a_bill_that_does_not_read_as_documented_is_no_bill(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ChannelUnavailable) as refused:
        read(TEXT.replace(old, new).encode())
    assert "oUpF8uMuAJO" not in str(refused.value)


@FUZZED
@given(st.text(max_size=127).filter(lambda name: "\n" not in name and "\r" not in name))
def test_no_name_of_what_is_sold_moves_another_column(name: str) -> None:
    text = TEXT.replace("两杯 tea, a “cake” & 1", name)
    assert read(text.encode()).lines == lines_of(DAY)


def test_a_name_that_could_be_read_as_other_amounts_makes_it_no_bill() -> None:
    name = "茶,`,`0.00000,`0.60%,`100.00,`0.00,`"
    with pytest.raises(ChannelUnavailable, match="fits in 2 ways"):
        read(TEXT.replace("两杯 tea, a “cake” & 1", name).encode())


def test_a_line_of_separators_alone_is_refused_at_once() -> None:
    lines = TEXT.replace("茶,`0.99,`叶\u2028二", ",`" * 1_000_000)
    with pytest.raises(ChannelUnavailable, match="line 3 has columns"):
        read(lines.encode())


def test_a_file_that_unpacks_without_end_is_refused() -> None:
    bomb = gzip.compress(b"`" * (MOST_UNPACKED + 1))
    with pytest.raises(ChannelUnavailable, match="more than"):
        read_bill(bomb, "0" * 40, MCHID, DAY)


@FUZZED
@given(st.binary() | changed(TEXT.encode()))
def test_any_text_is_a_bill_or_none(file: bytes) -> None:
    read_or_refuse(read, file)


@FUZZED
@given(changed(gzip.compress(TEXT.encode(), mtime=0)))
def test_any_packed_bytes_are_a_bill_or_none(file: bytes) -> None:
    read_or_refuse(lambda packed: read_bill(packed, sha1(TEXT.encode()), MCHID, DAY), file)


def read(text: bytes) -> Bill:
    return read_bill(text, sha1(text), MCHID, DAY)


def sha1(text: bytes) -> str:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
