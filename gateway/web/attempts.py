"""The merchant's calls about attempts: apply for payment, and look at one."""

from datetime import datetime
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from gateway.db import orders
from gateway.errors import InvalidRequest, OrderAlreadyPaid, OrderClosed
from gateway.ids import AttemptId
from gateway.model import Attempt, Order, OrderState
from gateway.objects import attempt_object, encode
from gateway.payments.applying import apply_for_payment
from gateway.payments.planning import Wish
from gateway.web.bodies import ApplyBody, Buyer
from gateway.web.buyers import named
from gateway.web.calls import Reply
from gateway.web.keys import DESK
from gateway.web.pages import language_of
from gateway.web.wire import Shape, attempt_id, connection, no_such, order_id, read_json, send

_APPLY: Final = Shape(ApplyBody)
_NOBODY: Final = Buyer()


async def apply(request: web.Request, merchant: str) -> Reply:
    """POST /v1/orders/{order}/attempts

    Whom to tell is no part of the attempt: asked again with another device, it is the same one.
    """
    desk, order = request.app[DESK], order_id(request)
    body = _APPLY.from_json(await read_json(request))
    token = body.buyer.device_token if body.buyer else None
    address = desk.devices.address_of(token) if token else None
    applied = await apply_for_payment(desk, order, _wish(body), merchant)
    if address is not None:
        await desk.devices.add(order, address, language_of(request))
    return Reply(
        200 if applied.replayed else 201,
        applied.body,
        # What is kept is which attempt it was: a stored QR code could be paid after the order was.
        remember=applied.attempt.encode(),
        replayed=applied.replayed,
    )


async def answer_anew(request: web.Request, merchant: str, kept: Reply) -> Reply:
    """Answer a repeated key as things stand now, and without making anything."""
    order, attempt, now = await _read(request, AttemptId(kept.body.decode()), merchant)
    match order.state:
        case OrderState.PAID:
            raise OrderAlreadyPaid
        case OrderState.CLOSED:
            raise OrderClosed
        case OrderState.OPEN if now >= order.expires_at:
            raise OrderClosed
        case OrderState.OPEN:
            return Reply(200, _shown(order, attempt, now), replayed=True)


async def read_one(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/attempts/{attempt}"""
    order, attempt, now = await _read(request, attempt_id(request), merchant)
    return send(Reply(200, _shown(order, attempt, now)))


async def _read(
    request: web.Request, attempt: AttemptId, merchant: str
) -> tuple[Order, Attempt, datetime]:
    """Read a merchant's attempt with its order. Raises NotFound, for another merchant's too."""
    async with connection(request) as conn:
        reading = await orders.read_attempt_order(conn, attempt)
    if reading is None or reading[0].merchant != merchant:
        raise no_such("attempt")
    order, now = reading
    return order, order.attempt(attempt), now


def _shown(order: Order, attempt: Attempt, now: datetime) -> bytes:
    """Show an attempt, with what the buyer does next only while that still pays the order."""
    usable = attempt.next_action_until is not None and now < attempt.next_action_until
    payable = order.state is OrderState.OPEN and now < order.expires_at and usable
    return encode(attempt_object(attempt, payable=payable))


def _wish(body: ApplyBody) -> Wish:
    buyer = body.buyer or _NOBODY
    if buyer.ip is not None:
        try:
            ip_address(buyer.ip)
        except ValueError:
            raise InvalidRequest(
                "buyer.ip", "Send the buyer's IPv4 or IPv6 address, such as 203.0.113.9."
            ) from None
    return Wish(
        channel=body.channel,
        terminal=body.terminal,
        product=body.product,
        openid=buyer.openid or "",
        client_ip=buyer.ip or "",
        user_agent=buyer.user_agent or "",
        buyer=named(buyer),
    )
