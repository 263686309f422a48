"""Idempotency-Key: a POST that carries one happens once, however often it is sent.

The first request claims the key in PostgreSQL, the answer is kept there for 24 hours, and a repeat
gets it again. The claim is a lease: a process that dies holding it blocks the key for a minute, not
for ever. What may turn out otherwise a moment later (5xx, and what says Retry-After) is not kept.
"""

import asyncio
import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from gateway.db import idempotency as keys
from gateway.db.idempotency import Held, Kept, Mismatch, Running, Scope
from gateway.errors import (
    IdempotencyMismatch,
    InvalidRequest,
    Problem,
    RequestInProgress,
)
from gateway.outages import missing, tell
from gateway.web.calls import MerchantOnce, Reply
from gateway.web.keys import DESK
from gateway.web.problems import REQUEST_ID, problem_body
from gateway.web.wire import connection, read_json

HEADER: Final = "Idempotency-Key"
RULE: Final = "A key of your own, new for each new intent: 1 to 255 visible ASCII characters."
_LEASE_S: Final = 60.0  # longer than any handler runs
_GIVE_BACK_AGAIN_S: Final = 1.0
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


async def call_once(call: MerchantOnce, request: web.Request, merchant: str) -> Reply:
    """Run the handler; with an Idempotency-Key, run it only if no request before did."""
    said = request.headers.getall(HEADER, [])
    if not said:
        return await call.handler(request, merchant)
    if len(said) > 1 or not _KEY.fullmatch(said[0]):
        raise InvalidRequest(HEADER, RULE)
    scope = Scope(merchant, request.method, request.rel_url.raw_path, said[0])
    body = await read_json(request) if request.can_read_body else b""
    body_hash = hashlib.sha256(body).digest()
    async with connection(request) as conn:
        claim = await keys.claim(conn, scope, body_hash, _LEASE_S)
    match claim:
        case Held():
            return await _run(call, request, scope, claim)
        case Kept(status=status, answer=answer):
            kept = Reply(status, answer, replayed=True)
            # A problem is replayed to the letter; what the call made may be answered anew.
            return kept if status >= 400 else await call.replay(request, merchant, kept)
        case Mismatch():
            raise IdempotencyMismatch("The first request with this key had another body.")
        case Running():
            raise RequestInProgress("The first request with this key still runs; ask again.")


async def _run(call: MerchantOnce, request: web.Request, scope: Scope, held: Held) -> Reply:
    """Run the handler under the claim, and keep its answer or give the claim back."""
    try:
        reply = await call.handler(request, scope.merchant)
    except Problem as problem:
        if problem.status >= 500 or problem.retry_after_s is not None:
            await _give_back(request, scope, held)
            raise
        reply = Reply(problem.status, problem_body(problem, request[REQUEST_ID]))
        await _keep(request, scope, held, reply)
        raise
    except BaseException:
        await _give_back(request, scope, held)
        raise
    await _keep(request, scope, held, reply)
    return reply


async def _keep(request: web.Request, scope: Scope, held: Held, reply: Reply) -> None:
    """Keep the answer.

    Where that fails the caller still gets it: the call has happened by now, and each call that
    takes a key answers a repeat alike without one.
    """
    answer = reply.body if reply.remember is None else reply.remember
    try:
        async with connection(request) as conn:
            await keys.keep(conn, scope, held, reply.status, answer)
    except Exception as error:  # noqa: BLE001 - the call has happened, whatever this is
        tell("idempotency_key_not_kept", error)


async def _give_back(request: web.Request, scope: Scope, held: Held) -> None:
    """Let the key go; where PostgreSQL is away, as soon as it is back, or the lease ends first."""
    try:
        async with connection(request) as conn:
            await keys.give_back(conn, scope, held)
    except Exception as error:  # noqa: BLE001 - the caller is told of the first failure, not of this
        tell("idempotency_key_not_given_back", error)
        if missing(error) is not None:
            request.app[DESK].errands.run(_give_back_later(request, scope, held))


async def _give_back_later(request: web.Request, scope: Scope, held: Held) -> None:
    await asyncio.sleep(_GIVE_BACK_AGAIN_S)
    if datetime.now(UTC) < held.until:
        await _give_back(request, scope, held)
