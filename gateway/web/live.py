"""Telling the page what changed: a WebSocket, and a status to wait on where sockets do not pass.

Both send the same whole snapshot with the order's version. Both watch first and read then, so
nothing falls between the two, and neither sends an older version after a newer one.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, web

from gateway.errors import Forbidden, NotFound, RateLimited
from gateway.ids import OrderId
from gateway.model import Order
from gateway.objects import Snapshot, encode, snapshot
from gateway.payments.desk import Desk
from gateway.push.hub import Hub, Watch
from gateway.push.sockets import MAX_FRAME_BYTES, OpenSocket
from gateway.web.bodies import WaitQuery
from gateway.web.keys import DESK, HUB
from gateway.web.problems import problem_of
from gateway.web.wire import Shape

# A buyer with many tabs and devices has a handful; each process counts for itself.
MOST_WATCHERS: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_WAIT: Final = Shape(WaitQuery)

Speak: TypeAlias = Callable[[OpenSocket], Awaitable[None]]


async def status(request: web.Request) -> web.Response:
    """GET /checkout/{token}/status"""
    query = _WAIT.from_query(request)
    hub = request.app[HUB]
    order_id = await _order_to_watch(request, hub)
    with hub.watch(order_id) as watch:
        if query.version is None:
            order, now = await watch.read()
        else:
            order, now = await watch.newer(query.version, query.wait)
    shown = await snapshot_of(request.app[DESK], order, now)
    etag = _etag(shown)
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    return web.Response(body=encode(shown), content_type="application/json", headers={"ETag": etag})


async def ws(request: web.Request) -> web.WebSocketResponse:
    """GET /checkout/{token}/ws"""
    check_same_origin(request)
    desk, hub = request.app[DESK], request.app[HUB]
    order_id = await _order_to_watch(request, hub)
    with hub.watch(order_id) as watch:
        return await converse(request, hub, lambda socket: _keep_telling(desk, hub, watch, socket))


async def converse(request: web.Request, hub: Hub, speak: Speak) -> web.WebSocketResponse:
    """Upgrade to a WebSocket, speak, and hear the other side out, until one of the two ends."""
    response = web.WebSocketResponse(
        autoping=False, compress=False, max_msg_size=MAX_FRAME_BYTES, writer_limit=0, timeout=5.0
    )
    await response.prepare(request)
    if request.transport is not None:
        with hub.sockets.opened(response, request.transport) as socket:
            speaking = asyncio.create_task(_speak(socket, speak))
            try:
                await socket.hear_out()
            finally:
                speaking.cancel()
                await asyncio.wait([speaking])
    return response


async def snapshot_of(desk: Desk, order: Order, now: datetime) -> Snapshot:
    """Show where the order stands, knowing which of the merchant's channels can give money back."""
    accounts = await desk.accounts.of_merchant(order.merchant)
    traits = (account.adapter.traits for account in accounts)
    return snapshot(order, now, frozenset(each.channel for each in traits if each.refunds))


def token_of(request: web.Request) -> str:
    """Return the token in the URL. What cannot be one never reaches the database."""
    token = request.match_info["token"]
    if not _TOKEN.fullmatch(token):
        raise NotFound("There is no such checkout.")
    return token


def check_same_origin(request: web.Request) -> None:
    """Refuse what another site's page does in the buyer's browser; programs send no Origin."""
    origin = request.headers.get("Origin")
    if origin is None:
        ours = request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")
    else:
        ours = origin == request.app[DESK].settings.base_url
        ours = ours or urlsplit(origin).netloc.lower() == request.host.lower()
    if not ours:
        raise Forbidden("This came from a page of another site.")


async def _order_to_watch(request: web.Request, hub: Hub) -> OrderId:
    order_id = await hub.order_of(token_of(request))
    if hub.watchers(order_id) >= MOST_WATCHERS:
        raise RateLimited("Too many pages watch this order; close some of them.", retry_after_s=10)
    return order_id


async def _speak(socket: OpenSocket, speak: Speak) -> None:
    """Speak to the end. Whoever cannot be told comes back for what there is then."""
    try:
        await speak(socket)
        socket.leave(WSCloseCode.GOING_AWAY)
    except (TimeoutError, ConnectionError):
        socket.transport.abort()  # a close would wait behind what the reader does not take
    except Exception as error:  # noqa: BLE001 - problem_of logs what nobody expected
        problem_of(error)
        socket.leave(WSCloseCode.TRY_AGAIN_LATER)


async def _keep_telling(desk: Desk, hub: Hub, watch: Watch, socket: OpenSocket) -> None:
    """Send the snapshot now and whenever it is newer, until the process stops."""
    sent = await _tell(desk, hub, watch, socket, 0)
    while await watch.changed():
        sent = await _tell(desk, hub, watch, socket, sent)


async def _tell(desk: Desk, hub: Hub, watch: Watch, socket: OpenSocket, sent: int) -> int:
    """Send the snapshot if it is newer than `sent`; returns the version that was sent last.

    It is a function of its own so that an idle socket keeps nothing of what it sent.
    """
    order, now = await watch.read()
    if order.version > sent:
        text = encode(await snapshot_of(desk, order, now))
        await socket.send(text, hub.pace.slow_reader_s)
    return max(sent, order.version)


def _etag(shown: Snapshot) -> str:
    """Name what is shown: the version, and what time alone takes away from it."""
    action = shown.attempt is not None and shown.attempt.next_action is not None
    return f'"{shown.version}-{shown.attempt is not None:d}{action:d}-{len(shown.in_flight)}"'
