"""Merchants' accounts at channels."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection

_COLUMNS: Final = """id, merchant, kind, settings, secrets, priority, terminals, enabled,
    (SELECT extend_for_slow_channels FROM merchants m WHERE m.id = channel_accounts.merchant)
"""
_OF_MERCHANT: Final = f"""
    SELECT {_COLUMNS} FROM channel_accounts WHERE merchant = $1 AND enabled ORDER BY priority, id
"""
_READ: Final = f"SELECT {_COLUMNS} FROM channel_accounts WHERE id = $1"
# Attempts that refer to it can be made meanwhile.
_LOCK: Final = f"{_READ} FOR NO KEY UPDATE"
_LIST: Final = f"SELECT {_COLUMNS} FROM channel_accounts ORDER BY merchant, priority, id"
_PUT: Final = """
    INSERT INTO channel_accounts (id, merchant, kind, settings, secrets, priority, terminals)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO UPDATE SET settings = excluded.settings, secrets = excluded.secrets,
        priority = excluded.priority, terminals = excluded.terminals
    WHERE channel_accounts.merchant = excluded.merchant AND channel_accounts.kind = excluded.kind
    RETURNING id
"""

_CHANGE: Final = """
    UPDATE channel_accounts SET settings = $2, secrets = $3, priority = $4, terminals = $5
    WHERE id = $1
"""
_SWITCH: Final = f"""
    UPDATE channel_accounts SET enabled = $2 WHERE id = $1 RETURNING {_COLUMNS}
"""
_SWITCH_TERMINAL: Final = f"""
    UPDATE channel_accounts
    SET terminals = array_remove(terminals, $3::text)
        || CASE WHEN $2 THEN ARRAY[$3::text] ELSE '{{}}'::text[] END
    WHERE id = $1 RETURNING {_COLUMNS}
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
    extends_orders: bool = True  # as its merchant wants it for channels that are slow


async def of_merchant(conn: Connection, merchant: str) -> list[AccountRow]:
    """Return a merchant's enabled accounts, the preferred first."""
    return [AccountRow(*row) for row in await conn.fetch(_OF_MERCHANT, merchant)]


async def read(conn: Connection, account: str) -> AccountRow | None:
    row = await conn.fetchrow(_READ, account)
    return AccountRow(*row) if row else None


async def lock(conn: Connection, account: str) -> AccountRow | None:
    """Read an account, and let nobody else change it before the transaction ends."""
    row = await conn.fetchrow(_LOCK, account)
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


async def change(
    conn: Connection,
    account: str,
    settings: str,
    secrets: bytes,
    priority: int,
    terminals: Sequence[str],
) -> None:
    """Write an account as it shall be; it was locked before."""
    await conn.execute(_CHANGE, account, settings, secrets, priority, list(terminals))


async def switch(conn: Connection, account: str, *, on: bool) -> AccountRow | None:
    """Let an account take payments, or no more; returns it, or None where there is none."""
    row = await conn.fetchrow(_SWITCH, account, on)
    return AccountRow(*row) if row else None


async def switch_terminal(
    conn: Connection, account: str, terminal: str, *, on: bool
) -> AccountRow | None:
    """Let an account take payments on one terminal, or no more there; as `switch`."""
    row = await conn.fetchrow(_SWITCH_TERMINAL, account, on, terminal)
    return AccountRow(*row) if row else None
