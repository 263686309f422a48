"""Setting up merchants, their keys and their channel accounts: what the commands write."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import msgspec

from gateway.db import accounts, merchants
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.model import Terminal
from gateway.payments.account_rules import read_ladder
from gateway.payments.accounts import MAKERS
from gateway.payments.refund_rules import read_limits
from gateway.secrets import Cipher, hash_api_key

# Kept encrypted; everything else of an account is kept as it is, so that operators can read it.
_SECRET_SETTINGS: Final = frozenset(
    {"merchant_key", "apiv3_key", "app_secret", "app_key", "pfx", "pfx_password"}
)
# They stand in callback URLs.
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALL_TERMINALS: Final = tuple(terminal.value for terminal in Terminal)


def _must_be_an_id(field: str, said: str) -> None:
    if not _ID.fullmatch(said):
        raise ConfigurationError(
            f"{field}: {said!r} is not 1 to 64 letters, digits, dots, underscores and dashes"
        )


async def add_merchant(
    conn: Connection,
    cipher: Cipher,
    merchant: str,
    name: str,
    notify_url: str | None,
    webhook_secret: str,
) -> None:
    """Add a merchant, or change the name and the default notify URL of the one that is there."""
    _must_be_an_id("merchant", merchant)
    await merchants.put(conn, merchant, name, notify_url, cipher.encrypt([webhook_secret]))


async def let_key_in(conn: Connection, merchant: str, api_key: str) -> None:
    """Accept an API key for the merchant; only its hash is kept."""
    await merchants.add_key(conn, merchant, hash_api_key(api_key))


async def add_channel(
    conn: Connection,
    cipher: Cipher,
    merchant: str,
    account: str,
    kind: str,
    settings: Mapping[str, str],
    *,
    priority: int = 100,
    terminals: Sequence[str] = _ALL_TERMINALS,
) -> None:
    """Add a channel account or change it, once its adapter accepts the settings.

    Raises ConfigurationError naming the setting that is wrong, and writes nothing then.
    """
    _must_be_an_id("id", account)
    if kind not in MAKERS:
        raise ConfigurationError(f"kind: {kind!r} is not one of {', '.join(sorted(MAKERS))}")
    if unknown := set(terminals) - set(_ALL_TERMINALS):
        raise ConfigurationError(f"terminals: {unknown.pop()!r} is not one of {_ALL_TERMINALS}")
    if await merchants.read(conn, merchant) is None:
        raise ConfigurationError(f"merchant: there is no {merchant!r}; `payonce merchant add` it")
    read_ladder(settings)
    read_limits(settings)
    public = {name: value for name, value in settings.items() if name not in _SECRET_SETTINGS}
    secret = {name: value for name, value in settings.items() if name in _SECRET_SETTINGS}
    async with aiohttp.ClientSession() as unused:
        for make in MAKERS[kind]:
            make(account, public, secret, unused)
    public_json = msgspec.json.encode(public).decode()
    written = await accounts.put(
        conn, account, merchant, kind, public_json, cipher.encrypt(secret), priority, terminals
    )
    if not written:
        raise ConfigurationError(
            f"id: {account!r} is another merchant's account, or of another kind"
        )
