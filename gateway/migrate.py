"""Numbered SQL files, each applied once.

`0001_core.sql` runs in one transaction together with the row that remembers it, under a lock that
lets one process at a time migrate: any number may start at once. A file that was applied is never
edited; its checksum is kept, and a change is an error. A database that knows more files than we do
was migrated by a newer release, beside which this one runs on.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from asyncpg.connect_utils import SessionAttribute

from gateway.errors import ConfigurationError

MIGRATIONS: Final = Path(__file__).parent / "db" / "migrations"

_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK: Final = 7_296_623  # PAYONCE on the keys of a telephone: nobody takes it by chance
_REMEMBERED: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(ConfigurationError):
    """A file cannot be applied; the message names it and says what to do."""


class Migration(msgspec.Struct, frozen=True):
    """One file: its name, its SQL, and the SHA-256 of its bytes."""

    name: str
    sql: str
    checksum: str


async def migrate(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the files that are not applied yet, in order, and return their names.

    Raises MigrationError; the files before the one that failed stay, that one leaves nothing.
    """
    files = _read_files(folder)
    async with _alone(database_url) as connection:
        await connection.execute(_REMEMBERED)
        waiting = await _not_applied(connection, files)
        for file in waiting:
            await _apply(connection, file)
    return [file.name for file in waiting]


async def pending(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Return the names of the files that are not applied yet. Raises MigrationError."""
    files = _read_files(folder)
    connection = await asyncpg.connect(database_url, target_session_attrs=SessionAttribute.primary)
    try:
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            return [file.name for file in files]
        return [file.name for file in await _not_applied(connection, files)]
    finally:
        await connection.close()


def _read_files(folder: Path) -> list[Migration]:
    files: list[Migration] = []
    numbers: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: name it like 0002_what_it_does.sql")
        if match[1] in numbers:
            raise MigrationError(f"{path} has the number of {numbers[match[1]]}: give it the next")
        numbers[match[1]] = path.name
        text = path.read_bytes()
        files.append(Migration(path.name, text.decode(), hashlib.sha256(text).hexdigest()))
    if not files:
        raise MigrationError(f"{folder} has no SQL files: install PayOnce again")
    return files


@asynccontextmanager
async def _alone(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold the lock of migrations, which ends with the connection, however that ends."""
    connection = await asyncpg.connect(database_url, target_session_attrs=SessionAttribute.primary)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        yield connection
    finally:
        await connection.close()


async def _not_applied(
    connection: asyncpg.Connection, files: Sequence[Migration]
) -> list[Migration]:
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    applied: dict[str, str] = {row["name"]: row["checksum"] for row in rows}
    for file in files:
        if applied.get(file.name, file.checksum) != file.checksum:
            raise MigrationError(
                f"{file.name} was changed after it was applied to this database. Restore the file "
                "as it was, and put the change into a file with the next number."
            )
    return [file for file in files if file.name not in applied]


async def _apply(connection: asyncpg.Connection, file: Migration) -> None:
    try:
        async with connection.transaction():
            # Rather fail than make every other query queue behind us.
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await connection.execute(file.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                file.name,
                file.checksum,
            )
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            f"{file.name} waited 10 s for a table that others use; nothing of it is applied. "
            "Try again at a quieter time."
        ) from error
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{file.name}: {error}; nothing of it is applied.") from error
