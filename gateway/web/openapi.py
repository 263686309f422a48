"""The OpenAPI 3.1 document, from the route table and the Structs that are decoded and sent."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway import __version__
from gateway.errors import (
    IdempotencyMismatch,
    InternalError,
    InvalidRequest,
    PayloadTooLarge,
    Problem,
    RequestInProgress,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from gateway.objects import EventObject
from gateway.payments.announcing import EventType
from gateway.web import idempotency
from gateway.web.auth import BELIEVED_S
from gateway.web.bodies import Item
from gateway.web.calls import Answer, Anyone, Buyer, Merchant, MerchantOnce, Operator, Route
from gateway.web.examples import EVENT, example_of, problem_example
from gateway.web.replies import ProblemObject
from gateway.web.wire import BODY_LIMIT

Json = dict[str, object]


class Document(Struct, frozen=True):
    """The document, as values and as the bytes that are answered."""

    spec: Json
    body: bytes


DOCUMENT: Final = web.AppKey("openapi", Document)

_REF: Final = "#/components/schemas/{name}"
_PATTERN_IN_PATH: Final = re.compile(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}")
_PATH_NAMES: Final = {
    "order": "The order's id, `ord_...`.",
    "attempt": "The attempt's id, `att_...`.",
    "refund": "The refund's id, `ref_...`.",
    "event": "The event's id, `evt_...`.",
    "channel": "The channel's name.",
    "token": "The token of the checkout URL: the buyer's only credential.",
    "account": "The id of the channel account.",
    "name": "The file's name.",
}
_ABOUT: Final = f"""\
Take payments for your orders, each of them once.

**Keys.** Send `Authorization: Bearer <key>`. Two keys may overlap while you rotate them; a revoked
key works for up to {BELIEVED_S:.0f} seconds more. What operators decide takes an operator's token
instead.

**Money** is an integer of minor units and an ISO 4217 code; **times** are RFC 3339 in UTC; **ids**
sort by time. Unknown fields are refused, bodies are JSON of at most {BODY_LIMIT} bytes.

**Repeats.** Every POST under `/v1` takes an `Idempotency-Key`: for 24 hours the same key with the
same body gets the first answer again, with `Idempotent-Replayed: true`; with another body it is
refused. Answers of 5xx, and those with `Retry-After`, are not kept: send the same request with the
same key again. Applying for payment keeps which attempt it was and answers anew, so a repeat never
hands out a code for what is paid.

**Problems** are RFC 9457: `code` is for programs, `detail` says what to do, `field` names the
field, and `request_id` (also the header `X-Request-Id`, where you may send your own) finds the
request in the log.
"""


def describe(routes: Sequence[Route]) -> Document:
    """Describe the routes completely: every URL, answer, problem, header and shape."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(plain_path(route), {})[route.method.lower()] = _operation(route)
    spec: Json = {
        "openapi": "3.1.0",
        "info": {"title": "PayOnce", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "webhooks": {each.value: {"post": _webhook(each)} for each in EventType},
        "components": {
            "schemas": _schemas(routes),
            "parameters": {
                "IdempotencyKey": {
                    "name": idempotency.HEADER,
                    "in": "header",
                    "description": idempotency.RULE,
                    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                }
            },
            "headers": {name: _header(name) for name in _HEADER_MEANINGS},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A merchant's API key, `po_...`.",
                },
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator's token, `opr_...`.",
                },
            },
        },
    }
    return Document(spec, msgspec.json.encode(spec))


async def document(request: web.Request) -> web.Response:
    """GET /openapi.json"""
    response = web.Response(body=request.app[DOCUMENT].body, content_type="application/json")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Access-Control-Allow-Origin"] = "*"  # it holds nothing that is anybody's
    return response


def plain_path(route: Route) -> str:
    """Return the path with its variables named and without the patterns that they must match."""
    return _PATTERN_IN_PATH.sub(r"{\1}", route.path)


def problems_of(route: Route) -> list[type[Problem]]:
    """Return what a caller may meet: what the row says, and what comes with being such a call."""
    kinds = list(route.problems)
    if isinstance(route.call, Merchant | MerchantOnce | Operator):
        kinds.append(Unauthorized)
    if isinstance(route.call, MerchantOnce):
        kinds += [InvalidRequest, IdempotencyMismatch, RequestInProgress]
    if route.body is not None:
        kinds += [UnsupportedMediaType, PayloadTooLarge]
    return list(dict.fromkeys([*kinds, ServiceUnavailable, InternalError]))


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            **{str(status): _answer(route, status, said) for status, said in route.answers.items()},
            **_problem_answers(route),
        },
        "security": _security(route),
    }
    if route.detail:
        operation["description"] = route.detail
    if route.body is not None:
        content: Json = {"schema": _ref(route.body)}
        if route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {
            "required": bool(route.body.__struct_fields__),
            "content": {"application/json": content},
        }
    return operation


def _security(route: Route) -> list[Json]:
    match route.call:
        case Merchant() | MerchantOnce():
            return [{"key": []}]
        case Operator():
            return [{"operator": []}]
        case Anyone() | Buyer():
            return []


