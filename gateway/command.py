"""What the commands share: their settings, a database to work on, and how they answer."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import click
import uvloop
from msgspec.structs import replace
from rich.console import Console
from rich.table import Column, Table

from gateway.db.orders import Connection
from gateway.embedded import find_running
from gateway.errors import ConfigurationError
from gateway.lifespan import pool_for, settings_from_environment
from gateway.secrets import Cipher
from gateway.settings import Settings
from gateway.telemetry import configure_logging
from gateway.up import kept_secret_keys

T = TypeVar("T")
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def configured() -> Settings:
    settings = settings_from_environment()
    configure_logging(settings.log_level)
    return settings


def run_now(work: Coroutine[object, object, T]) -> T:
    return uvloop.run(work)


def with_running(settings: Settings) -> Settings:
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


def with_database(run: Callable[[Connection, Cipher], Awaitable[T]]) -> T:
    """Run with a connection to the configured database, or to that of a running `payonce up`."""
    settings = with_running(configured())
    if settings.database_url is None:
        raise ConfigurationError(
            "PAYONCE_DATABASE_URL (database_url): is not set, and no PayOnce runs on "
            f"{settings.data}"
        )
    cipher = Cipher(settings.secret_keys)

    async def work() -> T:
        async with pool_for(settings) as pool, pool.acquire() as conn:
            return await run(conn, cipher)

    return run_now(work())


def say(fields: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(fields))
    else:
        for name, value in fields.items():
            click.echo(f"{name}: {value}")


def say_rows(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else ())))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
