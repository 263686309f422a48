"""Stripe's door: who may come in, and what is answered to who comes again with the same key.

The answer to the first call under an Idempotency-Key is kept for a day, an error inside Stripe too,
and given again to whoever says the same. What was refused before anything was done is not kept.
"""

import json
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
from aiohttp import web

from gateway.sandbox.faults import Call, Error, FaultBoard
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.stripe_errors import StripeRefusal

VERSION = "2026-10-28.endive"
KEY_LIFE = timedelta(hours=24)
LONGEST_KEY = 255

Said = Mapping[str, object]


class Kept(msgspec.Struct, frozen=True):
    """What was answered to the first call under a key, and what that call said."""

    said: str
    status: int
    body: str
    at: datetime


class StripeGate:
    """Lets calls in, keeps answers by their keys, and words errors."""

    def __init__(self, keys: SandboxKeys, faults: FaultBoard) -> None:
        self._secret_key = keys.stripe.secret_key
        self._faults = faults
        self._kept: dict[str, Kept] = {}
        self._busy: set[str] = set()

    def forget(self) -> None:
        self._kept.clear()

    async def serve(
        self, request: web.Request, call: Call, said: str, act: Callable[[], Said]
    ) -> web.Response:
        """Answer a call. `said` is all that it says: the same key must come with the same."""
        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        answer = _Answer(key)
        try:
            self._admit(request, key)
        except StripeRefusal as refusal:
            return answer.refused(refusal)
        if key:
            self._busy.add(key)
        try:
            return await self._faults.answer(
                request,
                call,
                act=lambda: self._act(answer, call, said, act),
                fail=lambda error: self._fail(answer, call, said, error),
            )
        finally:
            self._busy.discard(key)

    def _act(
        self, answer: "_Answer", call: Call, said: str, act: Callable[[], Said]
    ) -> web.Response:
        now = self._faults.now(call.channel)
        kept = self._find(answer.key, now)
        if kept is not None:
            if kept.said != said:
                return answer.refused(
                    StripeRefusal(
                        "Keys for idempotent requests can only be used with the same parameters "
                        "they were first used with.",
                        kind="idempotency_error",
                    )
                )
            return answer.given(kept.status, kept.body, replayed=True)
        try:
            status, body = 200, json.dumps(act())
        except StripeRefusal as refusal:
            if not refusal.executed:
                return answer.refused(refusal)
            status, body = refusal.status, json.dumps(refusal.body(answer.id))
        if answer.key:
            self._kept[answer.key] = Kept(said, status, body, now)
        if self._faults.spoils_answer(call.channel):
            body = body[: len(body) // 2]
        return answer.given(status, body)

    def _fail(self, answer: "_Answer", call: Call, said: str, error: Error) -> web.Response:
        """A bare status is that of a machine before Stripe; an error of Stripe's own is kept."""
        if not isinstance(error.code, str):
            return web.Response(status=error.status, text="")
        refusal = StripeRefusal("An unknown error occurred", kind=error.code)
        body = json.dumps(refusal.body(answer.id))
        if answer.key:
            now = self._faults.now(call.channel)
            self._kept[answer.key] = Kept(said, error.status, body, now)
        return answer.given(error.status, body)

    def _find(self, key: str, now: datetime) -> Kept | None:
        kept = self._kept.get(key)
        return kept if kept is not None and now < kept.at + KEY_LIFE else None

    def _admit(self, request: web.Request, key: str) -> None:
        given = _key_in(request.headers.get("Authorization", ""))
        if given != self._secret_key:
            shown = f"{given[:8]}{'*' * 12}{given[-4:]}" if given else "nothing"
            raise StripeRefusal(f"Invalid API Key provided: {shown}", status=401)
        if len(key) > LONGEST_KEY:
            raise StripeRefusal("The Idempotency-Key is too long.", param="Idempotency-Key")
        if key in self._busy:
            raise StripeRefusal(
                "There is currently another in-progress request using this Idempotency-Key.",
                status=409,
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )


class _Answer:
    """What every answer carries."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.id = "req_" + secrets.token_hex(7)

    def given(self, status: int, body: str, *, replayed: bool = False) -> web.Response:
        headers = {"Request-Id": self.id, "Stripe-Version": VERSION}
        if self.key:
            headers["Idempotency-Key"] = self.key
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        if status == 409:
            headers["Stripe-Should-Retry"] = "true"
        return web.Response(
            status=status, text=body, headers=headers, content_type="application/json"
        )

    def refused(self, refusal: StripeRefusal) -> web.Response:
        return self.given(refusal.status, json.dumps(refusal.body(self.id)))


def _key_in(authorization: str) -> str:
    """The key, as a bearer token or as the user of a password that is empty."""
    scheme, _, given = authorization.partition(" ")
    if scheme == "Basic":
        try:
            return b64decode(given, validate=True).decode().partition(":")[0]
        except ValueError:
            return ""
    return given if scheme == "Bearer" else ""
