"""What every request gets: an id, a problem where it fails, headers, a line in the log.

A line names the route's pattern, never the URL: a checkout URL holds the buyer's token.
"""

import itertools
import re
import secrets
import time
from typing import Final

from aiohttp import web

from gateway.telemetry import log
from gateway.web.calls import Handler
from gateway.web.problems import REQUEST_ID, problem_of, problem_response

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PROCESS: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)

# What holds for every answer; a page that needs more says its own, and then ours is left out.
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Server", "PayOnce"),
    ("X-Content-Type-Options", "nosniff"),
)


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, with a problem where the handler raises."""
    began = time.perf_counter()
    request_id = request[REQUEST_ID] = _request_id(request)
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - problem_of logs what nobody expected
        response = _refuse(request, error, request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        for name, value in _HEADERS:
            response.headers.setdefault(name, value)
    _log(request, request_id, response.status, time.perf_counter() - began)
    return response


def _request_id(request: web.Request) -> str:
    """Return the caller's id where it is harmless, so that one search finds both sides."""
    said = request.headers.get("X-Request-Id")
    if said is not None and _SANE_ID.fullmatch(said):
        return said
    return f"req_{_PROCESS}-{next(_numbers):08x}"


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


def _log(request: web.Request, request_id: str, status: int, took_s: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    log.info(
        "request",
        request_id=request_id,
        method=request.method,
        route=route,
        status=status,
        took_ms=round(took_s * 1000, 2),
    )
