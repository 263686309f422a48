"""A buyer with a browser: what they press, what they see, and what goes wrong behind their back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, Page, Request, Response, expect
from playwright.async_api import Error as PlaywrightError

from tests.e2e.checkout import WATCH, turns
from tests.e2e.eye import read_code
from tests.e2e.program import REPOSITORY, Ready

PICTURES: Final = REPOSITORY / "test-results" / "walk"
_IPHONE: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)


class Words(Struct, frozen=True):
    """What stands on the shop's buttons."""

    locale: str
    add: str
    check_out: str
    awaiting_shipment: str


CHINESE: Final = Words("zh-CN", "加入购物车", "去结算", "待发货")
ENGLISH: Final = Words("en-US", "Add to cart", "Check out", "Awaiting shipment")


async def picture_of_code(page: Page) -> bytes:
    """Take a picture of the code; where the page is drawn anew meanwhile, of the new one."""
    for _ in range(4):
        with suppress(PlaywrightError):
            return await page.locator(".code").screenshot()
    return await page.locator(".code").screenshot()


class Buyer:
    """One person in one browser. `complaints` is what the browser said against our pages."""

    def __init__(self, context: BrowserContext, ready: Ready, words: Words, album: str) -> None:
        self.complaints: list[str] = []
        self.words = words
        self.context = context
        self._ready = ready
        self._album = album
        self._pictures = 0
        context.on("console", lambda message: self._note_console(message.type, message.text))
        context.on("weberror", lambda error: self.complaints.append(f"thrown: {error.error}"))
        context.on("requestfailed", self._note_failure)
        context.on("response", self._note_response)

    async def open(self, url: str) -> Page:
        page = await self.context.new_page()
        await page.goto(url)
        return page

    async def order_something(self, currency: str = "CNY") -> Page:
        """Walk from the shelf to the checkout page."""
        page = await self.open(f"{self._ready.shop_url}/?currency={currency}")
        await self.picture(page, "shelf")
        await page.get_by_role("button", name=self.words.add).first.click()
        await expect(page.locator("#cart .total")).to_be_visible()
        await self.picture(page, "cart")
        await page.get_by_role("button", name=self.words.check_out).click()
        await turns(page, "choose")
        await self.picture(page, "checkout")
        return page

    async def show_code(self, page: Page, channel: str = "wechat") -> str:
        """Press a channel's button on the checkout page, and scan what it shows."""
        await page.locator(f"[data-apply] button[value={channel}]").first.click()
        await turns(page, "scan", within_s=15)
        await expect(page.locator(".code svg")).to_be_visible()
        await self.picture(page, "code")
        return read_code(await picture_of_code(page))

    async def open_wallet(self, page: Page, channel: str = "wechat") -> None:
        """Press a channel's button on the checkout page, which opens the wallet in its place."""
        await page.locator(f"[data-apply] button[value={channel}]").first.click()
        await page.wait_for_url(f"{self._ready.sandbox_url}/**")
        await self.picture(page, "wallet")

    async def scan(self, code: str) -> Page:
        """Open the wallet, and tell it what was scanned."""
        page = await self.open(f"{self._ready.sandbox_url}/wallet")
        await self.picture(page, "wallet")
        await page.get_by_role("textbox").fill(code)
        await page.locator("button.go").click()
        return page

    async def scan_and_pay(self, code: str) -> None:
        """Scan what is a payment, and confirm."""
        page = await self.scan(code)
        await self.confirm(page)
        await expect(page.locator(".result.paid")).to_be_visible()
        await self.picture(page, "receipt")

    async def open_wallet_by_link(self, page: Page) -> None:
        """Without scripts the button posts a form, and the page that follows has the link."""
        await page.locator("[data-apply] button").first.click()
        await turns(page, "open")
        await self.picture(page, "open")
        await page.locator(".actions a").first.click()
        await page.wait_for_url(f"{self._ready.sandbox_url}/**")

    async def confirm(self, page: Page) -> None:
        """Confirm the payment that the wallet shows."""
        await expect(page.locator(".slip")).to_be_visible()
        await self.picture(page, "slip")
        await page.locator("button.go").click()

    async def back_at_the_shop(self, page: Page) -> None:
        """See that the goods are about to leave."""
        await page.wait_for_url(f"{self._ready.shop_url}/orders/*")
        await expect(page.get_by_role("status")).to_contain_text(self.words.awaiting_shipment)
        await self.picture(page, "shipment")

    async def refuse_sockets(self) -> None:
        """Be where sockets do not pass."""
        await self.context.route_web_socket("**/ws", lambda socket: socket.close())

    def forgive(self, said: str) -> None:
        """Strike out complaints that had to come; there must have been some."""
        kept = [complaint for complaint in self.complaints if said not in complaint]
        assert len(kept) < len(self.complaints)
        self.complaints = kept

    async def picture(self, page: Page, what: str) -> None:
        """Keep a picture of the whole page; nothing on it is wider than the screen."""
        self._pictures += 1
        name = f"{self._album}-{self._pictures:02}-{what}.png"
        await page.screenshot(path=PICTURES / name, full_page=True)
        await expect_no_sideways_scroll(page)

    def _note_console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _note_failure(self, request: Request) -> None:
        # Leaving a page ends what it was waiting for; that is no failure.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")


@asynccontextmanager
async def buyer_at_pc(
    browser: Browser, ready: Ready, album: str, words: Words = CHINESE, *, scripts: bool = True
) -> AsyncIterator[Buyer]:
    """A person at a PC; the browser must have nothing to complain of in the end."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 800},
        locale=words.locale,
        java_script_enabled=scripts,
    )
    async with _buyer(context, Buyer(context, ready, words, album)) as buyer:
        yield buyer


@asynccontextmanager
async def buyer_on_phone(
    browser: Browser,
    ready: Ready,
    album: str,
    words: Words = CHINESE,
    *,
    scripts: bool = True,
    inside: str = "",
) -> AsyncIterator[Buyer]:
    """A person with a phone; the browser must have nothing to complain of in the end.

    `inside` is how an app names itself whose own browser it is.
    """
    context = await browser.new_context(
        viewport={"width": 390, "height": 844},
        user_agent=f"{_IPHONE} {inside}".rstrip(),
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
        locale=words.locale,
        java_script_enabled=scripts,
    )
    async with _buyer(context, Buyer(context, ready, words, album)) as buyer:
        yield buyer


@asynccontextmanager
async def _buyer(context: BrowserContext, buyer: Buyer) -> AsyncIterator[Buyer]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES.parent / ".gitignore").write_text("*\n")
    await context.add_init_script(WATCH)
    async with context:
        yield buyer
        assert buyer.complaints == []


async def expect_no_sideways_scroll(page: Page) -> None:
    """Nothing reaches over the right edge of the screen."""
    viewport = page.viewport_size
    assert viewport is not None
    for part in ("header", "main", "footer"):
        for element in await page.locator(part).all():
            box = await element.bounding_box()
            assert box is None or box["x"] + box["width"] <= viewport["width"]
