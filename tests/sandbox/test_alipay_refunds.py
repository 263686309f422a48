"""Alipay's refunds: the money is back with the answer, once for each request number."""

import pytest

from tests.sandbox.alipay_merchant import AlipayMerchant

NUMBER = "ORDER000001"


@pytest.fixture
async def paid(alipay: AlipayMerchant) -> AlipayMerchant:
    """The merchant, after an order for 12.34 yuan was paid."""
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    return alipay


async def test_a_refund_is_done_when_it_is_answered(paid: AlipayMerchant) -> None:
    refunded = await paid.refund(NUMBER, "R1", "2.00")
    assert (refunded.body["fund_change"], refunded.body["refund_fee"]) == ("Y", "2.00")
    found = await paid.query_refund(NUMBER, "R1")
    assert found.body["refund_status"] == "REFUND_SUCCESS"
    assert (found.body["refund_amount"], found.body["total_amount"]) == ("2.00", "12.34")
    assert (await paid.query(NUMBER)).body["trade_status"] == "TRADE_SUCCESS"
    assert await paid.captured() == [(1234, 200, "paid")]


async def test_the_fee_is_the_sum_so_far_and_a_repeat_moves_nothing(paid: AlipayMerchant) -> None:
    await paid.refund(NUMBER, "R1", "2.00")
    second = await paid.refund(NUMBER, "R2", "0.34")
    assert (second.body["fund_change"], second.body["refund_fee"]) == ("Y", "2.34")
    again = await paid.refund(NUMBER, "R1", "2.00")
    assert (again.body["fund_change"], again.body["refund_fee"]) == ("N", "2.34")
    assert await paid.captured() == [(1234, 234, "paid")]
    other = await paid.refund(NUMBER, "R1", "2.01")
    assert other.code == "ACQ.DISCORDANT_REPEAT_REQUEST"


async def test_a_trade_that_was_paid_back_whole_looks_closed(paid: AlipayMerchant) -> None:
    await paid.refund(NUMBER, "R1", "2.34")
    last = await paid.refund(NUMBER, "R2", "10.00")
    assert last.body["refund_fee"] == "12.34"
    closed = await paid.query(NUMBER)
    assert closed.body["trade_status"] == "TRADE_CLOSED"
    assert "send_pay_date" in closed.body
    assert (await paid.refund(NUMBER, "R2", "10.00")).body["fund_change"] == "N"
    assert (await paid.refund(NUMBER, "R3", "0.01")).code == "ACQ.TRADE_HAS_CLOSE"
    assert (await paid.close(NUMBER)).code == "ACQ.TRADE_STATUS_ERROR"


async def test_more_than_is_left_is_refused(paid: AlipayMerchant) -> None:
    assert (await paid.refund(NUMBER, "R1", "12.35")).code == "ACQ.REASON_TRADE_REFUND_FEE_ERR"
    await paid.refund(NUMBER, "R1", "12.00")
    assert (await paid.refund(NUMBER, "R2", "0.35")).code == "ACQ.REASON_TRADE_REFUND_FEE_ERR"


async def test_only_a_whole_refund_may_go_without_a_number_of_its_own(
    paid: AlipayMerchant,
) -> None:
    assert (await paid.refund(NUMBER, amount="1.00")).code == "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
    assert (await paid.refund(NUMBER)).body["fund_change"] == "Y"
    found = await paid.query_refund(NUMBER, NUMBER)
    assert found.body["refund_amount"] == "12.34"


async def test_two_trades_may_use_the_same_request_number(paid: AlipayMerchant) -> None:
    await paid.precreate("ANOTHER")
    await paid.pay("ANOTHER")
    for number, amount in ((NUMBER, "1.00"), ("ANOTHER", "2.00")):
        assert (await paid.refund(number, "R1", amount)).body["fund_change"] == "Y"
    found = [await paid.query_refund(number, "R1") for number in (NUMBER, "ANOTHER")]
    assert [one.body["refund_amount"] for one in found] == ["1.00", "2.00"]


async def test_what_was_never_refunded_has_no_status(paid: AlipayMerchant) -> None:
    found = await paid.query_refund(NUMBER, "R1")
    assert found.body == {"code": "10000", "msg": "Success"}
    assert (await paid.query_refund("NOBODYS", "R1")).code == "ACQ.TRADE_NOT_EXIST"
    assert (await paid.query_refund(NUMBER, "")).code == "ACQ.INVALID_PARAMETER"


async def test_what_was_not_paid_is_not_refunded(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    assert (await alipay.refund(NUMBER, "R1")).code == "ACQ.TRADE_NOT_EXIST"
    await alipay.scan(NUMBER)
    assert (await alipay.refund(NUMBER, "R1")).code == "ACQ.TRADE_STATUS_ERROR"
    await alipay.close(NUMBER)
    assert (await alipay.refund(NUMBER, "R1")).code == "ACQ.TRADE_HAS_CLOSE"


async def test_after_a_year_a_trade_is_finished(paid: AlipayMerchant) -> None:
    await paid.faults(clock_shift_s=366 * 86400)
    assert (await paid.query(NUMBER)).body["trade_status"] == "TRADE_FINISHED"
    assert (await paid.refund(NUMBER, "R1")).code == "ACQ.TRADE_HAS_FINISHED"


async def test_a_refund_can_be_accepted_without_moving_money(paid: AlipayMerchant) -> None:
    await paid.faults(refund_end="abnormal")
    accepted = await paid.refund(NUMBER, "R1")
    assert (accepted.code, accepted.body["fund_change"]) == ("10000", "N")
    assert "refund_status" not in (await paid.query_refund(NUMBER, "R1")).body
    await paid.faults(refund_end="closed")
    assert (await paid.refund(NUMBER, "R1")).code == "ACQ.SELLER_BALANCE_NOT_ENOUGH"
    assert await paid.captured() == [(1234, 0, "paid")]
    await paid.faults(reset=True)
    assert (await paid.refund(NUMBER, "R1")).body["fund_change"] == "Y"
