"""Whether this process runs, whether it can serve, and its numbers for Prometheus."""

import asyncio
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import ResponseError

from gateway.objects import encode
from gateway.outages import missing
from gateway.payments.desk import Desk
from gateway.web.calls import Reply
from gateway.web.keys import DESK
from gateway.web.replies import Alive, Readiness, Standing
from gateway.web.wire import send

_DEADLINE_S: Final = 1.0
_WRITABLE: Final = "SELECT current_setting('transaction_read_only') = 'off'"


async def live(_request: web.Request) -> web.Response:
    """GET /health/live"""
    return send(Reply(200, encode(Alive())))


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: PostgreSQL is needed; without Redis we are slower, and say so."""
    desk = request.app[DESK]
    postgresql, redis = await asyncio.gather(_postgresql(desk), _redis(desk))
    if postgresql == "ok":
        body = Readiness("ok" if redis == "ok" else "degraded", postgresql, redis)
    else:
        body = Readiness("unavailable", postgresql, redis)
    status = 503 if body.status == "unavailable" else 200
    # A load balancer reads this one: it is a state, not a problem.
    return web.Response(status=status, body=encode(body), content_type="application/json")


async def metrics(_request: web.Request) -> web.Response:
    """GET /metrics"""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _postgresql(desk: Desk) -> Standing:
    try:
        async with asyncio.timeout(_DEADLINE_S), desk.pool.acquire() as conn:
            return "ok" if await conn.fetchval(_WRITABLE) else "read_only"
    except Exception as error:
        if missing(error) is None:
            raise
        return "unreachable"


async def _redis(desk: Desk) -> Standing:
    """Write, for a replica, or a server without memory, still answers a ping."""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await desk.redis.set("payonce:ready", b"", px=1000)
    except ResponseError:
        return "read_only"
    except Exception as error:
        if missing(error) is None:
            raise
        return "unreachable"
    return "ok"
