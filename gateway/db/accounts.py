"""Merchants' accounts at channels."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection

_COLUMNS: Final = "id, merchant, kind, settings, secrets, priority, terminals, enabled"
_OF_MERCHANT: Final = f"""
    SELECT {_COLUMNS} FROM channel_accounts WHERE merchant = $1 AND enabled ORDER BY priority, id
"""
_READ: Final = f"SELECT {_COLUMNS} FROM channel_accounts WHERE id = $1"
_LIST: Final = f"SELECT {_COLUMNS} FROM channel_accounts ORDER BY merchant, priority, id"
_PUT: Final = """
    INSERT INTO channel_accounts (id, merchant, kind, settings, secrets, priority, terminals)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, secrets = excluded.secrets,
        priority = excluded.priority, terminals = excluded.terminals
    WHERE channel_accounts.merchant = excluded.merchant AND channel_accounts.kind = excluded.kind
    RETURNING id
"""


class AccountRow(Struct, frozen=True):
    id: str
    merchant: str
    kind: str
    settings: str  # JSON
    secrets: bytes  # encrypted
    priority: int
    terminals: list[str]
    enabled: bool


async def of_merchant(conn: Connection, merchant: str) -> list[AccountRow]:
    """Return a merchant's enabled accounts, the preferred first."""
    return [AccountRow(*row) for row in await conn.fetch(_OF_MERCHANT, merchant)]


async def read(conn: Connection, account: str) -> AccountRow | None:
    row = await conn.fetchrow(_READ, account)
    return AccountRow(*row) if row else None


async def read_all(conn: Connection) -> list[AccountRow]:
    return [AccountRow(*row) for row in await conn.fetch(_LIST)]


async def put(
    conn: Connection,
    account: str,
    merchant: str,
    kind: str,
    settings: str,
    secrets: bytes,
    priority: int,
    terminals: Sequence[str],
) -> bool:
    """Add an account or change its settings; False: that id is another merchant's, or of another
    kind.
    """
    return bool(
        await conn.fetchval(
            _PUT, account, merchant, kind, settings, secrets, priority, list(terminals)
        )
    )
