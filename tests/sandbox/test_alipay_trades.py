"""Alipay's trades: begun by the buyer's scan, paid once, closed or cancelled."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.sandbox.alipay_merchant import AlipayMerchant, beijing

NUMBER = "ORDER000001"


async def test_a_code_is_no_trade_until_it_is_scanned(alipay: AlipayMerchant) -> None:
    created = await alipay.precreate(NUMBER)
    assert created.body["qr_code"].startswith("https://qr.alipay.com/")
    assert (await alipay.query(NUMBER)).code == "ACQ.TRADE_NOT_EXIST"
    await alipay.scan(NUMBER)
    waiting = await alipay.query(NUMBER)
    assert waiting.body["trade_status"] == "WAIT_BUYER_PAY"
    assert (waiting.body["total_amount"], waiting.body["receipt_amount"]) == ("12.34", "0.00")
    assert "send_pay_date" not in waiting.body
    await alipay.pay(NUMBER)
    paid = await alipay.query(NUMBER)
    assert paid.body["trade_status"] == "TRADE_SUCCESS"
    assert paid.body["trade_no"] == waiting.body["trade_no"]
    assert paid.body["buyer_pay_amount"] == "12.34"


@pytest.mark.parametrize(
    ("knob", "paid", "state"), [("ignored", 200, "paid"), ("sticky", 409, "closed")]
)
async def test_closing_what_nobody_scanned_is_answered_alike_and_may_do_nothing(
    alipay: AlipayMerchant, knob: str, paid: int, state: str
) -> None:
    await alipay.faults(unscanned_close=knob)
    await alipay.precreate(NUMBER)
    assert (await alipay.close(NUMBER)).code == "ACQ.TRADE_NOT_EXIST"
    assert (await alipay.pay(NUMBER)).status == paid
    assert [one[2] for one in await alipay.captured()] == [state]


async def test_a_scanned_trade_closes_once_and_takes_no_money(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.scan(NUMBER)
    closed = await alipay.close(NUMBER)
    assert (closed.code, closed.body["out_trade_no"]) == ("10000", NUMBER)
    assert (await alipay.pay(NUMBER)).code == "closed"
    assert (await alipay.query(NUMBER)).body["trade_status"] == "TRADE_CLOSED"
    assert (await alipay.close(NUMBER)).code == "ACQ.REASON_TRADE_STATUS_INVALID"
    assert (await alipay.precreate(NUMBER)).code == "ACQ.TRADE_HAS_CLOSE"


async def test_a_paid_trade_does_not_close(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    assert (await alipay.close(NUMBER)).code == "ACQ.TRADE_STATUS_ERROR"
    assert (await alipay.precreate(NUMBER)).code == "ACQ.TRADE_HAS_SUCCESS"
    assert (await alipay.pay(NUMBER)).code == "paid"


async def test_cancelling_pays_back_what_was_paid(alipay: AlipayMerchant) -> None:
    for number in ("PAID", "SCANNED", "UNSCANNED"):
        await alipay.precreate(number)
    await alipay.pay("PAID")
    await alipay.refund("PAID", "R1", "2.34")
    await alipay.scan("SCANNED")
    cancelled = [await alipay.cancel(number) for number in ("PAID", "SCANNED", "UNSCANNED")]
    assert [one.body.get("action") for one in cancelled] == ["refund", "close", None]
    assert [one.body["retry_flag"] for one in cancelled] == ["N", "N", "N"]
    assert await alipay.captured() == [(1234, 1234, "paid"), (0, 0, "closed"), (0, 0, "open")]
    assert (await alipay.cancel("PAID")).code == "10000"
    await alipay.faults(clock_shift_s=2 * 86400)
    assert (await alipay.cancel("PAID")).code == "ACQ.TRADE_CANCEL_TIME_OUT"


async def test_the_same_order_gets_the_same_code_and_another_is_refused(
    alipay: AlipayMerchant,
) -> None:
    first = await alipay.precreate(NUMBER)
    again = await alipay.precreate(NUMBER)
    assert first.body == again.body
    changed = await alipay.precreate(NUMBER, total_amount="12.35")
    assert changed.code == "ACQ.CONTEXT_INCONSISTENT"
    assert len(await alipay.captured()) == 1


async def test_an_absolute_end_ends_the_code_and_the_trade(alipay: AlipayMerchant) -> None:
    until = beijing(timedelta(minutes=5))
    await alipay.precreate(NUMBER, time_expire=until)
    await alipay.precreate("SCANNED", time_expire=until)
    await alipay.scan("SCANNED")
    await alipay.faults(clock_shift_s=301)
    assert (await alipay.pay(NUMBER)).code == "expired"
    assert (await alipay.pay("SCANNED")).code == "expired"
    assert (await alipay.query("SCANNED")).body["trade_status"] == "TRADE_CLOSED"
    assert (await alipay.precreate("SCANNED", time_expire=until)).code == "ACQ.TRADE_HAS_CLOSE"
    late = await alipay.precreate(NUMBER, time_expire=until)
    assert late.code == "ACQ.INVALID_PARAMETER"


async def test_a_relative_end_counts_only_from_the_scan(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER, time_expire=None, timeout_express="5m")
    await alipay.faults(clock_shift_s=3600)
    assert (await alipay.scan(NUMBER)).status == 200
    await alipay.faults(clock_shift_s=3600 + 301)
    assert (await alipay.pay(NUMBER)).code == "expired"


async def test_an_ended_code_is_renewed_and_the_old_one_still_names_the_order(
    alipay: AlipayMerchant,
) -> None:
    old = await alipay.precreate(NUMBER, time_expire=None)
    await alipay.faults(clock_shift_s=2 * 3600 + 1)
    assert (await alipay.scan(NUMBER)).code == "expired"
    new = await alipay.precreate(NUMBER, time_expire=None)
    assert new.body["qr_code"] != old.body["qr_code"]
    assert (await alipay.pay(NUMBER)).status == 200


async def test_of_two_numbers_alipays_own_wins(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    trade_no = (await alipay.query(NUMBER)).body["trade_no"]
    body = {"out_trade_no": "ANOTHER", "trade_no": trade_no}
    assert (await alipay.call("alipay.trade.query", body)).body["out_trade_no"] == NUMBER
    assert (await alipay.call("alipay.trade.query", {})).code == "ACQ.INVALID_PARAMETER"
    body = {"out_trade_no": NUMBER, "trade_no": "2026"}
    assert (await alipay.call("alipay.trade.query", body)).code == "ACQ.TRADE_NOT_EXIST"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("out_trade_no", ""),
        ("out_trade_no", "A" * 65),
        ("out_trade_no", "订单1"),
        ("total_amount", "0.00"),
        ("total_amount", "12.345"),
        ("total_amount", "-1"),
        ("total_amount", "100000000.01"),
        ("subject", "a=b"),
        ("subject", ""),
        ("product_code", "QUICK_WAP_WAY"),
        ("time_expire", "2020-01-01 00:00:00"),
        ("time_expire", "2099-01-01T00:00:00Z"),
        ("timeout_express", "1.5h"),
        ("timeout_express", "16d"),
        ("qr_code_timeout_express", "0m"),
    ],
)
async def test_a_field_that_is_wrong_is_named(
    alipay: AlipayMerchant, field: str, value: str
) -> None:
    refused = await alipay.precreate(NUMBER, **{field: value})
    assert (refused.code, refused.signed) == ("ACQ.INVALID_PARAMETER", True)
    assert field in refused.body["sub_msg"]
    assert await alipay.captured() == []


async def test_an_amount_may_be_written_as_a_number(alipay: AlipayMerchant) -> None:
    for number, amount in (("ORDER1", "0.10"), ("ORDER2", "88.8"), ("ORDER3", "100000000")):
        order = f'{{"out_trade_no":"{number}","total_amount":{amount},"subject":"茶"}}'
        assert (await alipay.call("alipay.trade.precreate", order)).code == "10000"
        assert (await alipay.pay(number)).status == 200
    assert [one[0] for one in await alipay.captured()] == [10, 8880, 10_000_000_000]


async def test_paying_and_closing_at_once_never_both_succeed(alipay: AlipayMerchant) -> None:
    for position in range(10):
        number = f"ORDER{position}"
        await alipay.precreate(number)
        await alipay.scan(number)
        pay, close = await asyncio.gather(alipay.pay(number), alipay.close(number))
        assert (pay.status == 200) != (close.code == "10000")


async def test_a_close_that_races_the_buyer_may_lose(alipay: AlipayMerchant) -> None:
    await alipay.faults(close="paid_race")
    await alipay.precreate(NUMBER)
    await alipay.scan(NUMBER)
    assert (await alipay.close(NUMBER)).code == "10000"
    assert (await alipay.pay(NUMBER)).status == 200
    assert (await alipay.query(NUMBER)).body["trade_status"] == "TRADE_SUCCESS"


async def test_a_close_can_be_refused_while_the_trade_stays_payable(
    alipay: AlipayMerchant,
) -> None:
    await alipay.faults(close="refuse")
    await alipay.precreate(NUMBER)
    await alipay.scan(NUMBER)
    assert (await alipay.close(NUMBER)).code == "ACQ.REASON_ILLEGAL_STATUS"
    assert (await alipay.pay(NUMBER)).status == 200


async def test_a_declined_buyer_can_still_pay(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    declined = await alipay.control("decline", {"channel": "alipay", "number": NUMBER})
    assert declined.status == 200
    assert (await alipay.query(NUMBER)).body["trade_status"] == "WAIT_BUYER_PAY"
    assert (await alipay.pay(NUMBER)).status == 200
    assert (await alipay.pay("NOBODYS")).status == 404


async def test_a_wallet_that_pays_twice_pays_two_trades(alipay: AlipayMerchant) -> None:
    await alipay.precreate(NUMBER)
    await alipay.pay(NUMBER)
    earlier = datetime.now(UTC) - timedelta(seconds=1)
    second = await alipay.pay(NUMBER, again=True, amount=1, at=earlier.isoformat())
    captures = second.json["captures"]
    assert isinstance(captures, list)
    assert len({one["ref"] for one in captures}) == 2
    trade = {"trade_no": captures[1]["ref"]}
    assert (await alipay.call("alipay.trade.query", trade)).body["total_amount"] == "0.01"
