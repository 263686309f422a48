"""Idempotency keys: one row a key, claimed by a lease, kept for 24 hours."""

from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct

from gateway.db.orders import Connection

# A key is free when it is new, when its day is over, or when whoever held it with this body died.
_CLAIM: Final = """
    WITH claimed AS (
        INSERT INTO idempotency_keys AS k (merchant, method, path, key, body_hash, locked_until)
        VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second')
        ON CONFLICT (merchant, method, path, key) DO UPDATE
        SET body_hash = excluded.body_hash, locked_until = excluded.locked_until,
            status = NULL, answer = NULL, created_at = now()
        WHERE (k.locked_until < now() AND k.body_hash = excluded.body_hash)
            OR (
                coalesce(k.locked_until, '-infinity') < now()
                AND k.created_at < now() - interval '24 hours'
            )
        RETURNING locked_until
    )
    SELECT 'held', locked_until, NULL::integer, NULL::bytea FROM claimed
    UNION ALL
    SELECT
        CASE
            WHEN body_hash <> $5 THEN 'mismatch'
            WHEN locked_until IS NOT NULL THEN 'running'
            ELSE 'kept'
        END, locked_until, status, answer
    FROM idempotency_keys
    WHERE merchant = $1 AND method = $2 AND path = $3 AND key = $4
        AND NOT EXISTS (SELECT FROM claimed)
"""
_KEEP: Final = """
    UPDATE idempotency_keys SET locked_until = NULL, status = $6, answer = $7
    WHERE merchant = $1 AND method = $2 AND path = $3 AND key = $4 AND locked_until = $5
"""
_GIVE_BACK: Final = """
    DELETE FROM idempotency_keys
    WHERE merchant = $1 AND method = $2 AND path = $3 AND key = $4 AND locked_until = $5
"""
# The age stands outside too: a key that is used again while this waits for its row is not old.
_FORGET_OLD: Final = """
    DELETE FROM idempotency_keys
    WHERE created_at < now() - interval '24 hours' AND (merchant, method, path, key) IN (
        SELECT merchant, method, path, key FROM idempotency_keys
        WHERE created_at < now() - interval '24 hours'
            AND (locked_until IS NULL OR locked_until < now())
        ORDER BY created_at LIMIT $1
    )
"""


class Scope(Struct, frozen=True):
    """Within what a key is unique."""

    merchant: str
    method: str
    path: str
    key: str


class Held(Struct, frozen=True):
    """The key is ours until then; the moment is also the token of the claim."""

    until: datetime


class Kept(Struct, frozen=True):
    """A request before has finished, with this answer."""

    status: int
    answer: bytes


class Mismatch(Struct, frozen=True):
    """The key was used with another body."""


class Running(Struct, frozen=True):
    """A request before is still running."""


Claim: TypeAlias = Held | Kept | Mismatch | Running


async def claim(conn: Connection, scope: Scope, body_hash: bytes, lease_s: float) -> Claim:
    """Claim a key, or learn what became of the request that has it."""
    of = (scope.merchant, scope.method, scope.path, scope.key)
    while (row := await conn.fetchrow(_CLAIM, *of, body_hash, lease_s)) is None:
        pass  # a rival committed its row after our snapshot was taken: the next one shows it
    match row[0]:
        case "held":
            return Held(row[1])
        case "kept":
            return Kept(row[2], row[3])
        case "running":
            return Running()
        case _:
            return Mismatch()


async def keep(conn: Connection, scope: Scope, held: Held, status: int, answer: bytes) -> None:
    """Keep the answer, unless the lease ran out and somebody else holds the key by now."""
    of = (scope.merchant, scope.method, scope.path, scope.key)
    await conn.execute(_KEEP, *of, held.until, status, answer)


async def give_back(conn: Connection, scope: Scope, held: Held) -> None:
    """Free the key as if it had never been claimed."""
    of = (scope.merchant, scope.method, scope.path, scope.key)
    await conn.execute(_GIVE_BACK, *of, held.until)


async def forget_old(conn: Connection, limit: int) -> int:
    """Delete keys whose day is over; returns how many."""
    return int((await conn.execute(_FORGET_OLD, limit)).removeprefix("DELETE "))
