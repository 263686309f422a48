"""The way of a buyer's browser to its wallet and back, to learn for whom a payment is made.

Both steps are plain links, so they work without scripts and are not held up by the page's policy
for forms. Neither makes anything: an attempt is made by the POST that follows.
"""

from aiohttp import web

from gateway.channels.base import Recogniser
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import Order, OrderState
from gateway.telemetry import log
from gateway.web.checkout import base_of, for_people, read_order
from gateway.web.keys import DESK
from gateway.web.payer import (
    begin_visit,
    comes_from_visit,
    end_visit,
    keep_payer,
    payer_at,
    recogniser_of,
)
from gateway.web.scene import device_of


@for_people
async def identify(request: web.Request) -> web.Response:
    """GET /checkout/{token}/identify"""
    order, now, _merchant = await read_order(request)
    page = base_of(request)
    recogniser = await _recogniser(request, order)
    if recogniser is None or order.state is not OrderState.OPEN or now >= order.expires_at:
        return _see_other(page)  # it says what there is to say
    response = web.Response(status=303)
    state = begin_visit(request, response, recogniser, page)
    way_back = f"{request.app[DESK].settings.base_url}{page}/identified"
    response.headers["Location"] = recogniser.address(way_back, state)
    return response


@for_people
async def identified(request: web.Request) -> web.Response:
    """GET /checkout/{token}/identified?code=&state=

    Coming here again, by reload or the way back, changes nothing for a browser that is known.
    """
    order, _now, _merchant = await read_order(request)
    page = base_of(request)
    recogniser = await _recogniser(request, order)
    if recogniser is None or request.method != "GET":
        return _see_other(page)
    if comes_from_visit(request, recogniser, page):
        try:
            openid = await recogniser.payer(request.query.get("code", ""))
        except (ChannelRefused, ChannelUnavailable) as error:
            log.warning("payer_not_recognised", order=order.id, why=str(error))
        else:
            response = _see_other(f"{page}?go=1")
            keep_payer(request, response, recogniser, openid)
            end_visit(response, page)
            return response
    known = payer_at(request, recogniser)
    return _see_other(page if known else f"{page}?problem=payer_unknown")


async def _recogniser(request: web.Request, order: Order) -> Recogniser | None:
    """Return what knows the buyer in the wallet that the page is open in."""
    wallet = device_of(request.headers.get("User-Agent", "")).wallet
    return await recogniser_of(request.app[DESK], order, wallet) if wallet else None


def _see_other(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location})
