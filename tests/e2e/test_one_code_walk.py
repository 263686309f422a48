"""One code at a PC, scanned by three wallets and a camera; and what each of them does with it.

Pictures of every step are left in test-results/walk.
"""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.buyer import (
    ENGLISH,
    Buyer,
    buyer_at_pc,
    buyer_on_phone,
    picture_of_code,
)
from tests.e2e.checkout import order_no_on, turns
from tests.e2e.eye import read_code
from tests.e2e.town import Town
from tests.e2e.wechat import ALIPAY, UNIONPAY, WECHAT, WeChat

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def the_one_code(page: Page, town: Town) -> str:
    """Read the code that the page shows before anything was chosen."""
    code = read_code(await picture_of_code(page))
    assert code.startswith(f"{town.ready.gateway_url}/q/")
    assert (await town.order(await order_no_on(page))).attempts == ()
    return code


async def paid_on_both(pc: Buyer, page: Page, phone: Buyer, scanned: Page) -> None:
    """Both pages say so, and the one at the PC never went anywhere."""
    await turns(scanned, "paid")
    await phone.picture(scanned, "paid")
    await turns(page, "paid")
    await pc.picture(page, "paid")


async def test_wechat_scans_it_says_who_is_there_and_pays_in_its_own_browser(
    browser: Browser, town: Town
) -> None:
    album = "one-code-wechat"
    async with (
        buyer_at_pc(browser, town.ready, album) as pc,
        buyer_on_phone(browser, town.ready, f"{album}-phone", inside=WECHAT) as phone,
    ):
        wechat = WeChat(phone, town.ready, will="cancel")
        await wechat.install()
        page = await pc.order_something()
        scanned = await phone.scan(await the_one_code(page, town))
        await turns(scanned, "open")
        cancelled = scanned.locator("[data-said=cancel]")
        await expect(cancelled).to_be_visible()
        await phone.picture(scanned, "cancelled")
        await expect(page.locator(".live")).to_be_visible()
        await pc.picture(page, "opened-on-a-phone")
        wechat.will = "pay"
        await scanned.locator("[data-jsapi]").click()
        await paid_on_both(pc, page, phone, scanned)
        assert wechat.asked == 2
        attempt = await town.attempt(await order_no_on(page))
        assert attempt.state == "captured", "one attempt, and no second one by the second tap"
        assert "payonce_payer" not in await scanned.evaluate("document.cookie")


async def test_loading_again_and_going_back_press_nothing(browser: Browser, town: Town) -> None:
    order = await town.place_order()
    async with buyer_on_phone(browser, town.ready, "one-code-again", inside=WECHAT) as phone:
        wechat = WeChat(phone, town.ready, will="cancel")
        await wechat.install()
        page = await phone.scan(order.checkout_url.replace("/checkout/", "/q/"))
        await expect(page.locator("[data-said=cancel]")).to_be_visible()
        assert page.url == order.checkout_url
        await page.reload()
        await turns(page, "open")
        await expect(page.locator("[data-jsapi]")).to_be_visible()
        await page.goto(f"{town.ready.sandbox_url}/wallet")
        await page.go_back()
        await turns(page, "open")
        assert wechat.asked == 1
        assert len((await town.order(order.no)).attempts) == 1


async def test_alipay_scans_it_and_opens_its_cashier(browser: Browser, town: Town) -> None:
    album = "one-code-alipay"
    async with (
        buyer_at_pc(browser, town.ready, album, ENGLISH) as pc,
        buyer_on_phone(browser, town.ready, f"{album}-phone", ENGLISH, inside=ALIPAY) as phone,
    ):
        page = await pc.order_something()
        scanned = await phone.scan(await the_one_code(page, town))
        await scanned.wait_for_url(f"{town.ready.sandbox_url}/**")
        await phone.confirm(scanned)
        await paid_on_both(pc, page, phone, scanned)


async def test_unionpay_scans_it_and_opens_its_page(browser: Browser, town: Town) -> None:
    async with (
        buyer_at_pc(browser, town.ready, "one-code-unionpay") as pc,
        buyer_on_phone(browser, town.ready, "one-code-unionpay-phone", inside=UNIONPAY) as phone,
    ):
        page = await pc.order_something()
        scanned = await phone.scan(await the_one_code(page, town))
        await phone.confirm(scanned)
        await scanned.wait_for_url("**/unionpay/front/*")
        await scanned.locator("button.go").click()
        await paid_on_both(pc, page, phone, scanned)


async def test_a_camera_scans_it_and_finds_the_page(browser: Browser, town: Town) -> None:
    async with (
        buyer_at_pc(browser, town.ready, "one-code-camera", ENGLISH) as pc,
        buyer_on_phone(browser, town.ready, "one-code-camera-phone", ENGLISH) as phone,
    ):
        page = await pc.order_something()
        scanned = await phone.scan(await the_one_code(page, town))
        await expect(scanned.locator(".address")).to_contain_text("/q/")
        await phone.picture(scanned, "a-web-page")
        await scanned.locator("a.go").click()
        await turns(scanned, "choose")
        await phone.open_wallet(scanned, "alipay")
        await phone.confirm(scanned)
        await paid_on_both(pc, page, phone, scanned)


async def test_a_page_without_scripts_in_a_wallet_needs_one_tap_more(
    browser: Browser, town: Town
) -> None:
    order = await town.place_order()
    async with buyer_on_phone(
        browser, town.ready, "one-code-bare", scripts=False, inside=ALIPAY
    ) as phone:
        page = await phone.scan(order.checkout_url.replace("/checkout/", "/q/"))
        await turns(page, "choose")
        await phone.picture(page, "choose")
        await phone.open_wallet_by_link(page)
        await phone.confirm(page)
        await turns(page, "paid")


async def test_wechat_that_refuses_says_so_and_the_way_on_is_there(
    browser: Browser, town: Town
) -> None:
    """The browser is another person's meanwhile: WeChat pays only for whom it was made."""
    order = await town.place_order()
    async with buyer_on_phone(browser, town.ready, "wechat-refuses", inside=WECHAT) as phone:
        wechat = WeChat(phone, town.ready, will="cancel")
        await wechat.install()
        page = await phone.scan(order.checkout_url.replace("/checkout/", "/q/"))
        await expect(page.locator("[data-said=cancel]")).to_be_visible()
        await phone.context.clear_cookies(name=re.compile("sandbox_wechat_person"))
        wechat.will = "pay"
        await page.locator("[data-jsapi]").click()
        await expect(page.locator("[data-said=fail]")).to_be_visible()
        await phone.picture(page, "refused")
        await page.locator("[data-said=fail] a").click()
        await turns(page, "choose")
        await phone.picture(page, "another-person")
        await page.locator("[data-apply] button[value=wechat]").click()
        await turns(page, "paid")
