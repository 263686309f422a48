"""The shop as JSON, for tests and for looking inside."""

from typing import Annotated

import msgspec
from aiohttp import web

from gateway.sandbox.shop_orders import (
    Currency,
    Draft,
    Order,
    OrderConflictError,
    SoldOutError,
    UnknownProductError,
    new_number,
)
from gateway.sandbox.shop_paying import SHOP, place
from gateway.sandbox.shop_payonce import RefusedError, UnavailableError
from gateway.sandbox.shop_store import find, latest, products

MOST_LISTED = 10_000
MOST_OF_ONE = 99

Quantity = Annotated[int, msgspec.Meta(ge=1, le=MOST_OF_ONE)]
Number = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{6,40}$")]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many of this."""

    sku: str
    quantity: Quantity = 1


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /api/orders; without `no` the shop gives a number."""

    items: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=20)]
    buyer_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    no: Number | None = None
    allow_duplicate: bool = False
    currency: Currency = "CNY"


def answer_json(value: object, status: int = 200) -> web.Response:
    """Answer any of our nouns as JSON."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


async def list_products(request: web.Request) -> web.Response:
    """GET /api/products"""
    return answer_json({"data": await request.app[SHOP].store.run(products)})


async def list_orders(request: web.Request) -> web.Response:
    """GET /api/orders: the newest, newest first."""
    return answer_json({"data": await request.app[SHOP].store.run(latest, MOST_LISTED)})


async def show_order(request: web.Request) -> web.Response:
    """GET /api/orders/{no}"""
    order = await request.app[SHOP].store.run(find, request.match_info["no"])
    if order is None:
        return answer_json({"error": "there is no such order"}, 404)
    return answer_json(order)


async def create_order(request: web.Request) -> web.Response:
    """POST /api/orders: as a checkout does, without the pages.

    201 `{no, state, payonce_order, checkout_url}`; 202 with nulls when PayOnce did not answer: the
    order is kept, and repeating the call with its `no`, or waiting, opens it.
    """
    shop = request.app[SHOP]
    try:
        new = msgspec.json.decode(await request.read(), type=NewOrder)
        wanted = {line.sku: line.quantity for line in new.items}
        if len(wanted) < len(new.items):
            raise msgspec.ValidationError("a sku stands twice - at `$.items`")
    except msgspec.DecodeError as error:
        return answer_json({"error": str(error)}, 422)
    draft = Draft(
        new.no or new_number(),
        wanted,
        new.buyer_id,
        new.allow_duplicate,
        currency=new.currency,
    )
    try:
        return answer_json(summary(await place(shop, draft)), 201)
    except UnavailableError:
        order = await shop.store.run(find, draft.no)
        return answer_json(order and summary(order), 202)
    except UnknownProductError as error:
        return answer_json({"error": f"{error} - at `$.items[...].sku`"}, 422)
    except (OrderConflictError, SoldOutError) as error:
        return answer_json({"no": draft.no, "error": str(error)}, 409)
    except RefusedError as refusal:
        return answer_json({"no": draft.no, "error": str(refusal), "payonce": refusal.problem}, 409)


def summary(order: Order) -> dict[str, str | None]:
    """What a buyer needs to go on."""
    return {
        "no": order.no,
        "state": order.state,
        "payonce_order": order.payonce_order,
        "checkout_url": order.checkout_url,
    }
