"""A channel's bill as evidence: what no callback told, and no answer to a query."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.channels.base import Billing
from gateway.channels.bills import Bill, Happened, refund_report_of
from gateway.errors import RefundExceedsCaptured
from gateway.model import NewRefund, Order, OrderState, RefundState, Source
from gateway.payments.planning import Wish
from gateway.payments.refund_requests import open_refund
from tests.payments.refunds import entries, only_refund, until_refund
from tests.payments.test_settling import number_in
from tests.rig import ACCOUNT, ALIPAY, ALIPAY_ACCOUNT, MERCHANT, NATIVE, PRICE, Rig, StartRig, until

BY_BOTH = pytest.mark.parametrize(
    ("wish", "account"),
    [
        pytest.param(NATIVE, ACCOUNT, id="wechat"),
        pytest.param(ALIPAY, ALIPAY_ACCOUNT, id="alipay"),
    ],
)


@BY_BOTH
async def test_a_line_of_a_bill_settles_a_payment_that_nobody_told_of(
    start_rig: StartRig, wish: Wish, account: str
) -> None:
    rig = await start_rig(alipay=True)
    await rig.faults(
        wish.channel,
        drop_callbacks=1.0,
        error={"verb": "query", "status": 503, "after_executing": False, "times": 1000},
        bills="at_once",
    )
    order = await rig.order()
    await rig.pay(number_in((await rig.apply(order, wish)).body), wish.channel)
    assert (await rig.read(order)).state is OrderState.OPEN
    bill = await bill_of_today(rig, account)
    (line,) = bill.lines
    await rig.desk.settle(bill.report_of(line, account))
    paid = await rig.read(order)
    assert (paid.state, await causes(rig, order)) == (OrderState.PAID, {Source.BILL})
    assert not (await rig.desk.settle(bill.report_of(line, account))).moved
    await rig.receiver.wait_for("order.paid", order.id)
    assert len(rig.receiver.received) == 1


@BY_BOTH
async def test_what_is_refunded_in_parts_is_on_the_bill_to_the_last_cent(
    start_rig: StartRig, wish: Wish, account: str
) -> None:
    rig = await start_rig(alipay=True)
    await rig.faults(wish.channel, bills="at_once", refund_takes_s=0.0)
    order, number = await paid_order(rig, wish)
    await open_refund(rig.desk, order.id, MERCHANT, NewRefund(30))
    with pytest.raises(RefundExceedsCaptured, match="70 can still be refunded"):
        await open_refund(rig.desk, order.id, MERCHANT, NewRefund(71))
    await open_refund(rig.desk, order.id, MERCHANT, NewRefund())

    async def all_given_back() -> bool:
        return (await rig.read(order)).amount_refunded == PRICE

    await until(all_given_back)
    bill = await bill_of_today(rig, account)
    # Two workers may send them: which comes first at the channel is nobody's promise.
    assert bill.lines[0].money.amount == PRICE
    assert sorted(line.money.amount for line in bill.lines[1:]) == [30, 70]
    assert {line.number for line in bill.lines} == {number}
    back = {(line.refund_number, line.money.amount) for line in bill.lines[1:]}
    assert back == {(one.number, one.amount) for one in (await entries(rig))[number].refunds}


async def test_a_line_of_a_bill_ends_a_refund_that_nobody_told_of(rig: Rig) -> None:
    await rig.faults(bills="at_once", refund_takes_s=0.0)
    order, _ = await paid_order(rig, NATIVE)
    await rig.faults(drop_callbacks=1.0)
    await open_refund(rig.desk, order.id, MERCHANT, NewRefund())
    await until_refund(rig, order, RefundState.SENT)

    async def line_of_it() -> Bill | None:
        bill = await bill_of_today(rig, ACCOUNT)
        return bill if bill.lines[-1].refund_state is RefundState.DONE else None

    line = (await until(line_of_it)).lines[-1]
    assert line.happened is Happened.REFUND
    await rig.desk.settle_refund(refund_report_of(line, ACCOUNT))
    ended = await only_refund(rig, order)
    assert (ended.state, ended.refund_ref) == (RefundState.DONE, line.refund_ref)
    assert (await rig.read(order)).amount_refunded == PRICE


async def paid_order(rig: Rig, wish: Wish) -> tuple[Order, str]:
    order = await rig.order()
    number = number_in((await rig.apply(order, wish)).body)
    await rig.pay(number, wish.channel)
    return await rig.until_order(order, OrderState.PAID), number


async def bill_of_today(rig: Rig, account_id: str) -> Bill:
    account = await rig.desk.accounts.by_id(account_id)
    assert account is not None
    assert isinstance(account.adapter, Billing)
    return await account.adapter.bill((datetime.now(UTC) + timedelta(hours=8)).date())


async def causes(rig: Rig, order: Order) -> set[str]:
    """Where the news of an order's payment came from."""
    async with rig.desk.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT cause FROM journal WHERE order_id = $1 AND to_state IN ('paid', 'captured')",
            order.id,
        )
    return {row["cause"] for row in rows}
