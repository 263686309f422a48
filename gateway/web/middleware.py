"""What every request gets: an id, a problem where it fails, headers, a number and a line.

A line names the route's pattern, never the URL: a checkout URL holds the buyer's token. What went
well is a line at level debug alone, since a line costs half of what a repeated apply costs; the
metrics count it.
"""

import itertools
import re
import secrets
import time
from functools import cache
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import Histogram
from structlog.contextvars import bind_contextvars

from gateway.settings import Settings
from gateway.telemetry import log
from gateway.web.addresses import seen_through
from gateway.web.calls import Handler
from gateway.web.problems import REQUEST_ID, problem_of, problem_response

Headers: TypeAlias = tuple[tuple[str, str], ...]

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PROCESS: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)

# What holds for every answer; a page that needs more says its own, and then ours is left out.
_HEADERS: Final[Headers] = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Server", "PayOnce"),
    ("X-Content-Type-Options", "nosniff"),
)

REQUEST_SECONDS: Final = Histogram(
    "payonce_request_seconds",
    "Requests from their headers to their answer; waiting ones and sockets as long as they last",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)


def middlewares(settings: Settings) -> list[Middleware]:
    """Return what stands around every handler."""
    headers = _HEADERS
    if settings.base_url.startswith("https:"):
        headers += (("Strict-Transport-Security", "max-age=31536000"),)
    see = seen_through(settings.trusted_proxies)

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer every request, with a problem where the handler raises."""
        began = time.perf_counter()
        request = see(request)
        request_id = request[REQUEST_ID] = _request_id(request)
        bind_contextvars(request_id=request_id)  # a request is a task, so this ends with it
        try:
            response = await handler(request)
        except Exception as error:  # problem_of logs what nobody expected
            if _hung_up(request, error):
                raise  # the server takes it for what it is; nothing of ours is away
            response = _refuse(request, error, request_id)
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            for name, value in headers:
                response.headers.setdefault(name, value)
        _note(request, response.status, time.perf_counter() - began)
        return response

    return [answer]


def _request_id(request: web.Request) -> str:
    """Return the caller's id where it is harmless, so that one search finds both sides."""
    said = request.headers.get("X-Request-Id")
    if said is not None and _SANE_ID.fullmatch(said):
        return said
    return f"req_{_PROCESS}-{next(_numbers):08x}"


def _hung_up(request: web.Request, error: Exception) -> bool:
    """Is it the client who is gone?"""
    transport = request.transport
    return isinstance(error, ConnectionError) and (transport is None or transport.is_closing())


def _refuse(request: web.Request, error: Exception, request_id: str) -> web.Response:
    if isinstance(error, web.HTTPException) and error.status < 400:
        return web.Response(status=error.status, headers=error.headers)  # a redirect is an answer
    problem = problem_of(error)
    if request.writer.output_size:
        raise ConnectionResetError("The answer had begun") from error  # it cannot be taken back
    response = problem_response(problem, request_id)
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _note(request: web.Request, status: int, took_s: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    method = request.method if request.method in ("GET", "HEAD", "POST") else "other"
    _seconds(method, route, status).observe(took_s)
    say = log.debug if status < 400 else log.info
    say("request", method=method, route=route, status=status, took_ms=round(took_s * 1000, 2))


@cache
def _seconds(method: str, route: str, status: int) -> Histogram:
    """Find the series once: finding it costs more than adding to it."""
    return REQUEST_SECONDS.labels(method, route, str(status))
