"""The shop's pages: shelf and cart, checkout, orders. They need no JavaScript.

The cart and the buyer's name for this shop are cookies; an order is reached by its number, which
cannot be guessed.
"""

import asyncio
import contextlib
import datetime as dt
import re
import secrets
from collections.abc import Mapping

import aiohttp_jinja2
from aiohttp import web
from yarl import URL

from gateway.sandbox.shop_orders import (
    Currency,
    Draft,
    Item,
    Order,
    OrderState,
    Product,
    SoldOutError,
    new_number,
    price_in,
)
from gateway.sandbox.shop_paying import SHOP, ShopSettings, place, submit, try_to_ask
from gateway.sandbox.shop_payonce import Problem, RefusedError, UnavailableError
from gateway.sandbox.shop_store import find, latest, products
from gateway.sandbox.shop_words import Words, choose

ASK_ON_VIEW_S = 2.0
MOST_OF_ONE = 20
MOST_LISTED = 50
YEAR_S = 365 * 24 * 3600
BUYER = re.compile(r"buyer_[0-9a-f]{24}")
CART_LINE = re.compile(r"([a-z-]{1,40}):([1-9]\d?)(?!\d)")
NUMBER = re.compile(r"S\d{8}[0-9A-F]{12}")
SIGNS: Mapping[Currency, str] = {"CNY": "¥", "USD": "$", "BRL": "R$"}
BEIJING = dt.timezone(dt.timedelta(hours=8))


def format_price(minor: int, currency: Currency) -> str:
    """Write minor units with the currency's sign: 12800 is ¥128.00."""
    return f"{SIGNS[currency]}{minor // 100:,}.{minor % 100:02d}"


def format_time(at: float) -> str:
    """Write a moment as the shop's wall clock shows it."""
    return dt.datetime.fromtimestamp(at, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def content_policy(settings: ShopSettings) -> str:
    """Say what the pages may load: our own style. Forms may end at PayOnce's checkout."""
    checkout = settings.checkout_origin or URL(settings.gateway_url).origin()
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {checkout}"
    )


async def guard_answer(request: web.Request, answer: web.StreamResponse) -> None:
    """Put on every answer what keeps a browser from doing more than the page says."""
    answer.headers["Content-Security-Policy"] = content_policy(request.app[SHOP].settings)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    if not request.path.startswith("/static/"):
        answer.headers["Cache-Control"] = "no-store"


async def show_shelf(request: web.Request) -> web.Response:
    """GET /: what there is to buy, and the cart."""
    shelf = await request.app[SHOP].store.run(products)
    # The form carries the number of the order to be: a checkout sent twice is one order.
    items = cart_items(request, shelf)
    total = sum(item.price * item.quantity for item in items)
    context = {"shelf": shelf, "items": items, "total": total, "no": new_number()}
    return render(request, "shop_shelf.html", context | {"most": MOST_OF_ONE})


async def change_cart(request: web.Request) -> web.Response:
    """POST /cart `sku, quantity`: have so many of this in the cart, or with 0 none."""
    form = await request.post()
    sku, quantity = str(form.get("sku", "")), str(form.get("quantity", ""))
    shelf = await request.app[SHOP].store.run(products)
    if sku not in {product.sku for product in shelf} or not re.fullmatch(r"\d{1,3}", quantity):
        return refuse(request, "bad_form")
    cart = read_cart(request) | {sku: min(int(quantity), MOST_OF_ONE)}
    answer = see_other("/#cart" if form.get("from") == "cart" else "/")
    write_cart(answer, cart)
    return answer


async def check_out(request: web.Request) -> web.Response:
    """POST /cart/checkout `no`: order what is in the cart, and go to pay."""
    shop = request.app[SHOP]
    form = await request.post()
    no = str(form.get("no", ""))
    if not NUMBER.fullmatch(no):
        return refuse(request, "bad_form")
    known = await shop.store.run(find, no)
    if known is not None:
        # The same form came twice; the cart may be empty by now, and the order is there.
        return go_to_pay(known)
    cart = {item.sku: item.quantity for item in cart_items(request, await shop.store.run(products))}
    if not cart:
        return see_other("/")
    draft = Draft(
        no,
        cart,
        buyer_of(request),
        allow_duplicate=form.get("allow_duplicate") == "1",
        english=words_for(request).lang == "en",
        currency=currency_of(request),
    )
    try:
        answer = go_to_pay(await place(shop, draft))
    except SoldOutError as error:
        return refuse(request, "sold_out", str(error))
    except UnavailableError:
        answer = see_other(f"/orders/{no}")
    except RefusedError as refusal:
        if refusal.problem.code == "duplicate_submission":
            return offer_first_order(request, refusal.problem)
        answer = see_other(f"/orders/{no}")
    write_cart(answer, {})
    return answer


async def find_named(request: web.Request) -> Order | None:
    """The order that the URL names."""
    return await request.app[SHOP].store.run(find, request.match_info["no"])


