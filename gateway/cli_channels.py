"""The commands about merchants' accounts at channels, and about the secrets that are kept."""

from base64 import b64encode
from pathlib import Path
from typing import Final

import click

from gateway.account_description import describe
from gateway.capabilities import capabilities, markdown
from gateway.channel_check import Checked, check_all
from gateway.command import AS_JSON, configured, say, say_rows, with_database
from gateway.db import accounts
from gateway.db.accounts import AccountRow
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.merchants import add_channel, change_channel, no_such_account, switch_channel
from gateway.model import Terminal
from gateway.secret_rotation import Rotated, rotate
from gateway.secrets import Cipher

_ID: Final = click.option("--id", "account", required=True, help="The account's id.")
_SET: Final = click.option(
    "--set", "said", multiple=True, metavar="KEY=VALUE", help="VALUE or @FILE."
)
_SECRET: Final = click.option(
    "--secret", "hidden", multiple=True, metavar="KEY=@FILE", help="Kept out of ps."
)
_TERMINAL: Final = click.option(
    "--terminal", type=click.Choice([each.value for each in Terminal]), help="There alone."
)


@click.group()
def channel() -> None:
    """Merchants' accounts at channels."""


@channel.command("add")
@click.option("--merchant", "merchant_id", required=True)
@click.option("--id", "account", required=True, help="In callback URLs; keep it.")
@click.option("--kind", required=True, help="See `payonce channel kinds`.")
@_SET
@_SECRET
@click.option("--priority", default=100, show_default=True, help="The lowest takes a payment.")
@click.option("--terminals", default="pc,wap,webview,app", show_default=True)
@AS_JSON
def channel_add(
    merchant_id: str,
    account: str,
    kind: str,
    said: tuple[str, ...],
    hidden: tuple[str, ...],
    priority: int,
    terminals: str,
    as_json: bool,
) -> None:
    """Add a channel account, or write one anew; the settings are tried before they are written."""
    settings = _pairs(said, hidden)

    async def run(conn: Connection, cipher: Cipher) -> None:
        await add_channel(
            conn,
            cipher,
            merchant_id,
            account,
            kind,
            settings,
            priority=priority,
            terminals=terminals.split(","),
        )

    with_database(run)
    say({"id": account, "kind": kind, "merchant": merchant_id}, as_json)


@channel.command("set")
@_ID
@_SET
@_SECRET
@click.option("--unset", multiple=True, metavar="KEY", help="Take a setting away.")
@click.option("--priority", type=int, help="The lowest takes a payment.")
@click.option("--terminals", help="As in pc,wap,webview,app.")
@AS_JSON
def channel_set(
    account: str,
    said: tuple[str, ...],
    hidden: tuple[str, ...],
    unset: tuple[str, ...],
    priority: int | None,
    terminals: str | None,
    as_json: bool,
) -> None:
    """Change what is named of an account, and nothing else; it is tried before it is written."""
    settings = _pairs(said, hidden)
    if not settings and not unset and priority is None and terminals is None:
        raise ConfigurationError("nothing to change: say --set, --secret, --unset, --priority ...")

    async def run(conn: Connection, cipher: Cipher) -> None:
        await change_channel(
            conn,
            cipher,
            account,
            settings,
            without=unset,
            priority=priority,
            terminals=None if terminals is None else terminals.split(","),
        )

    with_database(run)
    named = {"priority": priority, "terminals": terminals}
    changed = [*settings, *unset, *(name for name, value in named.items() if value is not None)]
    say({"id": account, "changed": ", ".join(changed)}, as_json)


@channel.command("show")
@_ID
@AS_JSON
def channel_show(account: str, as_json: bool) -> None:
    """Show an account with its settings; of secrets their names and fingerprints alone."""

    callbacks = f"{configured().public_url.rstrip('/')}/callbacks/{account}"

    async def run(conn: Connection, cipher: Cipher) -> dict[str, str]:
        row = await accounts.read(conn, account)
        if row is None:
            raise no_such_account(account)
        return {**_listed(row), "callbacks": callbacks, **describe(row, cipher)}

    say(with_database(run), as_json)


@channel.command("list")
@AS_JSON
def channel_list(as_json: bool) -> None:
    """List the channel accounts, without their settings."""

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str]]:
        return [_listed(row) for row in await accounts.read_all(conn)]

    say_rows(with_database(run), as_json)


