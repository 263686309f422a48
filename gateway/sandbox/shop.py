"""The demo shop: a merchant's order service, and the reference for integrating PayOnce.

It is a separate program with its own storage, and knows of PayOnce only what the public contract
says. To integrate, read these files in this order:

1. `shop_payonce.py`: the two calls and the webhook, verified;
2. `shop_paying.py`: opening an order so that a retry is harmless, and asking when nothing comes;
3. `apply` in `shop_store.py`: acting on what PayOnce says exactly once;
4. `shop_queue.py`, if you may read PayOnce's message queue: the same news from a consumer group.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import aiohttp_jinja2
import jinja2
from aiohttp import web

from gateway.sandbox import shop_api, shop_control, shop_pages
from gateway.sandbox.shop_orders import ContradictionError, UnknownOrderError
from gateway.sandbox.shop_paying import SHOP, Shop, ShopSettings, scan_forever
from gateway.sandbox.shop_payonce import ForgedError, MalformedError
from gateway.sandbox.shop_queue import listen_forever
from gateway.sandbox.shop_store import apply

__all__ = ["ShopSettings", "shop_app"]

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
BODY_LIMIT = 64 * 1024


def shop_app(settings: ShopSettings) -> web.Application:
    """The shop, ready to be served; it opens its storage and starts its timer on start-up."""
    app = web.Application(
        client_max_size=BODY_LIMIT,
        middlewares=[shop_control.misbehave],
    )
    app.on_response_prepare.append(shop_pages.guard_answer)
    app[shop_control.CONTROL] = shop_control.Control()
    pages = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["price"] = shop_pages.format_price
    pages.filters["time"] = shop_pages.format_time
    app.add_routes(
        [
            web.get("/", shop_pages.show_shelf),
            web.post("/cart", shop_pages.change_cart),
            web.post("/cart/checkout", shop_pages.check_out),
            web.get("/orders", shop_pages.list_orders),
            web.get("/orders/{no}", shop_pages.show_order),
            web.post("/orders/{no}/pay", shop_pages.pay_order),
            web.post("/webhooks/payonce", receive),
            web.get("/api/products", shop_api.list_products),
            web.get("/api/orders", shop_api.list_orders),
            web.post("/api/orders", shop_api.create_order),
            web.get("/api/orders/{no}", shop_api.show_order),
            web.post("/_control/faults", shop_control.set_faults),
            web.get("/_control/received", shop_control.list_received),
            web.static("/static", HERE / "static"),
        ]
    )
    app.cleanup_ctx.append(lambda app: keep_shop(app, settings))
    return app


async def keep_shop(app: web.Application, settings: ShopSettings) -> AsyncIterator[None]:
    """Open the shop, scan and listen while it is open, and close it in the opposite order."""
    async with aiohttp.ClientSession() as session:
        shop = app[SHOP] = Shop(settings, session)
        await shop.store.open()
        running = [asyncio.create_task(scan_forever(shop))]
        if settings.events_url is not None:
            running.append(asyncio.create_task(listen_forever(shop, settings.events_url)))
        yield
        for task in (*running, *shop.questions):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await shop.store.close()


async def receive(request: web.Request) -> web.Response:
    """POST /webhooks/payonce: hear that something happened to an order, and act on it once.

    2xx is answered only after the commit: PayOnce repeats whatever was not answered so. News of
    an order that we do not know, or that is not as we wrote it down, is refused and not swallowed:
    money may stand behind it, and a webhook that keeps failing ends before PayOnce's operator.
    """
    shop = request.app[SHOP]
    body = await request.read()
    try:
        event = shop.payonce.read_webhook(request.headers, body)
        effect = await shop.store.run(apply, event.data.order, event.id)
    except ForgedError:
        return web.json_response({"error": "the signature is not PayOnce's"}, status=401)
    except MalformedError as error:
        return web.json_response({"error": str(error)}, status=400)
    except UnknownOrderError as error:
        return web.json_response({"error": str(error)}, status=404)
    except ContradictionError as error:
        log.error("a webhook was refused: %s", error)
        return web.json_response({"error": str(error)}, status=409)
    return web.json_response({"effect": effect})