def _parameters(route: Route) -> list[Json]:
    said: list[Json] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_NAMES[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"\{(\w+)\}", plain_path(route))
    ]
    if route.query is not None:
        (_,), components = msgspec.json.schema_components([route.query], ref_template=_REF)
        properties = components[route.query.__name__]["properties"]
        said += [_query_parameter(name, schema) for name, schema in properties.items()]
    if isinstance(route.call, MerchantOnce):
        said.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if 304 in route.answers:
        said.append({"name": "If-None-Match", "in": "header", "schema": {"type": "string"}})
    return said


def _query_parameter(name: str, schema: Mapping[str, object]) -> Json:
    """Describe a parameter of the URL: it may be left out, but it cannot be null."""
    shown: Json = dict(schema)
    kinds = shown.pop("anyOf", None)
    if isinstance(kinds, list):
        shown |= kinds[0]
        shown.pop("default", None)
    description = shown.pop("description", "")
    return {"name": name, "in": "query", "description": description, "schema": shown}


_HEADER_MEANINGS: Final = {
    "X-Request-Id": "Finds the request in the log.",
    "Retry-After": "After how many seconds to ask again.",
    "Idempotent-Replayed": "`true`: this answer was given before.",
    "ETag": "Names what was answered, for `If-None-Match`.",
    "WWW-Authenticate": "How to say who you are.",
}


def _header(name: str) -> Json:
    return {"description": _HEADER_MEANINGS[name], "schema": {"type": "string"}}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _answer(route: Route, status: int, said: Answer) -> Json:
    names = ["X-Request-Id"]
    if isinstance(route.call, MerchantOnce):
        names.append("Idempotent-Replayed")
    if 304 in route.answers:
        names.append("ETag")
    answer: Json = {"description": said.says, "headers": _headers(*names)}
    if said.shape is not None:
        content: Json = {"schema": _ref(said.shape)}
        if (example := example_of(said.shape)) is not None:
            content["example"] = example
        answer["content"] = {said.media: content}
    elif said.media:
        answer["content"] = {said.media: {"schema": {}}}
    return answer


def _problem_answers(route: Route) -> dict[str, Json]:
    """Group a call's problems by their status, with an example of each."""
    kinds = problems_of(route)
    answers: dict[str, Json] = {}
    for status in sorted({kind.status for kind in kinds} - set(route.answers)):
        those = [kind for kind in kinds if kind.status == status]
        names = ["X-Request-Id"]
        if any(kind.default_retry_after_s is not None for kind in those):
            names.append("Retry-After")
        if status == Unauthorized.status:
            names.append("WWW-Authenticate")
        answers[str(status)] = {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in those) + ".",
            "headers": _headers(*names),
            "content": {
                "application/problem+json": {
                    "schema": _ref(ProblemObject),
                    "examples": {kind.code: {"value": problem_example(kind)} for kind in those},
                }
            },
        }
    return answers


def _webhook(event: EventType) -> Json:
    meanings = {
        EventType.ORDER_PAID: "The order is paid: deliver.",
        EventType.ORDER_CLOSED: "The order is closed; it will not be paid any more.",
        EventType.ATTEMPT_SURPLUS: "Money arrived that does not pay the order; it is owed back.",
        EventType.REFUND_DONE: "Money was given back.",
        EventType.REFUND_FAILED: "The channel did not give the money back; an operator decides.",
        EventType.REFUND_HELD: "Money is to be given back, and waits for operators to allow it.",
        EventType.REFUND_REJECTED: "An operator decided that the money is not given back.",
    }
    content: Json = {"schema": _ref(EventObject)}
    if event.value == EVENT.type:
        content["example"] = msgspec.to_builtins(EVENT)
    headers = {
        "webhook-id": "The event's id; the same at every try.",
        "webhook-timestamp": "When this try was signed, in seconds since 1970.",
        "webhook-signature": "`v1,` and the base64 of an HMAC-SHA256, one for each secret.",
    }
    return {
        "summary": meanings[event],
        "description": "Signed as Standard Webhooks. Answer 2xx within 5 seconds once you have it; "
        "otherwise it is sent again, for up to 3 days. Of two, the higher `version` is right.",
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": meaning,
                "schema": {"type": "string"},
            }
            for name, meaning in headers.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"2XX": {"description": "You have it."}},
    }


def _ref(shape: type[Struct]) -> Json:
    return {"$ref": _REF.format(name=shape.__name__)}


def _schemas(routes: Iterable[Route]) -> dict[str, Json]:
    """Return the schema of everything that is sent or answered, by the name of its Struct."""
    shapes: dict[type[Struct], None] = {EventObject: None, ProblemObject: None, Item: None}
    for route in routes:
        if route.body is not None:
            shapes[route.body] = None
        shapes |= {said.shape: None for said in route.answers.values() if said.shape is not None}
    _, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    for schema in components.values():
        for name, member in schema.get("properties", {}).items():
            _make_plain(name, member)
    components["OrderObject"]["properties"]["items"]["anyOf"][0]["items"] = _ref(Item)
    return components


def _make_plain(name: str, member: Json) -> None:
    """Say of a member what its type could not say.

    `msgspec.Raw` is JSON that was checked when it came in: it has the shape of its alternative.
    Times are RFC 3339, which msgspec says only of those that it was told to check.
    """
    kinds = member.get("anyOf")
    if isinstance(kinds, list):
        member["anyOf"] = kinds = [kind for kind in kinds if kind]
    if name.endswith(("_at", "until")) or name in ("at", "timestamp", "server_time"):
        for kind in kinds if isinstance(kinds, list) else [member]:
            if kind.get("type") == "string":
                kind["format"] = "date-time"
