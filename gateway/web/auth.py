"""Who is calling: `Authorization: Bearer <key>`, looked up by the SHA-256 of the key or token.

A key has 256 random bits, so a plain hash is enough to keep it by. What PostgreSQL said of a key is
believed for a few seconds, so that a busy merchant costs no look-up; a revoked key works that much
longer.
"""

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.db import merchants, operators
from gateway.errors import Unauthorized
from gateway.ids import OperatorId
from gateway.secrets import hash_api_key
from gateway.web.wire import connection

BELIEVED_S: Final = 5.0
_MOST_KEYS: Final = 10_000


class KeyRing:
    """The keys that were good a moment ago, by their hashes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: dict[bytes, tuple[str, float]] = {}
        self._clock = clock

    def find(self, key_hash: bytes) -> str | None:
        found = self._known.get(key_hash)
        return found[0] if found and self._clock() < found[1] else None

    def add(self, key_hash: bytes, merchant: str) -> None:
        if len(self._known) >= _MOST_KEYS:
            self._known.clear()
        self._known[key_hash] = (merchant, self._clock() + BELIEVED_S)


KEY_RING: Final = web.AppKey("key_ring", KeyRing)


async def merchant_of(request: web.Request) -> str:
    """Return the merchant whose key the request carries, or raise Unauthorized."""
    key_hash = _hash_of_what_is_sent(request)
    ring = request.app[KEY_RING]
    merchant = ring.find(key_hash)
    if merchant is None:
        async with connection(request) as conn:
            merchant = await merchants.merchant_of_key(conn, key_hash)
        if merchant is None:
            raise Unauthorized
        ring.add(key_hash, merchant)
    return merchant


async def operator_of(request: web.Request) -> OperatorId:
    """Return the operator whose token the request carries, or raise Unauthorized.

    They are few and decide about money: each call asks PostgreSQL, and a revoked token is dead.
    """
    async with connection(request) as conn:
        operator = await operators.operator_of_token(conn, _hash_of_what_is_sent(request))
    if operator is None:
        raise Unauthorized("Send `Authorization: Bearer <token>` with an operator's token.")
    return operator


def _hash_of_what_is_sent(request: web.Request) -> bytes:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.isascii():
        raise Unauthorized
    return hash_api_key(key.strip())
