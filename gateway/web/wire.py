"""From bytes to typed bodies and back: past this module there are no loose dicts.

Whatever is wrong with a request becomes one `InvalidRequest` that names the field by its path
(`items[0].quantity`) and repeats the field's rule, which stands once, in `gateway.web.bodies`.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl

import asyncpg
import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from asyncpg.pool import PoolAcquireContext
from msgspec import Struct, inspect
from multidict import CIMultiDict

from gateway.errors import InvalidRequest, NotFound, PayloadTooLarge, UnsupportedMediaType
from gateway.ids import AttemptId, EventId, OrderId, RefundId
from gateway.web.calls import Reply
from gateway.web.keys import DESK

BODY_LIMIT: Final = 65_536

_WHERE: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`\Z")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_ID: Final = re.compile(r"(?:ord|att|ref|evt)_[0-9A-HJKMNP-TV-Z]{26}")

Shaped = TypeVar("Shaped", bound=Struct)


class _SaidTwice(ValueError):
    """A member of an object stands in it twice."""


class Shape(Generic[Shaped]):
    """A Struct that a request must look like: its decoder, made once, and its fields' rules."""

    def __init__(self, struct: type[Shaped]) -> None:
        self._struct = struct
        self._decoder = msgspec.json.Decoder(struct)
        self._rules = dict(_rules(struct, ""))
        self._fields = dict(_fields(struct, ""))
        self._integers = {
            field.name
            for field in msgspec.structs.fields(struct)
            for kind in _kinds(inspect.type_info(field.type))
            if isinstance(kind, inspect.IntType)
        }

    def from_json(self, raw: bytes) -> Shaped:
        """Read a body, or raise InvalidRequest that names the field."""
        try:
            shaped = self._decoder.decode(raw)
            _once.decode(raw.decode())
        except msgspec.ValidationError as error:
            self._refuse(str(error))
        except UnicodeDecodeError:
            raise InvalidRequest("body", "The body is not UTF-8; send JSON in UTF-8.") from None
        except msgspec.DecodeError as error:
            raise InvalidRequest("body", f"The body is not JSON: {error}.") from None
        except _SaidTwice as error:
            raise _twice(str(error)) from None
        return shaped

    def from_query(self, request: web.Request) -> Shaped:
        """Read the query of a URL, or raise InvalidRequest that names the parameter."""
        said: dict[str, str | int] = {}
        for name, text in request.query.items():
            if name in said:
                raise _twice(_shown(name))
            whole = name in self._integers and text.isascii() and text.isdigit() and len(text) < 20
            said[name] = int(text) if whole else text
        try:
            return msgspec.convert(said, self._struct)
        except msgspec.ValidationError as error:
            self._refuse(str(error))

    def _refuse(self, message: str) -> NoReturn:
        """Turn msgspec's sentence into ours: the field's path, what is wrong, the field's rule."""
        where = _WHERE.search(message)
        fault = message[: where.start()] if where else message
        path = where[1].removeprefix(".").removesuffix("[...]") if where else ""
        if missing := _MISSING.fullmatch(fault):
            field = _joined(path, missing[1])
            raise InvalidRequest(field, f"`{field}` is missing. {self._rule(field)}".strip())
        if unknown := _UNKNOWN.fullmatch(fault):
            field = _joined(path, _shown(unknown[1]))
            known = ", ".join(f"`{name}`" for name in self._fields.get(_INDEX.sub("[]", path), ()))
            hint = f"the fields here are {known}" if known else "no fields are taken here"
            raise InvalidRequest(field, f"There is no field `{field}`; {hint}.")
        if not path:
            raise InvalidRequest("body", f"{fault}; send one JSON object.".replace("`", ""))
        said = "Its form is wrong" if "matching regex" in fault else fault.replace("`", "").rstrip()
        raise InvalidRequest(path, f"{said}. {self._rule(path)}".strip())

    def _rule(self, path: str) -> str:
        return self._rules.get(_INDEX.sub("[]", path), "")


def _twice(field: str) -> InvalidRequest:
    return InvalidRequest(field, f"`{field}` stands there twice; say it once.")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str) -> str:
    """Return somebody's text short enough, and plain enough, to be said back."""
    return "".join(char if char.isprintable() else "?" for char in text[:64])


