"""A channel's bill as evidence: what no callback told, and no answer to a query."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.channels.base import Billing
from gateway.channels.bills import Bill
from gateway.model import Order, OrderState, Source
from gateway.payments.planning import Wish
from tests.payments.test_settling import number_in
from tests.rig import ACCOUNT, ALIPAY, ALIPAY_ACCOUNT, NATIVE, Rig, StartRig


@pytest.mark.parametrize(
    ("wish", "account"),
    [
        pytest.param(NATIVE, ACCOUNT, id="wechat"),
        pytest.param(ALIPAY, ALIPAY_ACCOUNT, id="alipay"),
    ],
)
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
