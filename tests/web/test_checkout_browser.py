"""The page in a real Chromium: what its scripts do, also where sockets do not pass."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from msgspec import Struct
from playwright.async_api import Browser, Page, Route, ViewportSize, WebSocketRoute, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from gateway.model import Order
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys
from gateway.settings import Settings
from tests import rig as rigs
from tests.push.watched import change, publish
from tests.rig import Rig, until
from tests.web.buyer import PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESK_SIZE: Final = ViewportSize(width=1280, height=800)
PHONE_SIZE: Final = ViewportSize(width=390, height=844)
WAKING_S: Final = 3.0  # within which a page that wakes shows what happened meanwhile


@pytest_asyncio.fixture(loop_scope="session")
async def rig(keys: SandboxKeys, database_url: str, redis_url: str) -> AsyncIterator[Rig]:
    """The product, in the browser's loop."""
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        port=free_port(),
        secret_keys=(Fernet.generate_key().decode(),),
    )
    async with rigs.running_rig(settings, keys, worker=False) as rig:
        yield rig


class Tab(Struct):
    """A page with what the browser complained of while it was open."""

    page: Page
    rig: Rig
    order: Order
    complaints: list[str]

    @property
    def url(self) -> str:
        return f"{self.rig.url}/checkout/{self.order.token}"

    def note(self, line: str) -> None:
        """Note what the browser says, but for requests that failed: tests make them fail."""
        if not re.search(r"Failed to load resource|WebSocket connection to", line):
            self.complaints.append(line)

    async def open(self) -> None:
        await self.page.goto(self.url)

    async def choose(self) -> None:
        await self.page.get_by_role("button", name=re.compile("显示二维码|微信支付")).first.click()

    async def pay(self) -> None:
        """The wallet pays the attempt that is offered."""

        async def offered() -> str | None:
            attempt = (await self.rig.read(self.order)).offered
            return attempt.number if attempt and attempt.next_action else None

        await self.rig.pay(await until(offered))

    async def shows(self, text: str, within_s: float = 10.0) -> None:
        await expect(self.page.locator("#checkout h2")).to_contain_text(
            text, timeout=within_s * 1000
        )


@asynccontextmanager
async def tab(
    browser: Browser,
    rig: Rig,
    *,
    phone: bool = False,
    scripts: bool = True,
    locale: str = "zh-CN",
) -> AsyncIterator[Tab]:
    """A tab on an order; it fails the test when the page broke a rule or threw an error."""
    order = await rig.order()
    context = await browser.new_context(
        viewport=PHONE_SIZE if phone else DESK_SIZE,
        user_agent=PHONE if phone else None,
        locale=locale,
        java_script_enabled=scripts,
    )
    async with context:
        page = await context.new_page()
        opened = Tab(page, rig, order, [])
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("console", lambda line: opened.note(line.text))
        yield opened
        assert opened.complaints == []


