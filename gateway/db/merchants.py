"""Merchants and their API keys."""

from datetime import timedelta
from typing import Final

from msgspec import Struct

from gateway.db.orders import Connection

_PUT: Final = """
    INSERT INTO merchants (id, name, notify_url, webhook_secrets) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, notify_url = excluded.notify_url
"""
_READ: Final = """
    SELECT id, name, notify_url, webhook_secrets, surplus_refunds, extend_for_slow_channels
    FROM merchants WHERE id = $1
"""
_LIST: Final = """
    SELECT id, name, notify_url, webhook_secrets, surplus_refunds, extend_for_slow_channels
    FROM merchants ORDER BY id
"""
_MERCHANT_OF_KEY: Final = """
    SELECT merchant FROM api_keys WHERE hash = $1 AND (expires_at IS NULL OR expires_at > now())
"""
_ADD_KEY: Final = "INSERT INTO api_keys (hash, merchant) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_RETIRE_KEYS: Final = """
    UPDATE api_keys SET expires_at = least(expires_at, now() + $2) WHERE merchant = $1
"""
_CHANGE: Final = """
    UPDATE merchants SET
        name = coalesce($2, name),
        notify_url = nullif(coalesce($3, notify_url), ''),
        surplus_refunds = coalesce($4, surplus_refunds),
        extend_for_slow_channels = coalesce($5, extend_for_slow_channels)
    WHERE id = $1
    RETURNING id, name, notify_url, webhook_secrets, surplus_refunds, extend_for_slow_channels
"""


class Merchant(Struct, frozen=True):
    id: str
    name: str
    notify_url: str | None
    webhook_secrets: bytes  # encrypted
    surplus_refunds: str
    extend_for_slow_channels: bool


async def put(
    conn: Connection, merchant: str, name: str, notify_url: str | None, webhook_secrets: bytes
) -> None:
    """Add a merchant, or change the name and the notify URL of the one that is there."""
    await conn.execute(_PUT, merchant, name, notify_url, webhook_secrets)


async def change(
    conn: Connection,
    merchant: str,
    *,
    name: str | None,
    notify_url: str | None,
    surplus_refunds: str | None,
    extend_for_slow_channels: bool | None,
) -> Merchant | None:
    """Change what is not None, and return the merchant, or None where there is none.

    An empty `notify_url` takes it away.
    """
    row = await conn.fetchrow(
        _CHANGE, merchant, name, notify_url, surplus_refunds, extend_for_slow_channels
    )
    return Merchant(*row) if row else None


async def read(conn: Connection, merchant: str) -> Merchant | None:
    row = await conn.fetchrow(_READ, merchant)
    return Merchant(*row) if row else None


async def read_all(conn: Connection) -> list[Merchant]:
    return [Merchant(*row) for row in await conn.fetch(_LIST)]


async def merchant_of_key(conn: Connection, key_hash: bytes) -> str | None:
    """Return whose key that is, if it is still good."""
    found = await conn.fetchval(_MERCHANT_OF_KEY, key_hash)
    return str(found) if found else None


async def add_key(conn: Connection, merchant: str, key_hash: bytes) -> None:
    await conn.execute(_ADD_KEY, key_hash, merchant)


async def retire_keys(conn: Connection, merchant: str, overlap: timedelta) -> None:
    """Let the keys that there are end after the overlap, in which the old and the new both work."""
    await conn.execute(_RETIRE_KEYS, merchant, overlap)
