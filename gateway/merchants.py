"""Setting up merchants, their keys and their channel accounts: what the commands write."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import aiohttp
import msgspec

from gateway.channels.account_settings import faults_in, texts_of
from gateway.channels.kinds import KINDS
from gateway.db import accounts, merchants
from gateway.db.accounts import AccountRow
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.model import Terminal
from gateway.payments import account_rules
from gateway.payments.accounts import MAKERS, read_row
from gateway.secrets import Cipher, hash_api_key

# They stand in callback URLs.
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ALL_TERMINALS: Final = tuple(terminal.value for terminal in Terminal)

Texts = Mapping[str, str]


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
    settings: Texts,
    *,
    priority: int = 100,
    terminals: Sequence[str] = _ALL_TERMINALS,
) -> None:
    """Add a channel account, or write one anew, once its adapter accepts the settings.

    Raises ConfigurationError naming every setting that is wrong, and writes nothing then.
    """
    _must_be_an_id("id", account)
    if kind not in MAKERS:
        raise ConfigurationError(f"kind: {kind!r} is not one of {', '.join(sorted(MAKERS))}")
    _must_be_terminals(terminals)
    if await merchants.read(conn, merchant) is None:
        raise ConfigurationError(f"merchant: there is no {merchant!r}; `payonce merchant add` it")
    await _must_work(kind, account, settings)
    public, secret = _parted(kind, settings)
    written = await accounts.put(
        conn, account, merchant, kind, public, cipher.encrypt(secret), priority, terminals
    )
    if not written:
        raise ConfigurationError(
            f"id: {account!r} is another merchant's account, or of another kind"
        )


async def change_channel(
    conn: Connection,
    cipher: Cipher,
    account: str,
    settings: Texts,
    *,
    without: Collection[str] = (),
    priority: int | None = None,
    terminals: Sequence[str] | None = None,
) -> None:
    """Change what is named of an account and nothing else, once its adapter accepts the whole.

    `without` are settings that it shall have no more. Raises ConfigurationError as `add_channel`.
    """
    if terminals is not None:
        _must_be_terminals(terminals)
    async with conn.transaction():
        row = await accounts.lock(conn, account)
        if row is None:
            raise no_such_account(account)
        public, secret = read_row(row, cipher)
        texts = {**public, **secret}
        if missing := set(without) - set(texts):
            raise ConfigurationError(f"--unset: the account has no setting {min(missing)!r}")
        texts = {name: text for name, text in texts.items() if name not in without}
        texts.update(settings)
        await _must_work(row.kind, account, texts)
        public_json, secret = _parted(row.kind, texts)
        await accounts.change(
            conn,
            account,
            public_json,
            cipher.encrypt(secret),
            row.priority if priority is None else priority,
            row.terminals if terminals is None else terminals,
        )


async def switch_channel(
    conn: Connection, account: str, *, on: bool, terminal: str | None = None
) -> AccountRow:
    """Let an account take payments, or no more; on one terminal, or wherever its terminals are.

    What was begun on it is still asked about, closed and refunded, and its callbacks are read.
    """
    if terminal is None:
        row = await accounts.switch(conn, account, on=on)
    else:
        _must_be_terminals([terminal])
        row = await accounts.switch_terminal(conn, account, terminal, on=on)
    if row is None:
        raise no_such_account(account)
    return row


def no_such_account(account: str) -> ConfigurationError:
    return ConfigurationError(f"--id: there is no channel account {account!r}")


def _must_be_terminals(terminals: Sequence[str]) -> None:
    if unknown := sorted(set(terminals) - set(_ALL_TERMINALS)):
        raise ConfigurationError(
            f"terminals: {unknown[0]!r} is not one of {', '.join(_ALL_TERMINALS)}"
        )


async def _must_work(kind: str, account: str, texts: Texts) -> None:
    """Raise ConfigurationError with everything that is wrong with an account's settings."""
    faults = _unknown(kind, texts)
    faults += faults_in(account_rules.SETTINGS, texts_of(account_rules.SETTINGS, texts, {}))
    try:
        if not faults:
            account_rules.read_bounds(texts)
        async with aiohttp.ClientSession() as unused:
            for make in MAKERS[kind]:
                make(account, texts, {}, unused)
    except ConfigurationError as error:
        faults += str(error).splitlines()
    if len(faults) > 1:
        faults = ["The settings cannot work:", *(f"- {fault}" for fault in faults)]
    if faults:
        raise ConfigurationError("\n".join(faults))


def _unknown(kind: str, texts: Texts) -> list[str]:
    """Say of each setting that the kind does not have which one may be meant."""
    if kind not in KINDS:
        return []
    known = [each.name for each in (*KINDS[kind].settings, *account_rules.SETTINGS)]
    return [
        f"{name}: there is no such setting; " + _meant(name, known)
        for name in texts
        if name not in known
    ]


def _meant(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def _parted(kind: str, texts: Texts) -> tuple[str, dict[str, str]]:
    """Part the settings into JSON that operators may read, and the secrets."""
    hidden = KINDS[kind].secrets if kind in KINDS else frozenset()
    public = {name: text for name, text in texts.items() if name not in hidden}
    secret = {name: text for name, text in texts.items() if name in hidden}
    return msgspec.json.encode(public).decode(), secret
