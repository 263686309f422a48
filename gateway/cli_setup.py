"""The commands that set up: merchants, their channel accounts, and operators."""

from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import click

from gateway.command import AS_JSON, say, say_rows, with_database
from gateway.db import accounts, merchants, operators
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError
from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.operators import add_operator, revoke_operator
from gateway.secrets import Cipher, new_api_key, new_webhook_secret


@click.group()
def merchant() -> None:
    """Merchants and their API keys."""


@merchant.command("add")
@click.option("--id", "merchant_id", required=True)
@click.option("--name", required=True)
@click.option("--notify-url", help="Where webhooks go when an order names no place.")
@AS_JSON
def merchant_add(merchant_id: str, name: str, notify_url: str | None, as_json: bool) -> None:
    """Add a merchant; prints its API key and webhook secret, which are shown this once."""
    api_key, webhook_secret = new_api_key(), new_webhook_secret()

    async def run(conn: Connection, cipher: Cipher) -> None:
        async with conn.transaction():
            if await merchants.read(conn, merchant_id) is not None:
                raise ConfigurationError(f"--id: there is a merchant {merchant_id!r} already")
            await add_merchant(conn, cipher, merchant_id, name, notify_url, webhook_secret)
            await let_key_in(conn, merchant_id, api_key)

    with_database(run)
    say({"id": merchant_id, "api_key": api_key, "webhook_secret": webhook_secret}, as_json)


@merchant.command("list")
@AS_JSON
def merchant_list(as_json: bool) -> None:
    """List the merchants."""

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str | None]]:
        return [
            {"id": each.id, "name": each.name, "notify_url": each.notify_url}
            for each in await merchants.read_all(conn)
        ]

    say_rows(with_database(run), as_json)


@merchant.command("rotate-key")
@click.option("--id", "merchant_id", required=True)
@click.option("--overlap-hours", default=24, show_default=True, help="The old keys work so long.")
@AS_JSON
def merchant_rotate_key(merchant_id: str, overlap_hours: int, as_json: bool) -> None:
    """Make a new API key; the old ones end after the overlap."""
    api_key = new_api_key()

    async def run(conn: Connection, _cipher: Cipher) -> None:
        async with conn.transaction():
            if await merchants.read(conn, merchant_id) is None:
                raise ConfigurationError(f"--id: there is no merchant {merchant_id!r}")
            await merchants.retire_keys(conn, merchant_id, timedelta(hours=overlap_hours))
            await let_key_in(conn, merchant_id, api_key)

    with_database(run)
    say({"id": merchant_id, "api_key": api_key}, as_json)


@merchant.command("surplus-refunds")
@click.option("--id", "merchant_id", required=True)
@click.argument("choice", type=click.Choice(["auto", "held"]))
@AS_JSON
def merchant_surplus_refunds(merchant_id: str, choice: str, as_json: bool) -> None:
    """Let surplus money be given back by itself, or hold each of its refunds for operators."""

    async def run(conn: Connection, _cipher: Cipher) -> None:
        if not await merchants.set_surplus_refunds(conn, merchant_id, choice):
            raise ConfigurationError(f"--id: there is no merchant {merchant_id!r}")

    with_database(run)
    say({"id": merchant_id, "surplus_refunds": choice}, as_json)


@click.group()
def channel() -> None:
    """Merchants' accounts at channels."""


@channel.command("add")
@click.option("--merchant", "merchant_id", required=True)
@click.option("--id", "account", required=True, help="In callback URLs; keep it.")
@click.option("--kind", required=True)
@click.option("--set", "said", multiple=True, metavar="KEY=VALUE", help="VALUE or @FILE.")
@click.option("--secret", "hidden", multiple=True, metavar="KEY=@FILE", help="Kept out of ps.")
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
    """Add a channel account, or change one; the settings are tried before they are written."""
    settings = dict(_pair(text) for text in (*said, *hidden))

    async def run(conn: Connection, cipher: Cipher) -> None:
        await add_channel(
            conn,
            cipher,
            merchant_id,
            account,
            kind,
            settings,
            priority=priority,
            terminals=tuple(terminals.split(",")),
        )

    with_database(run)
    say({"id": account, "kind": kind, "merchant": merchant_id}, as_json)


@channel.command("list")
@AS_JSON
def channel_list(as_json: bool) -> None:
    """List the channel accounts, without their secrets."""

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str | None]]:
        return [
            {
                "id": each.id,
                "merchant": each.merchant,
                "kind": each.kind,
                "priority": str(each.priority),
                "terminals": ",".join(each.terminals),
                "enabled": "yes" if each.enabled else "no",
            }
            for each in await accounts.read_all(conn)
        ]

    say_rows(with_database(run), as_json)


@click.group()
def operator() -> None:
    """Operators, who decide about refunds that wait for people."""


@operator.command("add")
@click.option("--name", required=True, help="Whose it is: two persons are two operators.")
@AS_JSON
def operator_add(name: str, as_json: bool) -> None:
    """Add an operator; prints the token, which is shown this once."""

    async def run(conn: Connection, _cipher: Cipher) -> tuple[str, str]:
        return await add_operator(conn, name)

    operator_id, token = with_database(run)
    say({"id": operator_id, "name": name, "token": token}, as_json)


@operator.command("list")
@AS_JSON
def operator_list(as_json: bool) -> None:
    """List the operators, without their tokens."""

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str | None]]:
        return [
            {"id": each.id, "name": each.name, "revoked": "yes" if each.revoked_at else "no"}
            for each in await operators.read_all(conn)
        ]

    say_rows(with_database(run), as_json)


@operator.command("revoke")
@click.option("--id", "operator_id", required=True)
@AS_JSON
def operator_revoke(operator_id: str, as_json: bool) -> None:
    """Let an operator's token open nothing any more; what they decided stays."""

    async def run(conn: Connection, _cipher: Cipher) -> None:
        await revoke_operator(conn, operator_id)

    with_database(run)
    say({"id": operator_id, "revoked": "yes"}, as_json)


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
