"""The whole product as a program of its own, and the town around it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.program import Program, running
from tests.e2e.town import Town


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def program(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Program]:
    """One `payonce up` for all walks; in the end its log must hold no error."""
    async with running(tmp_path_factory.mktemp("up") / "data") as program:
        yield program
    assert '"level":"error"' not in program.log.read_text().replace(" ", "")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session")
async def town(program: Program, http: aiohttp.ClientSession) -> Town:
    return Town(program.ready, http)
