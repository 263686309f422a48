"""How an order of the shop gets paid: opened at PayOnce, and followed until its end is known.

News comes by webhook, and from the message queue where the shop may read it. Both can be lost, so
the shop also asks: once soon after checkout, whenever the buyer comes back, and by a scan of
everything unpaid. None of them is trusted more than another: whatever PayOnce says goes through
`apply`, which acts on it once.
"""

import asyncio
import logging
from typing import Literal

import aiohttp
import msgspec
from aiohttp import web
from standardwebhooks import Webhook

from gateway.sandbox.shop_orders import (
    ContradictionError,
    Draft,
    Order,
    OrderState,
    UnknownOrderError,
)
from gateway.sandbox.shop_payonce import PayOnce, RefusedError, UnavailableError
from gateway.sandbox.shop_store import Store, add, apply, begin_ask, close_unsent, due, get

log = logging.getLogger(__name__)

SCAN_BATCH = 20


class ShopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the shop stands. `database_path` is its SQLite file; URLs are without a last slash."""

    gateway_url: str
    api_key: str
    webhook_secret: str
    public_url: str
    database_path: str
    # The timer looks for unpaid orders this often.
    scan_interval_s: float = 5.0
    # An order is first asked after this long without news, then ever more seldom.
    ask_after_s: float = 5.0
    slowest_ask_s: float = 60.0
    # PayOnce's message queue, where the shop may read it, and whose events in it are ours.
    events_url: str | None = None
    merchant: str = ""
    # An entry that was read and not acknowledged for so long is taken over.
    claim_after_s: float = 30.0
    # The origin of PayOnce's checkout pages where it is not that of `gateway_url`.
    checkout_origin: str | None = None

    def __post_init__(self) -> None:
        for name in ("gateway_url", "public_url"):
            url: str = getattr(self, name)
            if not url.startswith(("http://", "https://")) or url.endswith("/"):
                raise ValueError(f"{name}: give http://... or https://... without a last slash")
        if self.events_url is not None:
            if not self.events_url.startswith(("redis://", "rediss://", "unix://")):
                raise ValueError("events_url: give redis://..., rediss://... or unix://...")
            if not self.merchant:
                raise ValueError("merchant: give our merchant id, to find our events by")
        for name in ("scan_interval_s", "ask_after_s", "slowest_ask_s", "claim_after_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: give a number of seconds above 0")
        if not self.api_key:
            raise ValueError("api_key: give the key that `payonce merchant add` printed")
        try:
            Webhook(self.webhook_secret)
        except Exception as error:
            raise ValueError("webhook_secret: give the merchant's secret, whsec_...") from error

    def __repr__(self) -> str:
        """Name the place and none of the secrets: settings end up in logs."""
        return f"ShopSettings(public_url={self.public_url!r}, gateway_url={self.gateway_url!r})"


class Shop:
    """What every request of the shop works with."""

    def __init__(self, settings: ShopSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.store = Store(settings.database_path)
        self.payonce = PayOnce(
            session,
            gateway_url=settings.gateway_url,
            api_key=settings.api_key,
            webhook_secret=settings.webhook_secret,
        )
        self.questions: set[asyncio.Task[None]] = set()

    def pause_after(self, asks: int) -> float:
        """Seconds until the next question after so many: doubling, up to `slowest_ask_s`."""
        return min(self.settings.ask_after_s * 2.0 ** min(asks, 30), self.settings.slowest_ask_s)


SHOP = web.AppKey("shop", Shop)


async def place(shop: Shop, draft: Draft) -> Order:
    """Write the shop's own order, then open it at PayOnce; answers it with its checkout URL.

    The order is ours before PayOnce hears of it, so a lost answer loses nothing: repeating this
    with the same number, or waiting for the scan, comes to the same order. Raises what `add` and
    `submit` raise.
    """
    settings = shop.settings
    order = await shop.store.run(add, draft, settings.public_url, settings.ask_after_s)
    if order.checkout_url is not None or order.state is not OrderState.UNPAID:
        return order
    question = asyncio.create_task(ask_later(shop, order.no))
    shop.questions.add(question)
    question.add_done_callback(shop.questions.discard)
    return await submit(shop, order)


async def submit(shop: Shop, order: Order) -> Order:
    """Open the order at PayOnce, or find it open there already.

    Raises UnavailableError (the order stays unpaid; try again) and RefusedError.
    """
    try:
        theirs = await shop.payonce.create(order)
    except RefusedError as refusal:
        if refusal.problem.code == "duplicate_submission":
            # PayOnce has not opened this order and never will; the first one is the buyer's.
            await shop.store.run(close_unsent, order.no)
        raise
    await shop.store.run(apply, theirs)
    return await shop.store.run(get, order.no)


async def ask(shop: Shop, no: str) -> None:
    """Bring one unpaid order up to date with PayOnce.

    Raises UnavailableError, RefusedError, UnknownOrderError, ContradictionError.
    """
    order = await shop.store.run(begin_ask, no, shop.pause_after)
    if order is None:
        return
    if order.payonce_order is None:
        # The answer to opening it was lost, or never came: open it again, by the same number.
        await submit(shop, order)
    else:
        await shop.store.run(apply, await shop.payonce.ask(order.payonce_order))


async def try_to_ask(shop: Shop, no: str) -> Literal["asked", "refused", "unavailable"]:
    """Ask where nobody waits for the answer; trouble is logged, and the order is asked again."""
    try:
        await ask(shop, no)
    except UnavailableError as error:
        log.warning("order %s: PayOnce is unavailable: %s", no, error)
        return "unavailable"
    except (RefusedError, UnknownOrderError, ContradictionError) as error:
        log.error("order %s: %s", no, error)
        return "refused"
    return "asked"


async def ask_later(shop: Shop, no: str) -> None:
    """Ask once when no webhook has come in time after checkout."""
    await asyncio.sleep(shop.settings.ask_after_s)
    await try_to_ask(shop, no)


async def scan(shop: Shop) -> None:
    """Ask about every unpaid order that is due, however old, a batch at a time.

    It stops when PayOnce does not answer: a gateway that is down is not helped by more calls, and
    what is left is still due at the next scan.
    """
    while batch := await shop.store.run(due, SCAN_BATCH):
        results = await asyncio.gather(*(try_to_ask(shop, no) for no in batch))
        if "unavailable" in results:
            return


async def scan_forever(shop: Shop) -> None:
    """Scan every `scan_interval_s`, whatever happens to one scan."""
    while True:
        try:
            await scan(shop)
        except Exception:
            log.exception("a scan failed; the next one starts from the table again")
        await asyncio.sleep(shop.settings.scan_interval_s)
