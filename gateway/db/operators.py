"""Operators: who decides about refunds that wait for a person."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection
from gateway.ids import OperatorId

_ADD: Final = "INSERT INTO operators (id, name, token_hash) VALUES ($1, $2, $3)"
_LIST: Final = "SELECT id, name, created_at, revoked_at FROM operators ORDER BY id"
_REVOKE: Final = """
    UPDATE operators SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id
"""
_OPERATOR_OF_TOKEN: Final = "SELECT id FROM operators WHERE token_hash = $1 AND revoked_at IS NULL"


class Operator(Struct, frozen=True):
    id: OperatorId
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def add(conn: Connection, operator: OperatorId, name: str, token_hash: bytes) -> None:
    """Add an operator. Raises asyncpg.UniqueViolationError where the name is taken."""
    await conn.execute(_ADD, operator, name, token_hash)


async def read_all(conn: Connection) -> list[Operator]:
    return [Operator(*row) for row in await conn.fetch(_LIST)]


async def revoke(conn: Connection, operator: str) -> bool:
    """Let an operator's token open nothing any more; False: there is no such operator."""
    return bool(await conn.fetchval(_REVOKE, operator))


async def operator_of_token(conn: Connection, token_hash: bytes) -> OperatorId | None:
    """Return whose token that is, if it is still good."""
    found = await conn.fetchval(_OPERATOR_OF_TOKEN, token_hash)
    return OperatorId(found) if found else None
