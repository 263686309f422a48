"""A guard against submitting twice (防重复提交), as a decorator that any handler can carry.

    @once("refund", "note")
    async def approve_one(request: web.Request, operator: OperatorId) -> web.Response: ...

Of one caller's requests in which those fields are the same, one is let in within a window of time;
the others are told which fields those are and how long to wait. The window ends at once where the
handler fails, so that the caller may correct the request and send it again, and by itself whatever
becomes of the process. It should be longer than the handler takes.

Redis refuses the second click in one round trip. Who is let in PostgreSQL decides, so with Redis
away or flushed one is let in all the same, and the others learn it a little later.
"""

import inspect
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from hashlib import sha256
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

import asyncpg
import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from gateway.db import submissions
from gateway.errors import SentTwice
from gateway.locks.claims import Claims
from gateway.outages import tell
from gateway.telemetry import DUPLICATES_PREVENTED

WINDOW_S: Final = 10.0
_FORM: Final = "application/x-www-form-urlencoded"
_UNREADABLE: Final = (
    msgspec.DecodeError,
    RecursionError,
    ValueError,  # not in the character set that it names,
    LookupError,  # or in none that there is
    RequestPayloadError,
    ConnectionError,
)
_json: Final = msgspec.json.Decoder(dict[str, object])

Fields = Mapping[str, object]
Caller = ParamSpec("Caller")


class HasStatus(Protocol):
    """What a handler answers: an HTTP response, or what becomes one."""

    @property
    def status(self) -> int: ...


Answer = TypeVar("Answer", bound=HasStatus)


class Submission(Struct, frozen=True):
    """What a request says: the variables of its path, and its body's members (JSON or a form).

    The handler has not checked it yet: any member may be missing or of another kind.
    """

    path: Mapping[str, str]
    body: Fields


class Guard:
    """The windows that are open, in Redis for speed and in PostgreSQL for certain."""

    def __init__(self, claims: Claims, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._claims = claims
        self._pool = pool

    async def enter(self, digest: bytes, token: bytes, window_s: float) -> float | None:
        """Open the window of a submission; returns for how many seconds another's is open."""
        if left_ms := await self._claims.submit(_key(digest), token, int(window_s * 1000)):
            return left_ms / 1000
        left_s: float | None = 0.0
        try:
            async with self._pool.acquire() as conn:
                left_s = await submissions.claim(conn, digest, token, window_s)
        finally:
            if left_s is not None:  # Redis had forgotten, or PostgreSQL did not answer
                await self._claims.withdraw(_key(digest), token)
        return left_s

    async def stay(
        self, digest: bytes, token: bytes, handle: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Handle the submission; where that fails, its window ends."""
        stands = False
        try:
            answer = await handle()
            stands = answer.status < 400
        except web.HTTPException as answered:  # a redirect is raised, and is no failure
            stands = answered.status < 400
            raise
        finally:
            if not stands:
                await self.leave(digest, token)
        return answer

    async def leave(self, digest: bytes, token: bytes) -> None:
        """Close the window before its time. Where that is not possible, it ends by itself."""
        try:
            async with self._pool.acquire() as conn:
                await submissions.give_back(conn, digest, token)
        except Exception as error:  # noqa: BLE001 - the handler has answered, whatever this is
            tell("submission_not_given_back", error)
        await self._claims.withdraw(_key(digest), token)


GUARD: Final = web.AppKey("guard", Guard)


def once(
    *fields: str,
    by: Callable[[Submission], Fields] | None = None,
    within_s: float = WINDOW_S,
    client_address: bool = False,
) -> Callable[
    [Callable[Concatenate[web.Request, Caller], Awaitable[Answer]]],
    Callable[Concatenate[web.Request, Caller], Awaitable[Answer]],
]:
    """Let one of a caller's equal requests run within `within_s` seconds.

    Two requests are equal when these `fields` are, variables of the path or members of the body,
    and what `by` returns of the request, by name. The caller is what the handler is told beside the
    request (merchant, operator); a handler that is told nobody names the `token` of its path, or
    says `client_address`, which makes requests from two addresses different.

    Raises SentTwice to the caller of the second, and TypeError where the guard makes no sense:
    where it is written without fields or a caller, and where it is called on a GET.
    """

    def guarded(
        handler: Callable[Concatenate[web.Request, Caller], Awaitable[Answer]],
    ) -> Callable[Concatenate[web.Request, Caller], Awaitable[Answer]]:
        if not fields and by is None:
            raise TypeError("once() has to be told which fields make two requests equal")
        told_who_calls = len(inspect.signature(handler).parameters) > 1
        if not (told_who_calls or client_address or "token" in fields):
            raise TypeError(f"once() cannot tell who calls {handler!r}: say client_address=True")

        @wraps(handler)
        async def run(
            request: web.Request, /, *args: Caller.args, **named: Caller.kwargs
        ) -> Answer:
            same = await _same(request, fields, by, client_address=client_address)
            digest = _digest(request, [str(each) for each in (*args, *named.values())], same)
            guard, token = request.app[GUARD], secrets.token_bytes(12)
            left_s = await guard.enter(digest, token, within_s)
            if left_s is not None:
                raise _refusal(same, left_s)
            return await guard.stay(digest, token, lambda: handler(request, *args, **named))

        return run

    return guarded


async def _same(
    request: web.Request,
    fields: tuple[str, ...],
    by: Callable[[Submission], Fields] | None,
    *,
    client_address: bool,
) -> Fields:
    """Return what has to be equal, by name. A field that is not there is equal to null."""
    if request.method in ("GET", "HEAD"):
        raise TypeError("once() is for what changes something; what only reads may be repeated")
    said = Submission(dict(request.match_info), await _body(request))
    named = {name: said.path.get(name, said.body.get(name)) for name in fields}
    address = {"client_address": request.remote} if client_address else {}
    return {**named, **(by(said) if by else {}), **address}


async def _body(request: web.Request) -> Fields:
    """Return the body's members, none where it cannot be read: the handler says what is wrong."""
    try:
        if request.content_type == _FORM:
            form = await request.post()
            return {name: form.getall(name) for name in form}
        return _json.decode(await request.read())
    except _UNREADABLE:
        return {}


def _digest(request: web.Request, who: list[str], same: Fields) -> bytes:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else request.path
    what = [request.method, route, who, same]
    return sha256(msgspec.json.encode(what, order="deterministic")).digest()


def _key(digest: bytes) -> bytes:
    return b"payonce:submission:" + digest.hex().encode()


def _refusal(same: Fields, left_s: float) -> SentTwice:
    DUPLICATES_PREVENTED.labels(kind="request").inc()
    wait_s = max(math.ceil(left_s), 1)
    named = ", ".join(f"`{name}`" for name in same)
    return SentTwice(
        f"A request with the same {named} came a moment ago. See what came of it before you repeat "
        f"it; if you mean it twice, send it again in {wait_s} s.",
        retry_after_s=wait_s,
    )
