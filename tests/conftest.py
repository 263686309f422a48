"""The ground under every test: real servers, a database and a Redis of its own for each test.

PostgreSQL and Valkey are started once. The schema is made once, in a template, of which each test
gets a copy: tests can break it, commit, and race, because nothing is shared and nothing is rolled
back. The servers' folder is in memory where there is room: the servers force to it all the same,
and a copy then takes 15 ms instead of 100.
"""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright
from redis.asyncio import Redis

from gateway.embedded import EmbeddedServers, embedded
from gateway.migrate import migrate

# Who prints at the end has to be known at the beginning, whichever processes run the tests.
pytest_plugins = ("tests.telling", "tests.schedules.counting", "tests.fuzz.counting")
TEMPLATE = "payonce_template"
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_numbers = itertools.count(1)
_logical_databases = itertools.cycle(range(1, 64))


def database_named(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 1024**3
    with tempfile.TemporaryDirectory(prefix="payonce-", dir=memory if roomy else None) as folder:
        yield Path(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(servers_folder: Path) -> AsyncIterator[EmbeddedServers]:
    """One PostgreSQL and one Valkey for the whole run."""
    async with embedded(servers_folder) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(servers: EmbeddedServers) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the tests' databases, where the migrated template is ready."""
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute(f"CREATE DATABASE {TEMPLATE}")
    await migrate(database_named(servers.database_url, TEMPLATE))
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(
    servers: EmbeddedServers, postgres: asyncpg.Connection
) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{next(_numbers)}"
    await postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    yield database_named(servers.database_url, name)
    await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(loop_scope="session")
async def redis_url(servers: EmbeddedServers) -> str:
    """An empty logical database of the test's own; publish and subscribe are shared, though."""
    url = database_named(servers.redis_url, str(next(_logical_databases)))
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    return url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to the test's database, in the test's loop."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=20)
    yield pool
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
        raise


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, for tests marked `pytest.mark.asyncio(loop_scope="session")`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("Chromium is missing: `make test` installs it, or apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=list(CHROMIUM_FLAGS)
        )
        yield browser
        await browser.close()
