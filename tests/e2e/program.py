"""`payonce up` as its user runs it: a program of its own, ended by signals.

The tests share nothing with it but the command line, the ready file and HTTP.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec
from msgspec import Struct

REPOSITORY: Final = Path(__file__).parents[2]
_LOOK_AGAIN_S: Final = 0.01
_PATIENCE_S: Final = 60.0
T = TypeVar("T")


class Ready(Struct, frozen=True):
    """What the tests use of the ready file."""

    gateway_url: str
    sandbox_url: str
    shop_url: str
    api_key: str


class Program:
    """One run of `payonce up`. What it said and logged is in `log`, across runs on one folder."""

    ready: Ready
    ready_after_s: float

    def __init__(self, data: Path, log: Path, process: Process) -> None:
        self.data = data
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, data: Path, port: int) -> Self:
        """Start it on a data folder and wait until it says that it is ready."""
        ready_file, log = data.with_name(f"{data.name}.ready"), data.with_name(f"{data.name}.log")
        ready_file.unlink(missing_ok=True)
        began = time.monotonic()
        program = cls(
            data,
            log,
            await begin(data, log, "--port", str(port), "--ready-file", str(ready_file)),
        )
        try:
            program.ready = await until(lambda: program._said(ready_file))
        except BaseException:
            await program.kill()
            raise
        program.ready_after_s = time.monotonic() - began
        return program

    async def _said(self, ready_file: Path) -> Ready | None:
        assert self._process.returncode is None, self.log.read_text()
        return _read(ready_file)

    async def stop(self) -> None:
        """Ask it to end, as Ctrl-C does: it must end soon, and well. It may have ended before."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            assert await self._ended() == 0, self.log.read_text()

    async def kill(self) -> None:
        """End it as a power cut would, without time for a last word."""
        if self._process.returncode is None:
            self._process.kill()
            await self._ended()

    async def _ended(self) -> int:
        async with asyncio.timeout(_PATIENCE_S):
            return await self._process.wait()


def _read(ready_file: Path) -> Ready | None:
    if not ready_file.exists():
        return None
    return msgspec.json.decode(ready_file.read_bytes(), type=Ready)


async def begin(data: Path, log: Path, *arguments: str) -> Process:
    """Start `payonce up` with the settings of a fresh machine; does not wait for anything."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PAYONCE_")
    }
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "up", "--data", str(data), *arguments),
            cwd=data.parent,  # where no payonce.toml lies
            env=environment | {"PYTHONPATH": str(REPOSITORY)},
            stdout=output,
            stderr=output,
        )


@asynccontextmanager
async def running(data: Path, port: int = 0) -> AsyncIterator[Program]:
    """Run it for as long as the block runs, unless the block ends it."""
    program = await Program.start(data, port)
    try:
        yield program
    finally:
        await program.stop()


async def until(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something to see; what is waited for is in another program."""
    async with asyncio.timeout(_PATIENCE_S):
        while (seen := await look()) is None:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_LOOK_AGAIN_S)
    return seen
