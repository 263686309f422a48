"""The merchant's calls about orders: open one, look, wait, search, close, read its history."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.db import journal, orders
from gateway.errors import InvalidRequest
from gateway.ids import OrderId
from gateway.model import NewOrder, Order
from gateway.money import known_currencies
from gateway.objects import encode, order_object
from gateway.payments.closing import close_order
from gateway.payments.ordering import open_order
from gateway.web.bodies import NewOrderBody, NothingBody, OrdersQuery, WaitQuery
from gateway.web.calls import Reply
from gateway.web.keys import DESK, HUB
from gateway.web.replies import MoveObject, OrderPage, Timeline
from gateway.web.urls import check_notify_url, check_return_url
from gateway.web.wire import (
    Shape,
    connection,
    no_such,
    order_id,
    read_json,
    read_nothing,
    send,
)

_NEW_ORDER: Final = Shape(NewOrderBody)
_NOTHING: Final = Shape(NothingBody)
_ORDERS: Final = Shape(OrdersQuery)
_WAIT: Final = Shape(WaitQuery)


async def open_one(request: web.Request, merchant: str) -> Reply:
    """POST /v1/orders"""
    desk = request.app[DESK]
    body = _NEW_ORDER.from_json(await read_json(request))
    new = _new_order(body, allow_private=desk.settings.allow_private_webhooks)
    order, fresh = await open_order(desk, merchant, new)
    return Reply(201 if fresh else 200, encode(order_object(order, desk.settings.base_url)))


async def read_one(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/orders/{order}"""
    query = _WAIT.from_query(request)
    if query.wait and query.version is not None:
        order = await _newer(request, order_id(request), merchant, query.version, query.wait)
    else:
        order = await _read(request, order_id(request), merchant)
    etag = f'"{order.version}"'
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    response = send(Reply(200, encode(order_object(order, request.app[DESK].settings.base_url))))
    response.headers["ETag"] = etag
    return response


async def search(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/orders"""
    query = _ORDERS.from_query(request)
    async with connection(request) as conn:
        found = await orders.search(
            conn,
            merchant,
            merchant_order_no=query.merchant_order_no,
            state=query.state,
            channel=query.channel,
            created_from=_in_utc("created_from", query.created_from),
            created_to=_in_utc("created_to", query.created_to),
            before_id=query.cursor,
            limit=query.limit + 1,  # the one too many says whether there is a next page
        )
    shown = found[: query.limit]
    base_url = request.app[DESK].settings.base_url
    page = OrderPage(
        data=[order_object(order, base_url) for order in shown],
        next_cursor=shown[-1].id if len(found) > len(shown) else None,
    )
    return send(Reply(200, encode(page)))


async def close_one(request: web.Request, merchant: str) -> Reply:
    """POST /v1/orders/{order}/close"""
    await read_nothing(request, _NOTHING)
    closed = await close_order(request.app[DESK], order_id(request), merchant)
    return Reply(200, encode(order_object(closed, request.app[DESK].settings.base_url)))


async def timeline(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/orders/{order}/events"""
    order = await _read(request, order_id(request), merchant)
    async with connection(request) as conn:
        moves = await journal.timeline(conn, order.id)
    told = [
        MoveObject(m.at, m.noun, m.noun_id, m.from_state, m.to_state, m.cause, m.evidence)
        for m in moves
    ]
    return send(Reply(200, encode(Timeline(told))))


async def _read(request: web.Request, order: OrderId, merchant: str) -> Order:
    """Read a merchant's order. Raises NotFound, for another merchant's order too."""
    async with connection(request) as conn:
        reading = await orders.read(conn, order)
    if reading is None or reading[0].merchant != merchant:
        raise no_such("order")
    return reading[0]


async def _newer(
    request: web.Request, order_id: OrderId, merchant: str, version: int, wait_s: int
) -> Order:
    """Return the order once it is newer than `version`, or as it is when the time is over."""
    await _read(request, order_id, merchant)  # nobody waits for what is not theirs
    with request.app[HUB].watch(order_id) as watch:
        order, _now = await watch.newer(version, wait_s)
    return order


def _in_utc(field: str, moment: datetime | None) -> datetime | None:
    try:
        return moment.astimezone(UTC) if moment is not None else None
    except OverflowError:
        raise InvalidRequest(field, "That is before the year 1 or after 9999 in UTC.") from None


def _new_order(body: NewOrderBody, *, allow_private: bool) -> NewOrder:
    """Check what a schema cannot say, and hand the rest on."""
    if body.currency not in known_currencies():
        raise InvalidRequest("currency", f"{body.currency} is no currency of ISO 4217.")
    if body.notify_url is not None:
        check_notify_url(body.notify_url, allow_private=allow_private)
    if body.return_url is not None:
        check_return_url(body.return_url)
    return NewOrder(
        merchant_order_no=body.merchant_order_no,
        amount=body.amount,
        currency=body.currency,
        subject=body.subject,
        buyer_id=body.buyer_id,
        items=encode(body.items).decode() if body.items is not None else None,
        expires_in_s=body.expires_in,
        notify_url=body.notify_url,
        return_url=body.return_url,
        metadata=encode(body.metadata).decode() if body.metadata is not None else None,
        allow_duplicate=body.allow_duplicate,
    )
