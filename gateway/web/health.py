"""Whether this process runs, whether it can serve, and its numbers for Prometheus."""

import asyncio
from typing import Final, Literal

import asyncpg
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

from gateway.objects import encode
from gateway.payments.desk import Desk
from gateway.web.calls import Reply
from gateway.web.keys import DESK
from gateway.web.replies import Alive, Readiness
from gateway.web.wire import send

_DEADLINE_S: Final = 1.0

Reachable = Literal["ok", "unreachable"]


async def live(_request: web.Request) -> web.Response:
    """GET /health/live"""
    return send(Reply(200, encode(Alive())))


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: PostgreSQL is needed; without Redis we are slower, and say so."""
    desk = request.app[DESK]
    postgresql, redis = await asyncio.gather(_postgresql(desk), _redis(desk))
    if postgresql == "unreachable":
        body = Readiness("unavailable", postgresql, redis)
    else:
        body = Readiness("ok" if redis == "ok" else "degraded", postgresql, redis)
    status = 503 if body.status == "unavailable" else 200
    # A load balancer reads this one: it is a state, not a problem.
    return web.Response(status=status, body=encode(body), content_type="application/json")


async def metrics(_request: web.Request) -> web.Response:
    """GET /metrics"""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _postgresql(desk: Desk) -> Reachable:
    try:
        async with asyncio.timeout(_DEADLINE_S), desk.pool.acquire() as conn:
            await conn.fetchval("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return "unreachable"
    return "ok"


async def _redis(desk: Desk) -> Reachable:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await desk.redis.ping()
    except (RedisError, OSError):
        return "unreachable"
    return "ok"
