"""The merchant's event log: page through it, and have a webhook sent again."""

from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.db import events
from gateway.errors import NotFound
from gateway.ids import EventId
from gateway.objects import encode
from gateway.web.bodies import EventsQuery, NothingBody
from gateway.web.calls import Reply
from gateway.web.replies import Redelivery
from gateway.web.wire import Shape, connection, event_id, read_nothing, send

_EVENTS: Final = Shape(EventsQuery)
_NOTHING: Final = Shape(NothingBody)


class _Named(Struct, frozen=True):
    """As much of an event as the cursor needs."""

    id: EventId


_decode_name: Final = msgspec.json.Decoder(_Named).decode


async def page(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/events"""
    query = _EVENTS.from_query(request)
    after = EventId(query.after) if query.after is not None else None
    async with connection(request) as conn:
        bodies = await events.page(conn, merchant, after, query.limit)
    # The bodies are the bytes that the webhooks carried; they are passed on as they are.
    data = ",".join(bodies)
    full = len(bodies) == query.limit
    next_cursor = encode(_decode_name(bodies[-1]).id if full else None).decode()
    return send(Reply(200, f'{{"data":[{data}],"next_cursor":{next_cursor}}}'.encode()))


async def redeliver(request: web.Request, merchant: str) -> Reply:
    """POST /v1/events/{event}/redeliver"""
    await read_nothing(request, _NOTHING)
    event = event_id(request)
    async with connection(request) as conn:
        due = await events.redeliver(conn, merchant, event)
    if not due:
        raise NotFound("There is no event with that id at your account that goes to a URL.")
    return Reply(202, encode(Redelivery(event)))
