"""The command line: `payonce up` for everything at once, the rest for running it in earnest."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import click
import uvloop
from cryptography.fernet import Fernet
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from gateway import __version__
from gateway.app import make_app
from gateway.db import accounts, merchants
from gateway.db.orders import Connection
from gateway.doctor import examine
from gateway.embedded import embedded, find_running
from gateway.errors import ConfigurationError, PayOnceError
from gateway.lifespan import desk_for, pool_for, settings_from_environment
from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.migrate import migrate as apply_migrations
from gateway.sandbox.keys import sandbox_keys
from gateway.sandbox.server import sandbox_app
from gateway.sandbox.shop import ShopSettings, shop_app
from gateway.secrets import Cipher, new_api_key, new_webhook_secret
from gateway.settings import Settings
from gateway.telemetry import configure_logging
from gateway.up import (
    Ready,
    choose_ports,
    everything,
    kept_secret_keys,
    serving,
    write_ready_file,
)
from workers.main import working

T = TypeVar("T")
_FOLDER = click.Path(path_type=Path, file_okay=False)
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


@click.group()
@click.version_option(__version__, prog_name="payonce")
def cli() -> None:
    """PayOnce: an order is never paid twice, and paid money is never lost."""


@cli.command()
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65533),
    help="The sandbox and shop take the next two; 0: any.",
)
@click.option("--data", type=_FOLDER, help="Default: PAYONCE_DATA, or .payonce.")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Written (JSON) once all is up."
)
def up(port: int, data: Path | None, ready_file: Path | None) -> None:
    """Run everything: PostgreSQL, Valkey, gateway, worker, channel sandbox and demo shop."""
    began = time.monotonic()
    settings = _settings()
    settings = replace(settings, data=str(Path(data or settings.data).resolve()))
    if ready_file is not None:
        _make_way(ready_file)

    async def run() -> None:
        async with everything(settings, choose_ports(port), click.echo) as ready:
            if ready_file is not None:
                write_ready_file(ready_file, ready)
            _say_where(ready, time.monotonic() - began)
            await _until_stopped()
            click.echo("stopping")

    _run(run())


@cli.command()
@click.option("--worker/--no-worker", default=True, show_default=True)
@click.option("--host", default=None, help="Default: PAYONCE_HOST.")
@click.option("--port", default=None, type=int, help="Default: PAYONCE_PORT.")
def serve(worker: bool, host: str | None, port: int | None) -> None:
    """Run the gateway, with the worker inside unless told otherwise."""
    settings = _settings()
    settings = replace(settings, host=host or settings.host, port=port or settings.port)

    async def run(settings: Settings) -> None:
        app = make_app(settings, worker=worker)
        async with serving(app, settings.host, settings.port):
            click.echo(f"PayOnce {__version__} at {settings.base_url}")
            await _until_stopped()

    _run(_with_servers(settings, run))


@cli.command("worker")
def run_worker() -> None:
    """Run the worker alone: asking channels, delivering webhooks, sweeping."""

    async def run(settings: Settings) -> None:
        assert settings.redis_url is not None
        async with desk_for(settings) as desk, working(desk, settings.redis_url):
            click.echo("the worker is up")
            await _until_stopped()

    _run(_with_servers(_settings(), run))


@cli.command()
def migrate() -> None:
    """Apply the migrations that are not applied yet."""

    async def run(settings: Settings) -> None:
        if settings.database_url is None:
            raise ConfigurationError("PAYONCE_DATABASE_URL (database_url): is not set")
        applied = await apply_migrations(settings.database_url)
        for name in applied:
            click.echo(f"applied {name}")
        if not applied:
            click.echo("nothing to apply")

    _run(run(_settings()))


@cli.command()
@_JSON
def doctor(as_json: bool) -> None:
    """Check every dependency, the clock, the keys and the channels; say what to do."""

    async def run(settings: Settings) -> None:
        findings = await examine(_with_running(settings))
        if as_json:
            click.echo(json.dumps([{"what": f.what, "ok": f.ok, "says": f.says} for f in findings]))
        else:
            for finding in findings:
                click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.says}")
        if not all(finding.ok for finding in findings):
            raise SystemExit(1)

    _run(run(_settings()))


@cli.command("new-secret-key")
def new_secret_key() -> None:
    """Make a key for PAYONCE_SECRET_KEYS."""
    click.echo(Fernet.generate_key().decode())


@cli.group()
def merchant() -> None:
    """Merchants and their API keys."""


@merchant.command("add")
@click.option("--id", "merchant_id", required=True)
@click.option("--name", required=True)
@click.option("--notify-url", help="Where webhooks go when an order names no place.")
@_JSON
def merchant_add(merchant_id: str, name: str, notify_url: str | None, as_json: bool) -> None:
    """Add a merchant; prints its API key and webhook secret, which are shown this once."""
    api_key, webhook_secret = new_api_key(), new_webhook_secret()

    async def run(conn: Connection, cipher: Cipher) -> None:
        async with conn.transaction():
            if await merchants.read(conn, merchant_id) is not None:
                raise ConfigurationError(f"--id: there is a merchant {merchant_id!r} already")
            await add_merchant(conn, cipher, merchant_id, name, notify_url, webhook_secret)
            await let_key_in(conn, merchant_id, api_key)

    _with_database(run)
    _say({"id": merchant_id, "api_key": api_key, "webhook_secret": webhook_secret}, as_json)


@merchant.command("list")
@_JSON
def merchant_list(as_json: bool) -> None:
    """List the merchants."""

    async def run(conn: Connection, _cipher: Cipher) -> list[dict[str, str | None]]:
        return [
            {"id": each.id, "name": each.name, "notify_url": each.notify_url}
            for each in await merchants.read_all(conn)
        ]

    _say_rows(_with_database(run), as_json)


@merchant.command("rotate-key")
@click.option("--id", "merchant_id", required=True)
@click.option("--overlap-hours", default=24, show_default=True, help="The old keys work so long.")
@_JSON
def merchant_rotate_key(merchant_id: str, overlap_hours: int, as_json: bool) -> None:
    """Make a new API key; the old ones end after the overlap."""
    api_key = new_api_key()

    async def run(conn: Connection, _cipher: Cipher) -> None:
        async with conn.transaction():
            if await merchants.read(conn, merchant_id) is None:
                raise ConfigurationError(f"--id: there is no merchant {merchant_id!r}")
            await merchants.retire_keys(conn, merchant_id, timedelta(hours=overlap_hours))
            await let_key_in(conn, merchant_id, api_key)

    _with_database(run)
    _say({"id": merchant_id, "api_key": api_key}, as_json)


@cli.group()
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
@_JSON
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

    _with_database(run)
    _say({"id": account, "kind": kind, "merchant": merchant_id}, as_json)


@channel.command("list")
@_JSON
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

    _say_rows(_with_database(run), as_json)


@cli.command()
@click.option("--port", default=8081, show_default=True)
@click.option("--data", default=".payonce", show_default=True, type=click.Path(path_type=Path))
def sandbox(port: int, data: Path) -> None:
    """Run the channel sandbox alone."""
    url = f"http://127.0.0.1:{port}"
    ledger = data / "sandbox" / "ledger.jsonl"
    app = sandbox_app(sandbox_keys(data / "sandbox"), public_url=url, state_file=ledger)

    async def run() -> None:
        async with serving(app, "127.0.0.1", port):
            click.echo(f"channel sandbox at {url}, its keys in {data / 'sandbox'}")
            await _until_stopped()

    _run(run())


@cli.command()
@click.option("--port", default=8082, show_default=True)
@click.option("--gateway-url", required=True)
@click.option("--data", default=".payonce", show_default=True, type=click.Path(path_type=Path))
def shop(port: int, gateway_url: str, data: Path) -> None:
    """Run the demo shop alone; PAYONCE_SHOP_API_KEY and PAYONCE_SHOP_WEBHOOK_SECRET must be set."""
    url = f"http://127.0.0.1:{port}"
    data.mkdir(parents=True, exist_ok=True)
    settings = ShopSettings(
        gateway_url=gateway_url,
        api_key=os.environ.get("PAYONCE_SHOP_API_KEY", ""),
        webhook_secret=os.environ.get("PAYONCE_SHOP_WEBHOOK_SECRET", ""),
        public_url=url,
        database_path=str(data / "shop.sqlite"),
    )

    async def run() -> None:
        async with serving(shop_app(settings), "127.0.0.1", port):
            click.echo(f"demo shop at {url}")
            await _until_stopped()

    _run(run())


def main() -> None:
    """Run a command; what is wrong with the settings is said in a sentence, without a traceback."""
    try:
        cli()
    except (PayOnceError, ValueError) as error:
        click.echo(f"payonce: {error}", err=True)
        sys.exit(1)


def _settings() -> Settings:
    settings = settings_from_environment()
    configure_logging(settings.log_level)
    return settings


def _run(work: Coroutine[object, object, T]) -> T:
    return uvloop.run(work)


async def _until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopped.set)
    await stopped.wait()


async def _with_servers(settings: Settings, run: Callable[[Settings], Awaitable[None]]) -> None:
    """Run with the servers that the settings name, and the embedded ones for those that they do
    not.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        await apply_migrations(settings.database_url)
        await run(settings)
        return
    async with embedded(Path(settings.data)) as servers:
        database_url = settings.database_url or servers.database_url
        redis_url = settings.redis_url or servers.redis_url
        await apply_migrations(database_url)
        await run(replace(settings, database_url=database_url, redis_url=redis_url))


