"""Alipay's bills: the contract on both channels, and what its archive may hold."""

from collections.abc import AsyncIterator
from datetime import date

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.channels.alipay_bills import read_bill
from gateway.channels.bills import BillLine, Happened
from gateway.errors import ChannelUnavailable
from gateway.model import RefundState
from gateway.money import Money
from tests.channels.alipay_benches import sandbox_bench, stub_bench
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
from tests.fakes.alipay_bills import DETAILS, SUMS, TIMES_DAY, archive_of

SELLER = "2088102146225135"
DAY = date.fromisoformat(TIMES_DAY)
SPOILS = ("altered", "truncated", "totals", "expired")
TOTALS = {"交易": 2, "商家实收": 10001, "退款": 1, "商家实收退款": -3050}


def lines_of(day: date) -> tuple[BillLine, ...]:
    """What is written in the stub's bill."""
    payment = BillLine(
        happened=Happened.PAYMENT,
        number="01K5AAAAAAAAAAAAAAAAAAAAAA",
        payment_ref="2026091622001400000000000001",
        money=Money(10000, "CNY"),
        at=on(day, "00:00:00"),
        raw_state="交易",
        fee=60,
    )
    return (
        payment,
        replace(
            payment,
            number="01K5BBBBBBBBBBBBBBBBBBBBBB",
            payment_ref="2026091622001400000000000002",
            money=Money(1, "CNY"),
            at=on(day, "12:34:56"),
            fee=0,
        ),
        BillLine(
            happened=Happened.REFUND,
            number=payment.number,
            payment_ref=payment.payment_ref,
            money=Money(3050, "CNY"),
            at=on(day, "23:59:59"),
            raw_state="退款",
            fee=-18,
            refund_number="01K5AAAAAAAAAAAAAAAAAAAAAAR1",
            refund_state=RefundState.DONE,
        ),
    )


class TestOnTheSandbox(BillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[SandboxBills]:
        async with sandbox_bench() as bench:
            yield await sandbox_bills(bench, bench.shipped, SPOILS)


class TestOnTheStub(WrittenBillContract):
    @pytest_asyncio.fixture
    async def bills(self) -> AsyncIterator[StubBills]:
        async with stub_bench() as bench:
            written = bench.stub.bills
            written.origin = bench.url
            lines = lines_of(written.day)
            yield StubBills(bench, bench.shipped, written, lines, TOTALS, SPOILS)


async def test_an_answer_after_the_deadline_is_no_answer() -> None:
    async with stub_bench() as bench:
        await bench.stall()
        with pytest.raises(ChannelUnavailable):
            await bench.hurried.bill(bench.stub.bills.day)


@pytest.mark.parametrize("link", ["", "not a URL", "https://[1/x", "http://127.0.0.1:1/file"])
async def test_a_link_that_leads_nowhere_is_no_bill(link: str) -> None:
    async with stub_bench() as bench:
        bench.stub.answers["bill"] = {"code": "10000", "bill_download_url": link}
        with pytest.raises(ChannelUnavailable):
            await bench.shipped.bill(bench.stub.bills.day)


def test_the_table_of_sums_may_be_missing() -> None:
    assert read_bill(archive_of(DETAILS, ""), SELLER, DAY).lines == lines_of(DAY)


def test_a_merchant_who_gave_no_seller_id_has_it_not_compared() -> None:
    assert read_bill(archive_of(DETAILS, SUMS), "", DAY).lines == lines_of(DAY)


def test_a_bill_of_another_day_or_seller_is_refused() -> None:
    archive = archive_of(DETAILS, SUMS)
    for seller, day in ((SELLER, date(2026, 9, 17)), ("2088999999999999", DAY)):
        with pytest.raises(ChannelUnavailable, match="of another"):
            read_bill(archive, seller, day)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("0.01,0.01,0.00", "0.011,0.011,0.00", id="a part of a cent"),
        pytest.param("0.01,0.01,0.00", "-0.01,-0.01,0.00", id="a payment of less than nothing"),
        pytest.param("2026-09-16 12:34:56", "2026-09-31 12:34:56", id="no time"),
        pytest.param("\t,退款\t,", "\t,充值\t,", id="an unknown kind"),
        pytest.param("退款批次号/请求号", "退款批次号", id="a column less"),
        pytest.param("商户订单号", "支付宝交易号", id="a column twice"),
        pytest.param("#交易合计：2笔", "#交易合计：3笔", id="a payment less than stated"),
        pytest.param("退款共-30.50元", "退款共-30.51元", id="a refund of another sum"),
        pytest.param("#退款合计", "#退款", id="no totals"),
        pytest.param("#--", "--", id="no end"),
    ],
)
def test_a_bill_that_does_not_read_as_documented_is_no_bill(old: str, new: str) -> None:
    assert old in DETAILS
    with pytest.raises(ChannelUnavailable) as refused:
        read_bill(archive_of(DETAILS.replace(old, new), SUMS), SELLER, DAY)
    assert "138****0001" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("合计\t,\t,2,1,", "合计\t,\t,3,1,", id="another count"),
        pytest.param("合计\t,\t,2,1,", "合计\t,\t,two,1,", id="no count"),
        pytest.param("-0.42,0.00,69.09\r\n#", "-0.41,0.00,69.09\r\n#", id="other fees"),
        pytest.param("合计\t,", "总计\t,", id="no row of totals"),
    ],
)
def test_the_table_of_sums_must_fit_the_lines(old: str, new: str) -> None:
    assert old in SUMS
    with pytest.raises(ChannelUnavailable):
        read_bill(archive_of(DETAILS, SUMS.replace(old, new)), SELLER, DAY)


GBK = st.text(st.characters(codec="gbk", exclude_characters="\r\n"), max_size=256)


@FUZZED
@given(GBK, GBK)
def test_no_name_of_what_is_sold_and_no_remark_moves_another_column(name: str, remark: str) -> None:
    text = DETAILS.replace("两杯 tea, a cake, 100%", name).replace("paid twice", remark)
    assert read_bill(archive_of(text, SUMS), SELLER, DAY).lines == lines_of(DAY)


@FUZZED
@given(st.binary() | changed(archive_of(DETAILS, SUMS)))
def test_any_archive_is_a_bill_or_none(archive: bytes) -> None:
    read_or_refuse(lambda file: read_bill(file, SELLER, DAY), archive)


@FUZZED
@given(changed(DETAILS.encode("gbk")))
def test_any_text_is_a_bill_or_none(details: bytes) -> None:
    text = details.decode("latin-1")
    read_or_refuse(lambda file: read_bill(file, SELLER, DAY), archive_of(text, SUMS, "latin-1"))
