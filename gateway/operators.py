"""Setting up operators, who decide about refunds that wait for people: what the commands write."""

import asyncpg

from gateway.db import operators
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.ids import OperatorId, new_operator_id
from gateway.secrets import hash_api_key, new_operator_token

_LONGEST_NAME = 64


async def add_operator(conn: Connection, name: str) -> tuple[OperatorId, str]:
    """Add an operator; returns the id and the token, of which only the hash is kept.

    Two persons must be two operators, so a name is taken once. Raises ConfigurationError.
    """
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise ConfigurationError(f"--name: must be 1 to {_LONGEST_NAME} printable characters")
    operator, token = new_operator_id(), new_operator_token()
    try:
        await operators.add(conn, operator, name, hash_api_key(token))
    except asyncpg.UniqueViolationError:
        raise ConfigurationError(f"--name: there is an operator {name!r} already") from None
    return operator, token


async def revoke_operator(conn: Connection, operator: str) -> None:
    """Let an operator's token open nothing any more. Raises ConfigurationError."""
    if not await operators.revoke(conn, operator):
        raise ConfigurationError(f"--id: there is no operator {operator!r}")
