"""Paying in the shop's own app: the app asks the shop, and hands the wallet what it was given."""

import pytest
from playwright.async_api import Browser

from tests.e2e.buyer import buyer_on_phone
from tests.e2e.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("channel", "handed"), [("wechat", "prepayid"), ("alipay", "orderStr"), ("unionpay", "tn")]
)
async def test_the_wallet_pays_what_the_app_was_given(
    browser: Browser, town: Town, channel: str, handed: str
) -> None:
    order = await town.place_order()
    attempt = await town.apply(order.payonce_order, channel, terminal="app")
    assert attempt.next_action is not None
    assert attempt.next_action.type == "app"
    async with buyer_on_phone(browser, town.ready, f"app-{channel}") as phone:
        await phone.scan_and_pay(attempt.next_action.parameters[handed])
    await town.paid(order.payonce_order)
    assert (await town.attempt(order.no)).state == "captured"
    await town.awaiting_shipment(order.no)