async def list_orders(request: web.Request) -> web.Response:
    """GET /orders: this buyer's orders."""
    shop = request.app[SHOP]
    orders = await shop.store.run(latest, MOST_LISTED, buyer_of(request))
    shelf = await shop.store.run(products)
    return render(request, "shop_orders.html", {"orders": orders, "shelf": shelf})


async def show_order(request: web.Request) -> web.Response:
    """GET /orders/{no}: an order; while it is unpaid each look asks PayOnce first.

    This is where the buyer comes back from paying, often before the webhook has arrived.
    """
    shop = request.app[SHOP]
    order = await find_named(request)
    if order is not None and order.state is OrderState.UNPAID:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_ON_VIEW_S):
                await try_to_ask(shop, order.no)
        order = await find_named(request)
    if order is None:
        return refuse(request, "not_found", status=404)
    shelf = await shop.store.run(products)
    return render(request, "shop_order.html", {"order": order, "shelf": shelf})


async def pay_order(request: web.Request) -> web.Response:
    """POST /orders/{no}/pay: open the order at PayOnce again after that failed, and go to pay."""
    order = await find_named(request)
    if order is None:
        return refuse(request, "not_found", status=404)
    if order.state is OrderState.UNPAID and order.checkout_url is None:
        try:
            order = await submit(request.app[SHOP], order)
        except (UnavailableError, RefusedError):
            return see_other(f"/orders/{order.no}")
    return go_to_pay(order)


def go_to_pay(order: Order) -> web.Response:
    """Send the buyer to PayOnce's checkout, or to the order when there is nothing to pay."""
    if order.state is OrderState.UNPAID and order.checkout_url is not None:
        return see_other(order.checkout_url)
    return see_other(f"/orders/{order.no}")


def offer_first_order(request: web.Request, problem: Problem) -> web.Response:
    """PayOnce saw the same order a moment ago: the buyer says whether this is another one."""
    context = {"first": problem.checkout_url, "no": new_number()}
    return render(request, "shop_duplicate.html", context, 409)


def refuse(request: web.Request, reason: str, detail: str = "", status: int = 400) -> web.Response:
    """Say what is wrong and what to do."""
    return render(request, "shop_refused.html", {"reason": reason, "detail": detail}, status)


def see_other(url: str) -> web.Response:
    """Go on by a GET, so that a reload does not repeat the POST."""
    return web.Response(status=303, headers={"Location": url})


def render(
    request: web.Request, template: str, context: Mapping[str, object], status: int = 200
) -> web.Response:
    """Draw a page in the buyer's language, and remember language and buyer."""
    words = words_for(request)
    path = request.path if request.method == "GET" else "/"
    currency = currency_of(request)
    context = {**context, "words": words, "path": path, "cart": read_cart(request)}
    context |= {"currency": currency, "signs": SIGNS, "price_in": price_in}
    answer = aiohttp_jinja2.render_template(template, request, context, status=status)
    answer.headers["Content-Language"] = words.lang
    answer.headers["Vary"] = "Accept-Language, Cookie"
    if "lang" in request.query:
        keep(answer, "lang", words.lang)
    if "currency" in request.query:
        keep(answer, "currency", currency)
    if "buyer" not in request.cookies:
        keep(answer, "buyer", f"buyer_{secrets.token_hex(12)}")
    return answer


def words_for(request: web.Request) -> Words:
    """The language of this request."""
    wanted = request.headers.get("Accept-Language", "")
    return choose(request.query.get("lang"), request.cookies.get("lang"), wanted)


def currency_of(request: web.Request) -> Currency:
    """The currency that this buyer pays in: as chosen, else as chosen before, else yuan."""
    for said in (request.query.get("currency"), request.cookies.get("currency")):
        for currency in SIGNS:
            if said == currency:
                return currency
    return "CNY"


def read_cart(request: web.Request) -> dict[str, int]:
    """Read `sku:quantity.sku:quantity`; whatever else the cookie holds is no cart."""
    cart = request.cookies.get("cart", "")
    return {sku: int(quantity) for sku, quantity in CART_LINE.findall(cart)}


def write_cart(answer: web.Response, cart: dict[str, int]) -> None:
    """Keep the cart in the browser."""
    lines = [f"{sku}:{quantity}" for sku, quantity in cart.items() if quantity > 0]
    keep(answer, "cart", ".".join(lines))


def cart_items(request: web.Request, shelf: list[Product]) -> list[Item]:
    """The cart's lines at today's prices, without what is no longer sold."""
    cart, currency = read_cart(request), currency_of(request)
    return [
        Item(product.sku, product.name, cart[product.sku], price_in(currency, product.price))
        for product in shelf
        if cart.get(product.sku, 0) > 0
    ]


def buyer_of(request: web.Request) -> str:
    """The buyer's name for this shop; a browser that has none yet buys as nobody in particular."""
    buyer = request.cookies.get("buyer", "")
    return buyer if BUYER.fullmatch(buyer) else f"buyer_{secrets.token_hex(12)}"


def keep(answer: web.Response, name: str, value: str) -> None:
    """Keep a cookie that scripts cannot read and other sites cannot send along with a form."""
    answer.set_cookie(name, value, max_age=YEAR_S, httponly=True, samesite="Lax")
