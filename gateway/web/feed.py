"""The feed: a merchant's event log, read along over a WebSocket, from any event on.

It is the log and nothing else: what is sent is read from PostgreSQL by position, page after page,
and a wake only says that there is more. So it has no gap and no repeat, whichever process numbered
an event and whether or not Redis brought the wake; and whoever comes back goes on `after` the last
event that they have. Before each page the key is looked at again: one that ends reads no further.
"""

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import web

from gateway.db import events
from gateway.errors import RateLimited
from gateway.ids import EventId
from gateway.payments.desk import Desk
from gateway.push.hub import Hub
from gateway.push.sockets import OpenSocket
from gateway.web.auth import merchant_of
from gateway.web.bodies import FeedQuery
from gateway.web.keys import DESK, HUB
from gateway.web.live import converse
from gateway.web.wire import Shape, connection

# A merchant with several programs has a handful; each process counts for itself.
MOST_FEEDS: Final = 16
_PAGE: Final = 50
_FEED: Final = Shape(FeedQuery)


async def follow(request: web.Request, merchant: str) -> web.WebSocketResponse:
    """GET /v1/feed"""
    query = _FEED.from_query(request)
    after = EventId(query.after) if query.after is not None else None
    hub = request.app[HUB]
    if hub.feeds.count(merchant) >= MOST_FEEDS:
        raise RateLimited("Too many feeds are open with your keys; close some.", retry_after_s=10)
    with hub.feeds.opened(merchant) as grown:
        async with connection(request) as conn:
            position = await events.position_of(conn, merchant, after)
        return await converse(
            request, hub, lambda socket: _read_along(request, merchant, position, grown, socket)
        )


async def _read_along(
    request: web.Request, merchant: str, position: int, grown: asyncio.Event, socket: OpenSocket
) -> None:
    """Send what follows `position`, and on as the log grows, until the process stops.

    Raises Unauthorized when the key has ended.
    """
    desk, hub = request.app[DESK], request.app[HUB]
    while not hub.stopping:
        grown.clear()  # before reading: what is numbered from here on wakes us again
        await merchant_of(request)
        sent_to = await _send_page(desk, hub, merchant, position, socket)
        if sent_to > position:
            position = sent_to
            continue
        # Redis may be away, or who numbered may have died before saying so.
        with suppress(TimeoutError):
            async with asyncio.timeout(hub.pace.look_s if hub.live else hub.pace.look_alone_s):
                await grown.wait()


async def _send_page(desk: Desk, hub: Hub, merchant: str, position: int, socket: OpenSocket) -> int:
    """Send the next events; returns the position of the last, or `position` if there are none.

    It is a function of its own so that an idle feed keeps nothing of what it sent.
    """
    async with hub.feeds.reads, desk.pool.acquire() as conn:
        page = await events.entries(conn, merchant, position, _PAGE)
    for entry in page:
        await socket.send(entry.body.encode(), hub.pace.slow_reader_s)
        position = entry.position
    return position
