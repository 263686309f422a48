"""One code for all wallets: which way it leads whom, and that it is paid once whoever scans it."""

import asyncio
import html
import re
from typing import Final

import pytest

from gateway.merchants import add_channel
from gateway.model import AttemptState, Order
from gateway.sandbox.keys import SandboxKeys, unionpay_account, wechat_account
from gateway.secrets import Cipher
from tests.rig import ACCOUNT, MERCHANT, Rig, StartRig, until
from tests.web.api import Api
from tests.web.buyer import PC, PHONE, WECHAT, Buyer, Shown
from tests.web.wallets import ALIPAY, UNIONPAY, WalletBuyer

PREVIEWERS: Final = [
    {"Sec-Purpose": "prefetch"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {},
]


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    return await start_rig(alipay=True)


async def put_channel(rig: Rig, account: str, kind: str, settings: dict[str, str]) -> None:
    async with rig.desk.pool.acquire() as conn:
        cipher = Cipher(rig.settings.secret_keys)
        await add_channel(conn, cipher, MERCHANT, account, kind, settings)


async def forget_app_secret(rig: Rig, keys: SandboxKeys) -> None:
    said = wechat_account(keys, f"{rig.sandbox_url}/wechat")
    await put_channel(rig, ACCOUNT, "wechat", said | {"app_secret": ""})


async def open_the_cashier(rig: Rig, shown: Shown) -> None:
    """Follow the page's link to Alipay, where the trade begins."""
    (link,) = re.findall(r'<a class="button" href="([^"]+)"', shown.text)
    async with rig.http.get(html.unescape(link)) as answer:
        assert answer.status == 200


async def pay_all(rig: Rig, order: Order) -> None:
    """The buyers pay whatever was ever made for the order, closed or not."""
    for attempt in (await rig.read(order)).attempts:
        await rig.pay(attempt.number, attempt.channel)


@pytest.mark.parametrize(
    ("user_agent", "leads_to"),
    [
        (WECHAT, "?go=1"),
        (ALIPAY, "?go=1"),
        (UNIONPAY, "?go=1"),
        (PHONE, ""),
        (PC, ""),
        ("", ""),
    ],
)
async def test_the_app_that_scans_decides(rig: Rig, user_agent: str, leads_to: str) -> None:
    assert await WalletBuyer(rig, await rig.order(), user_agent).scan() == leads_to


@pytest.mark.parametrize("headers", PREVIEWERS)
async def test_a_link_preview_makes_nothing(rig: Rig, headers: dict[str, str]) -> None:
    order = await rig.order()
    for user_agent in (WECHAT, ALIPAY, PHONE):
        for method in ("GET", "HEAD"):
            async with rig.http.request(
                method,
                f"{rig.url}/q/{order.token}",
                headers={"User-Agent": user_agent, **headers},
            ) as answer:
                assert answer.status == 200
    assert (await rig.read(order)).attempts == ()
    assert await rig.ledger() == []


async def test_the_one_code_at_a_pc_says_which_wallets_take_it(rig: Rig, keys: SandboxKeys) -> None:
    settings = unionpay_account(keys, f"{rig.sandbox_url}/unionpay")
    await put_channel(rig, "union", "unionpay", settings)
    shown = await Buyer(rig, await rig.order()).get()
    assert shown.kind == "choose"
    assert 'aria-label="One code for' in shown.text
    (wallets,) = re.findall(r'<ul class="wallets">(.*?)</ul>', shown.text, re.DOTALL)
    names = re.findall(r">\s*([^<>]+?)\s*</li>", wallets)
    assert names == ["WeChat Pay", "Alipay", "UnionPay"]


async def test_a_wallet_that_could_not_pay_is_not_among_them(rig: Rig, keys: SandboxKeys) -> None:
    await forget_app_secret(rig, keys)
    order = await rig.order()
    shown = await Buyer(rig, order).get()
    assert "One code for" not in shown.text, "one wallet has its own code"
    assert 'value="wechat"' in shown.text
    shown = await Buyer(rig, order, WECHAT).get()
    assert shown.kind == "leave"
    assert 'value="alipay"' in shown.text, "as a code for another phone"


@pytest.mark.parametrize("user_agent", [WECHAT, ALIPAY, PHONE])
@pytest.mark.parametrize("end", ["paid", "closed", "expired"])
async def test_an_order_that_is_over_is_said_to_be(rig: Rig, user_agent: str, end: str) -> None:
    order = await rig.order()
    if end == "paid":
        await rig.apply(order)
        await pay_all(rig, order)
        await rig.until_order(order, "paid")
    elif end == "closed":
        await Api(rig).post(f"/v1/orders/{order.id}/close")
    else:
        async with rig.desk.pool.acquire() as conn:
            await conn.execute("UPDATE orders SET expires_at = now() WHERE id = $1", order.id)
    before = (await rig.read(order)).attempts
    buyer = WalletBuyer(rig, order, user_agent)
    shown = await buyer.get(await buyer.scan())
    assert shown.kind == end
    assert "data-own" not in shown.text
    assert (await rig.read(order)).attempts == before


async def test_alipays_own_browser_is_led_to_its_cashier(rig: Rig) -> None:
    order = await rig.order()
    buyer = WalletBuyer(rig, order, ALIPAY)
    shown = await buyer.get(await buyer.scan())
    assert 'value="alipay" data-own' in shown.text
    assert 'value="wechat"' not in shown.text
    shown = await buyer.choose("alipay", "webview")
    assert shown.kind == "open"
    (attempt,) = (await rig.read(order)).attempts
    assert (attempt.channel, attempt.product) == ("alipay", "wap")


async def test_the_page_at_the_pc_says_that_a_phone_has_opened_it(rig: Rig) -> None:
    order = await rig.order()
    await WalletBuyer(rig, order, ALIPAY).choose("alipay", "webview")
    shown = await Buyer(rig, order).get()
    assert "finish paying there" in shown.text
    assert "One code for" in shown.text


async def test_two_people_who_scan_it_at_once_with_two_wallets_pay_once(rig: Rig) -> None:
    """F29: whoever is second is told, closed at the channel, or given their money back."""
    order = await rig.order()
    in_wechat, in_alipay = WalletBuyer(rig, order), WalletBuyer(rig, order, ALIPAY)
    await in_wechat.identify()
    for channel in ("wechat", "alipay"):
        await rig.faults(channel, close="paid_race")  # both are typing their passwords
    await asyncio.gather(
        in_wechat.choose(terminal="webview"), in_alipay.choose("alipay", "webview")
    )
    await in_alipay.choose("alipay", "webview")
    await open_the_cashier(rig, await in_alipay.get())
    await in_wechat.choose(terminal="webview")
    assert {each.product for each in (await rig.read(order)).attempts} == {"jsapi", "wap"}
    await pay_all(rig, order)
    paid = await rig.until_order(order, "paid")
    states = [each.state for each in paid.attempts]
    assert states.count(AttemptState.CAPTURED) == 1
    ledger = {entry["number"]: entry["captured"] for entry in await rig.ledger()}

    async def settled() -> bool:
        now = await rig.read(order)
        counted = {each.number for each in now.attempts if each.received_amount}
        return counted == {number for number, captured in ledger.items() if captured}

    await until(settled)  # what did not pay the order is known, and owed back
    states = [each.state for each in (await rig.read(order)).attempts]
    assert states.count(AttemptState.CAPTURED) == 1


async def test_after_a_payment_the_other_wallet_is_told(rig: Rig) -> None:
    order = await rig.order()
    in_wechat, in_alipay = WalletBuyer(rig, order), WalletBuyer(rig, order, ALIPAY)
    await in_wechat.identify()
    await in_wechat.choose(terminal="webview")
    await rig.pay((await rig.read(order)).attempts[0].number)
    await rig.until_order(order, "paid")
    assert (await in_alipay.get(await in_alipay.scan())).kind == "paid"
    assert (await in_alipay.choose("alipay", "webview")).kind == "paid"
    assert len((await rig.read(order)).attempts) == 1
