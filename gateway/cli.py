"""The command line: `payonce up` for everything at once, the rest for running it in earnest."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
from cryptography.fernet import Fernet
from msgspec.structs import replace

from gateway import __version__
from gateway.app import make_app
from gateway.cli_channels import channel, secrets
from gateway.cli_setup import merchant, operator
from gateway.command import AS_JSON, configured, run_now, with_running
from gateway.doctor import examine
from gateway.embedded import embedded
from gateway.errors import ConfigurationError, PayOnceError
from gateway.lifespan import desk_for
from gateway.migrate import migrate as apply_migrations
from gateway.outages import missing
from gateway.sandbox.keys import sandbox_keys
from gateway.sandbox.server import sandbox_app
from gateway.sandbox.shop import ShopSettings, shop_app
from gateway.settings import Settings
from gateway.up import (
    Ready,
    choose_ports,
    everything,
    serving,
    write_ready_file,
)
from workers.main import working

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
@click.version_option(__version__, prog_name="payonce")
def cli() -> None:
    """PayOnce: an order is never paid twice, and paid money is never lost."""


for group in (merchant, channel, operator, secrets):
    cli.add_command(group)


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
    settings = configured()
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

    run_now(run())


@cli.command()
@click.option("--worker/--no-worker", default=True, show_default=True)
@click.option("--host", default=None, help="Default: PAYONCE_HOST.")
@click.option("--port", default=None, type=int, help="Default: PAYONCE_PORT.")
def serve(worker: bool, host: str | None, port: int | None) -> None:
    """Run the gateway, with the worker inside unless told otherwise."""
    settings = configured()
    settings = replace(settings, host=host or settings.host, port=port or settings.port)

    async def run(settings: Settings) -> None:
        app = make_app(settings, worker=worker)
        async with serving(app, settings.host, settings.port):
            click.echo(f"PayOnce {__version__} at {settings.base_url}")
            await _until_stopped()

    run_now(_with_servers(settings, run))


@cli.command("worker")
def run_worker() -> None:
    """Run the worker alone: asking channels, delivering webhooks, sweeping."""

    async def run(settings: Settings) -> None:
        assert settings.redis_url is not None
        async with desk_for(settings) as desk, working(desk, settings.redis_url):
            click.echo("the worker is up")
            await _until_stopped()

    run_now(_with_servers(configured(), run))


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

    run_now(run(configured()))


@cli.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """Check every dependency, the clock, the keys and the channels; say what to do."""

    async def run(settings: Settings) -> None:
        findings = await examine(with_running(settings))
        if as_json:
            click.echo(json.dumps([{"what": f.what, "ok": f.ok, "says": f.says} for f in findings]))
        else:
            for finding in findings:
                click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.says}")
        if not all(finding.ok for finding in findings):
            raise SystemExit(1)

    run_now(run(configured()))


@cli.command("new-secret-key")
def new_secret_key() -> None:
    """Make a key for PAYONCE_SECRET_KEYS."""
    click.echo(Fernet.generate_key().decode())


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

    run_now(run())


@cli.command()
@click.option("--port", default=8082, show_default=True)
@click.option("--gateway-url", required=True)
@click.option("--data", default=".payonce", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--events-url",
    envvar="PAYONCE_SHOP_EVENTS_URL",
    help="PayOnce's message queue (redis://...), to read it too.",
)
@click.option("--merchant", default="demo", show_default=True, help="Whose events are ours.")
def shop(port: int, gateway_url: str, data: Path, events_url: str | None, merchant: str) -> None:
    """Run the demo shop alone; PAYONCE_SHOP_API_KEY and PAYONCE_SHOP_WEBHOOK_SECRET must be set."""
    url = f"http://127.0.0.1:{port}"
    data.mkdir(parents=True, exist_ok=True)
    settings = ShopSettings(
        gateway_url=gateway_url,
        api_key=os.environ.get("PAYONCE_SHOP_API_KEY", ""),
        webhook_secret=os.environ.get("PAYONCE_SHOP_WEBHOOK_SECRET", ""),
        public_url=url,
        database_path=str(data / "shop.sqlite"),
        events_url=events_url,
        merchant=merchant,
    )

    async def run() -> None:
        async with serving(shop_app(settings), "127.0.0.1", port):
            click.echo(f"demo shop at {url}")
            await _until_stopped()

    run_now(run())


def main() -> None:
    """Run a command. What is wrong with the settings, or is away, is said in a sentence."""
    try:
        cli()
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        click.echo(f"payonce: {sentence}", err=True)
        sys.exit(1)


def _sentence(error: Exception) -> str | None:
    """Say what has to be put right; None: that is a fault of ours."""
    match error:
        case PayOnceError() | ValueError():
            return str(error)
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        case _ if missing(error) == "postgresql":
            return (
                f"PostgreSQL does not serve us: {type(error).__name__}: {error}. "
                "`payonce doctor` looks at everything that is needed."
            )
        case _:
            return None


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


def _make_way(ready_file: Path) -> None:
    """Take away what an earlier start left, so that nobody believes it; and try the folder now."""
    try:
        ready_file.unlink(missing_ok=True)
        write_ready_file(ready_file, None)
        ready_file.unlink()
    except OSError as error:
        raise ConfigurationError(f"--ready-file: {ready_file}: {error.strerror}") from error


def _say_where(ready: Ready, took_s: float) -> None:
    click.echo(
        f"\nPayOnce is ready ({took_s:.1f} s)\n\n"
        f"  shop      {ready.shop_url}    put something in the cart and pay it\n"
        f"  wallet    {ready.sandbox_url}    the buyer's phone, on your screen: pays what waits\n"
        f"  API       {ready.gateway_url}/docs\n"
        f"  API key   {ready.api_key}\n\n"
        "Ctrl-C stops everything; the data stays."
    )
