"""Real PostgreSQL and Valkey out of wheels: one folder, started with us and stopped with us.

A start after a kill -9 waits for the orphans, which end with us, and recovers what they left; a
second start on the same folder is told who is there. PostgreSQL forces every commit to the disk.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from gateway.embedded.errors import DataFolderInUse, EmbeddedError
from gateway.embedded.folder import holder_of
from gateway.embedded.postgres import start_postgres
from gateway.embedded.server import Running
from gateway.embedded.valkey import start_valkey

__all__ = [
    "DataFolderInUse",
    "EmbeddedError",
    "EmbeddedServers",
    "Running",
    "embedded",
    "find_running",
    "start_postgres",
    "start_valkey",
]


class EmbeddedServers(msgspec.Struct, frozen=True):
    """Where the two servers listen. The URLs contain passwords."""

    database_url: str
    redis_url: str


@asynccontextmanager
async def embedded(data: Path) -> AsyncIterator[EmbeddedServers]:
    """Run PostgreSQL and Valkey in the data folder for as long as the block runs.

    Raises EmbeddedError when one cannot start, DataFolderInUse when another PayOnce has the folder.
    """
    async with await start_valkey(data) as valkey, await start_postgres(data) as postgres:
        yield EmbeddedServers(postgres.url, valkey.url)


def find_running(data: Path) -> EmbeddedServers | None:
    """Say where the servers of the data folder listen, if a PayOnce is running there."""
    postgres, valkey = (holder_of(data, name) for name in ("postgres", "valkey"))
    if postgres is None or valkey is None or not (postgres.url and valkey.url):
        return None
    return EmbeddedServers(postgres.url, valkey.url)