@channel.command("enable")
@_ID
@_TERMINAL
@AS_JSON
def channel_enable(account: str, terminal: str | None, as_json: bool) -> None:
    """Let an account take payments again, or also on one terminal."""
    _switch(account, terminal, as_json, on=True)


@channel.command("disable")
@_ID
@_TERMINAL
@AS_JSON
def channel_disable(account: str, terminal: str | None, as_json: bool) -> None:
    """Let an account take no more payments, or none on one terminal; what was begun is ended."""
    _switch(account, terminal, as_json, on=False)


@channel.command("check")
@click.option("--id", "account", help="That one, enabled or not.")
@click.option("--all", "everyone", is_flag=True, help="The disabled ones too.")
@AS_JSON
def channel_check(account: str | None, everyone: bool, as_json: bool) -> None:
    """Prove that accounts work, by asking their channels; or say what is wrong. Makes nothing."""
    if account is not None and everyone:
        raise ConfigurationError("--id and --all: say one of them")

    async def run(conn: Connection, cipher: Cipher) -> list[Checked]:
        rows = await accounts.read_all(conn)
        if account is not None:
            rows = [row for row in rows if row.id == account]
            if not rows:
                raise no_such_account(account)
        return await check_all([row for row in rows if everyone or account or row.enabled], cipher)

    checked = with_database(run)
    if as_json:
        say_rows([{**_fields_of(each), "ok": each.ok} for each in checked], as_json)
    elif not checked:
        click.echo("there is no enabled channel account; `payonce channel add` makes one")
    else:
        for each in checked:
            click.echo(f"{'ok  ' if each.ok else 'BAD '} {each.account} ({each.kind}): {each.says}")
    if not all(each.ok for each in checked):
        raise SystemExit(1)


@channel.command("kinds")
@click.option("--markdown", "as_markdown", is_flag=True, help="As docs/channels.md has it.")
@AS_JSON
def channel_kinds(as_markdown: bool, as_json: bool) -> None:
    """List what can be paid with, and what each channel can do. Amounts are in minor units."""
    if as_markdown:
        click.echo(markdown(), nl=False)
    elif as_json:
        say_rows(capabilities(), as_json)
    else:
        for row in capabilities():
            click.echo(row.pop("channel"))
            for name, value in row.items():
                click.echo(f"  {name.replace('_', ' ')}: {value}")


@click.group()
def secrets() -> None:
    """What is kept encrypted with PAYONCE_SECRET_KEYS."""


@secrets.command("rotate")
@AS_JSON
def secrets_rotate(as_json: bool) -> None:
    """Encrypt everything with the first of PAYONCE_SECRET_KEYS, beside running processes.

    They must know that key already: see "Rotating secrets" in docs/operating.md.
    """

    async def run(conn: Connection, cipher: Cipher) -> list[Rotated]:
        return await rotate(conn, cipher)

    found = with_database(run)
    rows = [
        {
            "what": each.holds,
            "rewritten": each.rewritten,
            "current": each.current,
            "unreadable": ", ".join(each.unreadable),
        }
        for each in found
    ]
    say_rows(rows, as_json)
    if any(each.unreadable for each in found):
        raise ConfigurationError(
            "PAYONCE_SECRET_KEYS (secret_keys): add the key that those were written with, "
            "and run it again"
        )


def _switch(account: str, terminal: str | None, as_json: bool, *, on: bool) -> None:
    async def run(conn: Connection, _cipher: Cipher) -> AccountRow:
        return await switch_channel(conn, account, on=on, terminal=terminal)

    say(_listed(with_database(run)), as_json)


def _listed(row: AccountRow) -> dict[str, str]:
    return {
        "id": row.id,
        "merchant": row.merchant,
        "kind": row.kind,
        "priority": str(row.priority),
        "terminals": ",".join(row.terminals),
        "enabled": "yes" if row.enabled else "no",
    }


def _fields_of(checked: Checked) -> dict[str, str]:
    return {
        "account": checked.account,
        "merchant": checked.merchant,
        "kind": checked.kind,
        "says": checked.says,
    }


def _pairs(said: tuple[str, ...], hidden: tuple[str, ...]) -> dict[str, str]:
    return dict(_pair(text) for text in (*said, *hidden))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"--set/--secret: {name!r} is not KEY=VALUE")
    if value.startswith("@"):
        try:
            return name, _text_of(Path(value[1:]).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{name}: {value[1:]}: {error.strerror}") from error
    return name, value


def _text_of(content: bytes) -> str:
    """Return a file's text; of one that is none, such as a .pfx, the base64."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return b64encode(content).decode()
