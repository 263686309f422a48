"""Problems as HTTP: RFC 9457 bodies, and which of the world's errors mean which problem."""

from typing import Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from gateway.errors import (
    ChannelDown,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Problem,
    ServiceUnavailable,
)
from gateway.outages import missing, tell
from gateway.web.wire import BODY_LIMIT

REQUEST_ID: Final = web.RequestKey("request_id", str)

_encode: Final = msgspec.json.Encoder().encode


def problem_body(problem: Problem, request_id: str) -> bytes:
    return _encode(
        {
            "type": f"urn:payonce:problem:{problem.code}",
            "title": problem.title,
            "status": problem.status,
            "code": problem.code,
            "detail": problem.detail,
            "request_id": request_id,
            **problem.members,
        }
    )


def problem_response(problem: Problem, request_id: str) -> web.Response:
    headers = CIMultiDict({"Content-Type": "application/problem+json"})
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="payonce"'
    return web.Response(
        status=problem.status, body=problem_body(problem, request_id), headers=headers
    )


def problem_of(error: Exception) -> Problem:
    """Say which problem an error is to the caller; what is no problem yet is logged."""
    match error:
        case Problem():
            return error
        case web.HTTPException():
            return _refused_by_the_server(error)
        case _ if (away := missing(error)) is not None:
            tell("request_not_served", error)
            return ChannelDown() if away == "channel" else ServiceUnavailable()
        case _:
            tell("unexpected_error", error)
            return InternalError()


def _refused_by_the_server(error: web.HTTPException) -> Problem:
    """Translate what aiohttp refuses by itself."""
    match error.status:
        case 404:
            return NotFound("There is nothing at this URL; /docs lists those that exist.")
        case 405 if isinstance(error, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(error.allowed_methods))
            return MethodNotAllowed(f"This URL takes {allowed}.")
        case 413:
            return PayloadTooLarge(f"Send at most {BODY_LIMIT} bytes.")
        case status if status < 500:
            return InvalidRequest("body", f"The request cannot be read: {error.reason}.")
        case _:
            return InternalError()
