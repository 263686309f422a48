"""The reference for people: one page, drawn from the very document that programs read."""

import re
import shlex
from functools import cache
from typing import Final

import msgspec
from aiohttp import web
from markupsafe import Markup, escape
from msgspec import Struct

from gateway.web.keys import DESK
from gateway.web.openapi import DOCUMENT, Json
from gateway.web.pages import draw, page_response

_CODE: Final = re.compile(r"`([^`]+)`")
_BOLD: Final = re.compile(r"\*\*([^*]+)\*\*")
_PARAGRAPHS: Final = re.compile(r"\n{2,}")


class Field(Struct, frozen=True):
    """A line of a table of fields."""

    name: str
    kind: str
    see: str  # the object that it is made of, described further down
    rule: str
    required: bool


async def root(_request: web.Request) -> web.Response:
    """GET /: whoever comes to look is shown what there is."""
    return web.Response(status=303, headers={"Location": "/docs"})


async def page(request: web.Request) -> web.Response:
    """GET /docs"""
    base_url = request.app[DESK].settings.base_url
    return page_response(request, _drawn(request.app[DOCUMENT].body, base_url), base_url=base_url)


@cache
def _drawn(document: bytes, base_url: str) -> str:
    spec = msgspec.json.decode(document, type=Json)
    return draw(
        "docs.html",
        "en",
        spec=spec,
        base_url=base_url,
        marked=marked,
        pretty=_pretty,
        curl=lambda method, path, operation: curl(base_url, method, path, operation),
        fields=lambda schema: fields(spec, schema),
        kind=kind,
        last=_last,
    )


def marked(text: str) -> Markup:
    """Turn `code`, **bold** and empty lines into HTML, and nothing else."""
    paragraphs = _PARAGRAPHS.split(str(escape(text.strip())))
    html = "".join(f"<p>{each}</p>" for each in paragraphs)
    return Markup(_BOLD.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", html)))  # noqa: S704 - escaped above


def curl(base_url: str, method: str, path: str, operation: Json) -> str:
    """Return a command to paste into a shell, with `$PAYONCE_KEY` for the key."""
    lines = [f"curl {shlex.quote(base_url + path)}"]
    if method == "post":
        lines[0] = f"curl -X POST {shlex.quote(base_url + path)}"
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $PAYONCE_KEY"')
    if {"$ref": "#/components/parameters/IdempotencyKey"} in _list(operation["parameters"]):
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    example = _body(operation).get("example")
    if example is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(msgspec.json.encode(example).decode())}")
    return " \\\n  ".join(lines)


def fields(spec: Json, schema: Json) -> list[Field]:
    """List the fields of an object, wherever it is defined."""
    found = _resolved(spec, schema)
    required = _list(found.get("required", []))
    return [
        Field(name, kind(member), _see(member), _rule(member), name in required)
        for name, member in _members(found).items()
    ]


def kind(schema: Json) -> str:
    """Say in a word or two what a schema takes."""
    said: list[str]
    match schema:
        case {"$ref": str(ref)}:
            said = [_last(ref)]
        case {"anyOf": list(kinds)}:
            said = [kind(each) for each in kinds]
        case {"enum": list(values)}:
            said = [f'"{value}"' for value in values]
        case {"type": "array", "items": dict(items)}:
            said = [f"array of {kind(items)}"]
        case {"type": "string", "format": "date-time"}:
            said = ["time"]
        case _:
            said = [str(schema.get("type", "anything"))]
    return " or ".join(dict.fromkeys(said))


def _see(schema: Json) -> str:
    match schema:
        case {"$ref": str(ref)}:
            return _last(ref)
        case {"anyOf": list(kinds)}:
            return next(filter(None, map(_see, kinds)), "")
        case {"items": dict(items)}:
            return _see(items)
        case _:
            return ""


def _rule(schema: Json) -> str:
    match schema:
        case {"description": str(rule)}:
            return rule
        case {"anyOf": list(kinds)}:
            return next(filter(None, map(_rule, kinds)), "")
        case _:
            return ""


def _resolved(spec: Json, schema: Json) -> Json:
    ref = schema.get("$ref")
    if not isinstance(ref, str):
        return schema
    found: object = spec
    for step in ref.removeprefix("#/").split("/"):
        found = _dict(found)[step]
    return _dict(found)


def _members(schema: Json) -> dict[str, Json]:
    return {name: _dict(member) for name, member in _dict(schema.get("properties", {})).items()}


def _body(operation: Json) -> Json:
    content = _dict(_dict(operation.get("requestBody", {})).get("content", {}))
    return _dict(content.get("application/json", {}))


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _last(ref: str) -> str:
    return ref.rpartition("/")[2]


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