async def test_on_a_pc_the_page_turns_to_paid_by_itself(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        visits: list[str] = []
        shop.page.on("framenavigated", lambda frame: visits.append(frame.url))
        await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await expect(shop.page.get_by_role("img", name="微信支付二维码")).to_be_visible()
        await shop.pay()
        await shop.shows("支付成功")
        await expect(shop.page).to_have_title(re.compile("已支付"))
        await expect(shop.page.locator("#say")).to_have_text("支付成功")
        assert visits == [shop.url], "it never jumps away"


async def test_a_double_click_is_one_request(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        posts: list[str] = []
        shop.page.on(
            "request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None
        )
        await shop.open()
        await shop.page.get_by_role("button", name="显示二维码").dblclick()
        await shop.shows("用手机扫码付款")
        assert len(posts) == 1
        assert len((await rig.read(shop.order)).attempts) == 1


async def test_a_lost_answer_is_asked_for_again(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        lost = 0

        async def lose(route: Route) -> None:
            nonlocal lost
            lost += 1
            if lost == 1:
                await route.fetch()  # it was done, and nobody heard of it
                await route.abort()
            else:
                await route.continue_()

        await shop.page.route("**/attempts", lose)
        await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await until(lambda: lost == 2)
        assert len((await rig.read(shop.order)).attempts) == 1


async def test_a_channel_that_does_not_answer_is_asked_again_and_then_said(
    browser: Browser, rig: Rig
) -> None:
    async with tab(browser, rig) as shop:
        await shop.open()
        await rig.faults(
            error={"verb": "create", "status": 500, "after_executing": False, "times": 99}
        )
        await shop.choose()
        await shop.shows("微信支付没有应答", within_s=20)
        await rig.faults(reset=True)
        await shop.page.get_by_role("button", name="重试").click()
        await shop.shows("用手机扫码付款")
        assert len((await rig.read(shop.order)).attempts) == 1


async def test_a_refusal_stays_on_the_page_until_the_next_choice(
    browser: Browser, rig: Rig
) -> None:
    async with tab(browser, rig) as shop:
        await shop.open()
        await rig.faults(
            error={"verb": "create", "status": 403, "after_executing": False, "times": 1}
        )
        await shop.choose()
        said = "支付渠道拒绝了这笔付款"
        refusal = shop.page.locator("#checkout").get_by_text(said)
        await expect(refusal).to_be_visible()
        await expect(shop.page.locator("#say")).to_contain_text(said)
        async with shop.page.expect_response("**/fragment?problem=channel_refused"):
            version = await change(rig.desk.pool, shop.order.id)
            await publish(rig.desk.redis, shop.order.id, version)
        await expect(refusal).to_be_visible()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await expect(refusal).to_be_hidden()


async def test_where_sockets_do_not_pass_the_page_waits_on_the_status(
    browser: Browser, rig: Rig
) -> None:
    async with tab(browser, rig) as shop:
        await shop.page.route_web_socket("**/ws", refuse)
        async with shop.page.expect_request(re.compile(r"/status\?version=\d+&wait=25")):
            await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await shop.pay()
        await shop.shows("支付成功")


async def test_where_nothing_can_wait_the_page_polls(browser: Browser, rig: Rig) -> None:
    """F25: sockets and long-polls fail, and the page shows the payment all the same."""
    async with tab(browser, rig) as shop:
        await shop.page.route_web_socket("**/ws", refuse)
        await shop.page.route(re.compile(r"wait=25"), lambda route: route.abort())
        await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await shop.pay()
        await shop.shows("支付成功", within_s=20)


async def test_a_page_that_wakes_with_a_dead_socket_asks_at_once(
    browser: Browser, rig: Rig
) -> None:
    """F25: the phone slept, the socket died without a word, the buyer paid, the phone wakes."""
    async with tab(browser, rig, phone=True) as shop:
        await shop.page.route_web_socket("**/ws", go_silent)
        await shop.open()
        await rig.apply(shop.order)
        await shop.pay()
        await rig.until_order(shop.order, "paid")
        await expect(shop.page.locator("#checkout")).to_have_attribute("data-kind", "choose")
        await shop.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await shop.shows("支付成功", within_s=WAKING_S)


async def test_a_socket_that_died_on_its_way_is_found_out(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        await shop.page.route_web_socket("**/ws", go_silent)
        await shop.page.clock.install()
        await shop.open()
        await rig.apply(shop.order)
        await shop.pay()
        await rig.until_order(shop.order, "paid")
        await expect(shop.page.locator("#checkout")).to_have_attribute("data-kind", "choose")
        # In steps that are shorter than the deadline of a request: its answer takes real time, and
        # a clock that jumps over the deadline would have the page give up on it.
        paid = shop.page.locator("#checkout[data-kind=paid]")
        for _ in range(30):
            await shop.page.clock.run_for(5_000)
            with suppress(PlaywrightTimeoutError):
                await paid.wait_for(timeout=500)
                break
        await shop.shows("支付成功")


async def test_a_page_that_was_offline_says_so_and_catches_up(browser: Browser, rig: Rig) -> None:
    """F25: nothing reaches the phone while it is paid; back on line it shows it."""
    async with tab(browser, rig) as shop:
        await shop.page.route_web_socket("**/ws", refuse)
        await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await shop.page.context.set_offline(True)
        await expect(shop.page.locator("#offline")).to_be_visible(timeout=20_000)
        await shop.pay()
        await rig.until_order(shop.order, "paid")
        await shop.page.context.set_offline(False)
        await shop.shows("支付成功", within_s=WAKING_S)
        await expect(shop.page.locator("#offline")).to_be_hidden()


async def test_an_answer_that_was_overtaken_is_not_drawn(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        await shop.open()
        old = await shop.page.evaluate(
            "fetch(location.pathname + '/fragment').then((r) => r.text())"
        )
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await shop.page.route("**/fragment", lambda route: route.fulfill(body=old))
        async with shop.page.expect_response("**/fragment"):
            await shop.page.evaluate(
                "document.dispatchEvent(new CustomEvent('checkout-changed', { detail: '' }))"
            )
        await shop.shows("用手机扫码付款")


async def test_a_code_that_is_too_old_gives_way_to_a_button(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        await rig.apply(shop.order)
        await rig.desk.redis.flushdb()  # the cached answer is younger than any code that expires
        async with rig.desk.pool.acquire() as conn:
            await conn.execute(
                "UPDATE attempts SET next_action_until = now() + interval '3 seconds'"
            )
        await shop.open()
        await shop.shows("用手机扫码付款")
        await shop.shows("二维码已过期")
        await shop.page.get_by_role("button", name="刷新").click()
        await shop.shows("用手机扫码付款")
        assert len((await rig.read(shop.order)).attempts) == 1


async def test_on_a_phone_one_tap_leads_to_the_wallet_and_back(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig, phone=True) as shop:
        await shop.open()
        await shop.choose()
        await expect(shop.page).to_have_url(re.compile(re.escape(rig.sandbox_url)))
        await rig.faults(drop_callbacks=1)
        await shop.pay()
        attempt = (await rig.read(shop.order)).attempts[0]
        await shop.page.goto(f"{shop.url}/return/{attempt.id}")
        await shop.shows("支付成功")


async def test_after_paying_the_buyer_is_taken_back_unless_they_stay(
    browser: Browser, rig: Rig
) -> None:
    for stays in (True, False):
        async with tab(browser, rig) as shop:
            await shop.page.context.route("https://shop.example/**", arrive)
            async with rig.desk.pool.acquire() as conn:
                await conn.execute("UPDATE orders SET return_url = 'https://shop.example/orders/1'")
            await shop.open()
            await shop.choose()
            await shop.shows("用手机扫码付款")
            await shop.page.clock.install()
            await shop.pay()
            await shop.shows("支付成功")
            await expect(shop.page.get_by_text("即将自动返回")).to_be_visible()
            if stays:
                await shop.page.get_by_role("button", name="留在此页").click()
            await shop.page.clock.run_for(10_000)
            home = shop.url if stays else "https://shop.example/orders/1"
            await expect(shop.page).to_have_url(home)


async def test_a_page_of_a_paid_order_stays(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        async with rig.desk.pool.acquire() as conn:
            await conn.execute("UPDATE orders SET return_url = 'https://shop.example/orders/1'")
        await rig.apply(shop.order)
        await shop.pay()
        await rig.until_order(shop.order, "paid")
        await shop.page.clock.install()
        await shop.open()
        await shop.page.clock.run_for(10_000)
        await expect(shop.page).to_have_url(shop.url)
        await expect(shop.page.get_by_role("link", name="返回Demo")).to_be_visible()


async def test_two_tabs_show_the_same(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig) as shop:
        await shop.open()
        second = await shop.page.context.new_page()
        await second.goto(shop.url)
        await shop.choose()
        for page in (shop.page, second):
            await expect(page.locator("#checkout h2")).to_contain_text("用手机扫码付款")
        await shop.pay()
        for page in (shop.page, second):
            await expect(page.locator("#checkout h2")).to_contain_text("支付成功")


async def test_without_scripts_the_page_turns_to_paid_too(browser: Browser, rig: Rig) -> None:
    async with tab(browser, rig, scripts=False) as shop:
        await shop.open()
        await shop.choose()
        await shop.shows("用手机扫码付款")
        await shop.pay()
        await shop.shows("支付成功")


@pytest.mark.parametrize("phone", [False, True], ids=["PC", "phone"])
async def test_nothing_jumps_and_nothing_is_wider_than_the_screen(
    browser: Browser, rig: Rig, *, phone: bool
) -> None:
    async with tab(browser, rig, phone=phone) as shop:
        await shop.open()
        place = shop.page.locator(".amount" if phone else ".code")
        before = await place.bounding_box()
        width: int = await shop.page.evaluate("document.documentElement.scrollWidth")
        assert width <= (PHONE_SIZE if phone else DESK_SIZE)["width"]
        await rig.apply(shop.order)
        await shop.shows("用另一部手机扫码付款" if phone else "用手机扫码付款")
        assert await place.bounding_box() == before


async def test_the_keyboard_reaches_the_code_and_keeps_its_place(
    browser: Browser, rig: Rig
) -> None:
    async with tab(browser, rig) as shop:
        await shop.open()
        await shop.page.get_by_role("button", name="显示二维码").focus()
        await shop.page.keyboard.press("Enter")
        await shop.shows("用手机扫码付款")
        focused = await shop.page.evaluate("document.activeElement.tagName")
        assert focused == "H2", "what changed under the fingers is where the reader is"
        await shop.page.keyboard.press("Tab")
        assert await shop.page.evaluate("document.activeElement.href") is not None


async def refuse(socket: WebSocketRoute) -> None:
    """A proxy that lets no socket through."""
    await socket.close(code=1011)


def go_silent(socket: WebSocketRoute) -> None:
    """A socket that says how things stand and then nothing more, without closing."""
    server = socket.connect_to_server()

    def relay(message: str | bytes) -> None:
        if '"version":1,' in str(message):
            socket.send(message)

    server.on_message(relay)
    server.on_close(lambda _code, _reason: None)


async def arrive(route: Route) -> None:
    await route.fulfill(body="<h1>shop</h1>", content_type="text/html")
