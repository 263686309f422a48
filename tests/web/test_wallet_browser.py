"""Who came by the one code: the wallet's button is pressed for them when the page is seen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from playwright.async_api import Browser, Page, expect

from gateway.model import Order
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys
from gateway.settings import Settings
from tests import rig as rigs
from tests.rig import Rig, until
from tests.web.wallets import ALIPAY

pytestmark = pytest.mark.asyncio(loop_scope="session")

_HIDDEN: Final = """
Object.defineProperty(document, "visibilityState", {
  get: () => window.seen ? "visible" : "hidden",
});
"""
_SHOW: Final = "window.seen = true; document.dispatchEvent(new Event('visibilitychange'));"


@pytest_asyncio.fixture(loop_scope="session")
async def rig(keys: SandboxKeys, database_url: str, redis_url: str) -> AsyncIterator[Rig]:
    """The product with Alipay, in the browser's loop."""
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        port=free_port(),
        secret_keys=(Fernet.generate_key().decode(),),
    )
    async with rigs.running_rig(settings, keys, worker=False, alipay=True) as rig:
        yield rig


@asynccontextmanager
async def page_in_alipay(browser: Browser, *, hidden: bool = False) -> AsyncIterator[Page]:
    async with await browser.new_context(user_agent=ALIPAY, locale="en-US") as context:
        page = await context.new_page()
        if hidden:
            await page.add_init_script(_HIDDEN)
        yield page


async def attempts(rig: Rig, order: Order) -> int:
    return len((await rig.read(order)).attempts)


async def test_a_page_that_is_not_seen_presses_nothing_until_it_is(
    browser: Browser, rig: Rig
) -> None:
    order = await rig.order()
    async with page_in_alipay(browser, hidden=True) as page:
        await page.goto(f"{rig.url}/q/{order.token}")
        assert page.url == f"{rig.url}/checkout/{order.token}?go=1"
        assert await attempts(rig, order) == 0, "its scripts have run by now"
        await page.evaluate(_SHOW)
        await page.wait_for_url(f"{rig.sandbox_url}/**")
        assert await attempts(rig, order) == 1


async def test_somebody_elses_payment_is_not_taken_over_by_scanning(
    browser: Browser, rig: Rig
) -> None:
    order = await rig.order()
    await rig.apply(order)
    async with page_in_alipay(browser) as page:
        await page.goto(f"{rig.url}/q/{order.token}")
        await expect(page.get_by_text("Paying here takes its place")).to_be_visible()
        assert page.url == f"{rig.url}/checkout/{order.token}", "the scripts have run"
        assert await attempts(rig, order) == 1
        await page.get_by_role("button", name="Alipay").click()
        await page.wait_for_url(f"{rig.sandbox_url}/**")

    async def taken_over() -> bool:
        offered = (await rig.read(order)).offered
        return offered is not None and offered.channel == "alipay"

    await until(taken_over)


async def test_the_code_of_one_channel_takes_the_place_of_the_one_for_all(
    browser: Browser, rig: Rig
) -> None:
    order = await rig.order()
    async with await browser.new_context(
        viewport={"width": 1280, "height": 800}, locale="en-US"
    ) as context:
        page = await context.new_page()
        await page.goto(f"{rig.url}/checkout/{order.token}")
        before = await page.locator(".code").bounding_box()
        await page.get_by_role("button", name="Alipay").click()
        await expect(page.locator("#checkout")).to_have_attribute("data-kind", "scan")
        assert await page.locator(".code").bounding_box() == before
