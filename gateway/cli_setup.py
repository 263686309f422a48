"""The commands that set up merchants and operators."""

from datetime import timedelta

import click

from gateway.command import AS_JSON, say, say_rows, with_database
from gateway.db import merchants, operators
from gateway.db.merchants import Merchant
from gateway.db.orders import Connection
from gateway.errors import ConfigurationError, InvalidRequest
from gateway.merchants import add_merchant, let_key_in
from gateway.operators import add_operator, revoke_operator
from gateway.secrets import Cipher, new_api_key, new_webhook_secret
from gateway.web.urls import check_notify_url


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
    _must_be_usable(notify_url)
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

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str]]:
        return [_listed(each) for each in await merchants.read_all(conn)]

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
                raise _no_such_merchant(merchant_id)
            await merchants.retire_keys(conn, merchant_id, timedelta(hours=overlap_hours))
            await let_key_in(conn, merchant_id, api_key)

    with_database(run)
    say({"id": merchant_id, "api_key": api_key}, as_json)


@merchant.command("set")
@click.option("--id", "merchant_id", required=True)
@click.option("--name")
@click.option("--notify-url", help="Where webhooks go when an order names no place; '': nowhere.")
@click.option(
    "--surplus-refunds",
    type=click.Choice(["auto", "held"]),
    help="Surplus money goes back by itself, or each refund of it waits for operators.",
)
@click.option(
    "--extend-for-slow-channels",
    type=click.Choice(["on", "off"]),
    help="A voucher that is paid for days keeps its order open, or is not offered.",
)
@AS_JSON
def merchant_set(
    merchant_id: str,
    name: str | None,
    notify_url: str | None,
    surplus_refunds: str | None,
    extend_for_slow_channels: str | None,
    as_json: bool,
) -> None:
    """Change what is named of a merchant, and nothing else."""
    extend = None if extend_for_slow_channels is None else extend_for_slow_channels == "on"
    if (name, notify_url, surplus_refunds, extend) == (None,) * 4:
        raise ConfigurationError("nothing to change: say --name, --notify-url ...")
    _must_be_usable(notify_url)

    async def run(conn: Connection, _cipher: Cipher) -> Merchant:
        changed = await merchants.change(
            conn,
            merchant_id,
            name=name,
            notify_url=notify_url,
            surplus_refunds=surplus_refunds,
            extend_for_slow_channels=extend,
        )
        if changed is None:
            raise _no_such_merchant(merchant_id)
        return changed

    say(_listed(with_database(run)), as_json)


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

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str]]:
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


def _listed(merchant: Merchant) -> dict[str, str]:
    return {
        "id": merchant.id,
        "name": merchant.name,
        "notify_url": merchant.notify_url or "",
        "surplus_refunds": merchant.surplus_refunds,
        "extend_for_slow_channels": "on" if merchant.extend_for_slow_channels else "off",
    }


def _no_such_merchant(merchant_id: str) -> ConfigurationError:
    return ConfigurationError(f"--id: there is no merchant {merchant_id!r}")


def _must_be_usable(notify_url: str | None) -> None:
    """Refuse what is no URL; whether webhooks may go there is looked at when they do."""
    if not notify_url:
        return
    if not notify_url.startswith(("https://", "http://")):
        raise ConfigurationError("--notify-url: must begin with https:// or http://")
    try:
        check_notify_url(notify_url, allow_private=True)
    except InvalidRequest as error:
        raise ConfigurationError(f"--notify-url: {error.detail}") from error
