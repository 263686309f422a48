"""Where everything of a run is: the servers, the keys, and the programs that a run starts.

Every program is told by one file, so that the floors and the product cannot be given different
servers or settings.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from gateway.embedded.child import start_child
from gateway.ports import free_port
from gateway.sandbox.keys import SandboxKeys

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
POOL_SIZE: Final = 20  # connections to PostgreSQL, for the floors and the product alike
_START_WITHIN_S: Final = 20.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Place(Struct, frozen=True):
    """What a program needs to know, as its command line names it in a file."""

    folder: str
    database_url: str
    floor_database_url: str
    redis_url: str
    floor_redis_url: str
    channel_port: int
    hmac_key: str
    keys: SandboxKeys
    product_environment: dict[str, str]

    @property
    def channel_url(self) -> str:
        return f"http://{HOST}:{self.channel_port}"

    def write(self) -> Path:
        path = Path(self.folder) / "place.json"
        path.write_bytes(msgspec.json.encode(self))
        return path


def read_place(path: str) -> Place:
    return msgspec.json.decode(Path(path).read_bytes(), type=Place)


class Program(Struct, frozen=True):
    """A program that a run has started, by the port that it listens on."""

    name: str
    port: int
    pid: int


@asynccontextmanager
async def program(
    place: Path, module: str, *words: str, port: int | None = None
) -> AsyncIterator[Program]:
    """Run `python -m benchmarks.<module> <words> <port> <place>` for as long as the block runs.

    It dies with us, however we die. Raises RuntimeError with its log if it does not come up.
    """
    port = port or free_port()
    name = "-".join((module, *words))
    log = place.with_name(f"{name}.log")
    command = [sys.executable, "-m", f"benchmarks.{module}", *words, str(port), str(place)]
    with log.open("wb") as output:
        process = start_child(
            command, user=None, dies_by=signal.SIGTERM, output=output, folder=ROOT, keep_open=[]
        )
    try:
        await _until_it_listens(process, port, log)
        yield Program(name, port, process.pid)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 15)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


async def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{log.stem} did not come up; it said:\n{_end(log)}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def cpu_s(pid: int) -> float:
    """Return the seconds that a process, with all its threads, has computed (Linux)."""
    return _computed_s(_stat(pid))


def family_cpu_s(parent: int) -> float:
    """Return the same for a process and its children: PostgreSQL has one for each connection."""
    computed = cpu_s(parent)
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        try:
            fields = _stat(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(fields[1]) == parent:
            computed += _computed_s(fields)
    return computed


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the name, which may itself hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _computed_s(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