def _once_each(pairs: list[tuple[str, object]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _SaidTwice(_shown(name))
            seen.add(name)


# It runs after msgspec has accepted the body, so neither depth nor size can surprise it.
_once: Final = json.JSONDecoder(object_pairs_hook=_once_each)


def _kinds(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Yield what a field may be, with annotations and unions taken apart."""
    match kind:
        case inspect.Metadata(type=inner):
            yield from _kinds(inner)
        case inspect.UnionType(types=kinds):
            for each in kinds:
                yield from _kinds(each)
        case _:
            yield kind


def _description(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra_json_schema=extra) if extra and "description" in extra:
            return str(extra["description"])
        case inspect.Metadata(type=inner):
            return _description(inner)
        case inspect.UnionType(types=kinds):
            return next(filter(None, map(_description, kinds)), "")
        case _:
            return ""


def _members(struct: type[Struct], path: str) -> Iterator[tuple[str, type[Struct]]]:
    """Yield every object in a body with its path: '' itself, then 'buyer', 'items[]'."""
    yield path, struct
    for field in msgspec.structs.fields(struct):
        inner = _joined(path, field.encode_name)
        for kind in _kinds(inspect.type_info(field.type)):
            match kind:
                case inspect.ListType(item_type=inspect.StructType(cls=member)):
                    yield from _members(member, inner + "[]")
                case inspect.StructType(cls=member):
                    yield from _members(member, inner)
                case _:
                    pass  # a plain value has no fields of its own


def _rules(struct: type[Struct], path: str) -> Iterator[tuple[str, str]]:
    for inner, member in _members(struct, path):
        for field in msgspec.structs.fields(member):
            yield _joined(inner, field.encode_name), _description(inspect.type_info(field.type))


def _fields(struct: type[Struct], path: str) -> Iterator[tuple[str, list[str]]]:
    for inner, member in _members(struct, path):
        yield inner, [field.encode_name for field in msgspec.structs.fields(member)]


def connection(request: web.Request) -> "PoolAcquireContext[asyncpg.Record]":
    """Take a connection from the pool for one read; TimeoutError where none comes free."""
    return request.app[DESK].pool.acquire()


async def read_body(request: web.Request) -> bytes:
    """Return the raw body, bounded; a second reader gets the same bytes."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise PayloadTooLarge(f"Send at most {BODY_LIMIT} bytes.")
    try:
        return await request.read()
    except (RequestPayloadError, ConnectionError):
        # It broke off, or is not in the encoding that it names.
        raise InvalidRequest("body", "The body cannot be read to its end; send it again.") from None


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form, which browsers send in the encoding of our pages."""
    try:
        return dict(parse_qsl((await read_body(request)).decode(), keep_blank_values=True))
    except UnicodeDecodeError:
        raise InvalidRequest("body", "The form is not UTF-8; send it from our page.") from None


async def read_json(request: web.Request) -> bytes:
    """Return the raw body of a request that says it is JSON."""
    if request.content_type != "application/json":
        raise UnsupportedMediaType("Send JSON, with the header `Content-Type: application/json`.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send JSON in UTF-8; leave the charset out of Content-Type.")
    return await read_body(request)


async def read_nothing(request: web.Request, shape: Shape[Shaped]) -> None:
    """Check the body of a call that needs none: it is empty, or an object without fields."""
    if request.can_read_body and (raw := await read_json(request)):
        shape.from_json(raw)


def order_id(request: web.Request) -> OrderId:
    return OrderId(_id(request, "order", "ord_"))


def attempt_id(request: web.Request) -> AttemptId:
    return AttemptId(_id(request, "attempt", "att_"))


def refund_id(request: web.Request) -> RefundId:
    return RefundId(_id(request, "refund", "ref_"))


def event_id(request: web.Request) -> EventId:
    return EventId(_id(request, "event", "evt_"))


def _id(request: web.Request, noun: str, prefix: str) -> str:
    """Return the id in the URL; what cannot be an id is not found, without asking the database."""
    text = request.match_info[noun]
    if not (text.startswith(prefix) and _ID.fullmatch(text)):
        raise no_such(noun)
    return text


def no_such(noun: str) -> NotFound:
    """Return the same refusal for what is not there and for what is another merchant's."""
    return NotFound(f"There is no {noun} with that id at your account.")


def send(reply: Reply) -> web.Response:
    headers = CIMultiDict({"Content-Type": "application/json"})
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    if reply.status >= 400:
        headers["Content-Type"] = "application/problem+json"
    return web.Response(status=reply.status, body=reply.body, headers=headers)
