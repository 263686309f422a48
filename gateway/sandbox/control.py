"""The control calls: a test plays the buyer, sets faults, and reads the truth about money.

They are JSON over HTTP beside the channels' protocols, and are never part of the gateway.
"""

import re
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.sandbox.channel import SandboxChannel, Shared
from gateway.sandbox.faults import FaultsChange, Verb
from gateway.sandbox.ledger import NotPayable, entry_of

REFUSALS = {
    "unknown": "the channel has no order with this number",
    "paid": 'it is paid already; with "again": true the wallet pays it a second time',
    "closed": 'it is closed; with the fault "close": "paid_race" it can be paid all the same',
    "expired": "its time to pay is over",
}
JSON = "application/json"
CHANNELS = web.AppKey("channels", dict[str, SandboxChannel])
SHARED = web.AppKey("shared", Shared)

_PATH = re.compile(r"at `\$\.([\w.]+)")
_FIELD = re.compile(r"field `(\w+)`")


class Pay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wallet pays: `amount` in minor units if not the price, `at` as if it were that time."""

    channel: str
    number: str
    amount: Annotated[int, Meta(ge=1)] | None = None
    at: Annotated[datetime, Meta(tz=True)] | None = None
    again: bool = False


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order of one channel."""

    channel: str
    number: str


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a merchant hears news: set once for a kind of account, as on the channel's site."""

    kind: str
    url: Annotated[str, Meta(pattern="^https?://")]


class Listed(msgspec.Struct, frozen=True):
    """Every list is answered under `data`."""

    data: tuple[msgspec.Struct, ...]


class CallCount(msgspec.Struct, frozen=True):
    """How often a channel received a call about a number, whether or not it answered."""

    channel: str
    number: str
    verb: Verb
    count: int


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a control call did nothing; `field` names the part of the body to change."""

    status: int
    code: str
    detail: str
    field: str = ""


Wanted = TypeVar("Wanted", Pay, Point, FaultsChange, Webhook)


def control_routes() -> tuple[web.RouteDef, ...]:
    return (
        web.post("/_control/pay", pay),
        web.post("/_control/scan", scan),
        web.post("/_control/decline", decline),
        web.post("/_control/webhooks", set_webhook),
        web.post("/_control/faults", change_faults),
        web.get("/_control/faults", show_faults),
        web.get("/_control/ledger", show_ledger),
        web.get("/_control/calls", show_calls),
        web.get("/_control/callbacks", show_callbacks),
        web.post("/_control/reset", reset),
    )


async def pay(request: web.Request) -> web.Response:
    """POST /_control/pay {channel, number, amount?, at?, again?} -> the ledger's entry"""
    wanted = await _read(request, Pay)
    channel = _channel(request, wanted.channel)
    try:
        paid = channel.pay(wanted.number, amount=wanted.amount, at=wanted.at, again=wanted.again)
    except NotPayable as refusal:
        raise _refused(refusal) from refusal
    return _json(entry_of(paid))


async def scan(request: web.Request) -> web.Response:
    """POST /_control/scan {channel, number} -> the ledger's entry"""
    wanted = await _read(request, Point)
    try:
        return _json(entry_of(_channel(request, wanted.channel).scan(wanted.number)))
    except NotPayable as refusal:
        raise _refused(refusal) from refusal


async def decline(request: web.Request) -> web.Response:
    """POST /_control/decline {channel, number} -> the ledger's entry"""
    wanted = await _read(request, Point)
    try:
        return _json(entry_of(_channel(request, wanted.channel).decline(wanted.number)))
    except NotPayable as refusal:
        raise _refused(refusal) from refusal


async def set_webhook(request: web.Request) -> web.Response:
    """POST /_control/webhooks {kind, url} -> every kind with its URL"""
    wanted = await _read(request, Webhook)
    webhooks = request.app[SHARED].webhooks
    webhooks[wanted.kind] = wanted.url
    return _json(webhooks)


async def change_faults(request: web.Request) -> web.Response:
    """POST /_control/faults -> how the channel behaves from now on"""
    change = await _read(request, FaultsChange)
    _channel(request, change.channel)
    return _json(request.app[SHARED].faults.change(change))


async def show_faults(request: web.Request) -> web.Response:
    """GET /_control/faults -> {channel: faults}"""
    faults = request.app[SHARED].faults
    return _json({kind: faults.of(kind) for kind in request.app[CHANNELS]})


async def show_ledger(request: web.Request) -> web.Response:
    """GET /_control/ledger -> {data: [entry]}, in the order in which the orders were placed"""
    entries = tuple(entry_of(payment) for payment in request.app[SHARED].ledger)
    return _json(Listed(entries))


async def show_calls(request: web.Request) -> web.Response:
    """GET /_control/calls -> {data: [{channel, number, verb, count}]}"""
    calls = request.app[SHARED].faults.calls
    counts = (CallCount(one.channel, one.number, one.verb, n) for one, n in calls.items())
    return _json(Listed(tuple(counts)))


async def show_callbacks(request: web.Request) -> web.Response:
    """GET /_control/callbacks -> {data: [what became of each callback]}"""
    return _json(Listed(tuple(request.app[SHARED].callbacks.records)))


async def reset(request: web.Request) -> web.Response:
    """POST /_control/reset -> 204; money, faults, counts and callbacks under way are forgotten"""
    shared = request.app[SHARED]
    for channel in request.app[CHANNELS].values():
        channel.reset()
    shared.faults.clear()
    shared.ledger.clear()
    await shared.callbacks.forget_all()
    return web.Response(status=204)


async def _read(request: web.Request, wanted: type[Wanted]) -> Wanted:
    """Read a body; what is wrong with it is answered as 422 with the field's name."""
    try:
        return msgspec.json.decode(await request.read(), type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        named = _PATH.search(str(error)) or _FIELD.search(str(error))
        raise _invalid(named.group(1) if named else "", str(error)) from error


def _channel(request: web.Request, kind: str) -> SandboxChannel:
    channels = request.app[CHANNELS]
    if kind not in channels:
        served = ", ".join(channels)
        raise _invalid("channel", f"this sandbox has no channel {kind!r}; it has {served}")
    return channels[kind]


def _invalid(field: str, detail: str) -> web.HTTPUnprocessableEntity:
    problem = Problem(422, "invalid_request", detail, field)
    return web.HTTPUnprocessableEntity(text=_text(problem), content_type=JSON)


def _refused(refusal: NotPayable) -> web.HTTPException:
    if refusal.reason == "unknown":
        problem = Problem(404, "not_found", REFUSALS["unknown"], "number")
        return web.HTTPNotFound(text=_text(problem), content_type=JSON)
    problem = Problem(409, refusal.reason, REFUSALS[refusal.reason], "number")
    return web.HTTPConflict(text=_text(problem), content_type=JSON)


def _text(problem: Problem) -> str:
    return msgspec.json.encode(problem).decode()


def _json(payload: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(payload), content_type=JSON)
