"""How tests make the shop's webhook receiver fail, and see what reached it.

None of this belongs into a real shop: it stands around the receiver, which knows nothing of it.
"""

import asyncio
import collections
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.sandbox.shop_api import answer_json

WEBHOOK_PATH = "/webhooks/payonce"
REMEMBERED = 10_000


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong with the receiver; `{}` is nothing.

    `answer_status` is answered and `drop` hangs up, both instead of receiving, or with
    `after_commit` once everything was done, which is a lost answer.
    """

    answer_status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    drop: bool = False
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0
    after_commit: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """One webhook that reached us; `verified` and `effect` are null where a fault kept us deaf."""

    id: str | None
    type: str | None
    version: int | None
    verified: bool | None
    effect: str | None
    status: int | None


class Envelope(msgspec.Struct, frozen=True):
    """The part of a webhook's body that tells deliveries apart."""

    id: str | None = None
    type: str | None = None
    version: int | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The receiver's own answer."""

    effect: str | None = None


class Control:
    """The faults in force and the deliveries seen since the start."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.received: collections.deque[Delivery] = collections.deque(maxlen=REMEMBERED)


CONTROL = web.AppKey("control", Control)


T = TypeVar("T", Envelope, Outcome)


@web.middleware
async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the receiver work as the faults allow, and write down what came of it."""
    if request.path != WEBHOOK_PATH or request.method != "POST":
        return await handler(request)
    control = request.app[CONTROL]
    faults = control.faults
    await asyncio.sleep(faults.delay_s)
    is_deaf = (faults.drop or faults.answer_status is not None) and not faults.after_commit
    answer = web.Response(status=503) if is_deaf else await handler(request)
    control.received.append(describe(await request.read(), answer, is_deaf=is_deaf, faults=faults))
    if faults.drop and request.transport is not None:
        request.transport.abort()
    if faults.answer_status is not None:
        return web.Response(status=faults.answer_status)
    return answer


def describe(body: bytes, answer: web.StreamResponse, *, is_deaf: bool, faults: Faults) -> Delivery:
    """Say what reached us and what came of it; a forged body is quoted, not believed."""
    envelope = read(body, Envelope)
    said = answer.body if isinstance(answer, web.Response) else None
    outcome = read(said if isinstance(said, bytes) else b"", Outcome)
    return Delivery(
        id=envelope.id,
        type=envelope.type,
        version=envelope.version,
        verified=None if is_deaf else answer.status != HTTPStatus.UNAUTHORIZED,
        effect=outcome.effect,
        status=None if faults.drop else faults.answer_status or answer.status,
    )


def read(body: bytes, kind: type[T]) -> T:
    """Read what can be read; the rest is null."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return kind()


async def set_faults(request: web.Request) -> web.Response:
    """POST /_control/faults: replace the faults in force by these."""
    try:
        faults = msgspec.json.decode(await request.read(), type=Faults)
    except msgspec.DecodeError as error:
        return web.json_response({"error": str(error)}, status=422)
    request.app[CONTROL].faults = faults
    return answer_json(faults)


async def list_received(request: web.Request) -> web.Response:
    """GET /_control/received: the webhooks that reached us since the start, oldest first."""
    return answer_json({"data": list(request.app[CONTROL].received)})
