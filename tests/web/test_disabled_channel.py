"""A channel that is disabled while buyers look at the page."""

import pytest

from gateway.merchants import switch_channel
from gateway.model import OrderState
from gateway.payments import accounts
from tests.rig import ACCOUNT, Rig, StartRig
from tests.web.buyer import PHONE, Buyer


@pytest.fixture
async def rig(start_rig: StartRig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Changes of accounts are seen by the next request, not seconds later."""
    monkeypatch.setattr(accounts, "_FRESH_S", 0.0)
    return await start_rig(alipay=True)


async def disable(rig: Rig, terminal: str | None = None) -> None:
    async with rig.desk.pool.acquire() as conn:
        await switch_channel(conn, ACCOUNT, on=False, terminal=terminal)


async def test_a_button_of_an_older_page_leads_to_a_clear_message_and_the_other_channels(
    rig: Rig,
) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    assert 'value="wechat"' in (await buyer.get()).text
    await disable(rig)
    shown = await buyer.choose("wechat")
    assert shown.kind == "choose"
    assert "not available for this order. Choose another one." in shown.text
    assert 'value="wechat"' not in shown.text
    assert 'value="alipay"' in shown.text
    assert (await buyer.choose("alipay")).kind == "scan"
    assert [each.channel for each in (await rig.read(order)).attempts] == ["alipay"]


async def test_a_script_of_an_older_page_is_told_the_same(rig: Rig) -> None:
    buyer = Buyer(rig, await rig.order())
    await disable(rig)
    said = await buyer.call("POST", "/attempts", json={"channel": "wechat", "terminal": "pc"})
    assert (said.status, said.json["code"]) == (422, "channel_not_configured")
    drawn = await buyer.get("/fragment?problem=channel_not_configured")
    assert "Choose another one." in drawn.text
    assert 'value="alipay"' in drawn.text


async def test_a_code_that_is_on_the_page_already_can_still_be_paid(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await buyer.choose("wechat")
    await disable(rig)
    shown = await buyer.get()
    assert shown.kind == "scan"
    assert 'value="alipay"' in shown.text
    await rig.pay((await rig.read(order)).attempts[0].number)
    await rig.until_order(order, OrderState.PAID)
    assert (await buyer.get()).kind == "paid"


async def test_on_one_terminal_it_is_gone_and_on_the_others_it_is_there(rig: Rig) -> None:
    order = await rig.order()
    await disable(rig, "wap")
    assert 'value="wechat"' in (await Buyer(rig, order).get()).text
    phone = await Buyer(rig, order, PHONE).choose("wechat", "wap")
    assert "not available for this order. Choose another one." in phone.text