def _with_running(settings: Settings) -> Settings:
    """Fill in, where nothing is set, the servers and keys of a `payonce up` on the data folder."""
    data = Path(settings.data)
    running = find_running(data)
    if settings.database_url is not None or running is None:
        return settings
    return replace(
        settings,
        database_url=running.database_url,
        redis_url=settings.redis_url or running.redis_url,
        secret_keys=settings.secret_keys or kept_secret_keys(data),
    )


def _with_database(run: Callable[[Connection, Cipher], Awaitable[T]]) -> T:
    """Run with a connection to the configured database, or to that of a running `payonce up`."""
    settings = _with_running(_settings())
    if settings.database_url is None:
        raise ConfigurationError(
            "PAYONCE_DATABASE_URL (database_url): is not set, and no PayOnce runs on "
            f"{settings.data}"
        )
    cipher = Cipher(settings.secret_keys)

    async def work() -> T:
        async with pool_for(settings) as pool, pool.acquire() as conn:
            return await run(conn, cipher)

    return _run(work())


def _make_way(ready_file: Path) -> None:
    """Take away what an earlier start left, so that nobody believes it; and try the folder now."""
    try:
        ready_file.unlink(missing_ok=True)
        write_ready_file(ready_file, None)
        ready_file.unlink()
    except OSError as error:
        raise ConfigurationError(f"--ready-file: {ready_file}: {error.strerror}") from error


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"--set/--secret: {name!r} is not KEY=VALUE")
    if value.startswith("@"):
        try:
            return name, Path(value[1:]).read_text()
        except OSError as error:
            raise ConfigurationError(f"{name}: {value[1:]}: {error.strerror}") from error
    return name, value


def _say(fields: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(fields))
    else:
        for name, value in fields.items():
            click.echo(f"{name}: {value}")


def _say_rows(rows: list[dict[str, str | None]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*(value or "" for value in row.values()))
    Console().print(table)


def _say_where(ready: Ready, took_s: float) -> None:
    click.echo(
        f"\nPayOnce is ready ({took_s:.1f} s)\n\n"
        f"  shop      {ready.shop_url}    put something in the cart and pay it\n"
        f"  wallet    {ready.sandbox_url}    the buyer's phone, on your screen: pays what waits\n"
        f"  API       {ready.gateway_url}/docs\n"
        f"  API key   {ready.api_key}\n\n"
        "Ctrl-C stops everything; the data stays."
    )
