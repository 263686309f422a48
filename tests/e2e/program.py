"""`payonce up` as its user runs it: a program of its own, ended by signals.

The tests share nothing with it but the command line, the ready file and HTTP.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import msgspec
from msgspec import Struct

REPOSITORY: Final = Path(__file__).parents[2]
LOOK_AGAIN_S: Final = 0.01
_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 15.0


class Ready(Struct, frozen=True):
    """What the tests use of the ready file."""

    gateway_url: str
    sandbox_url: str
    shop_url: str
    api_key: str


class Program:
    """One run of `payonce up` that has become ready. What it said and logged is in `log`."""

    def __init__(self, process: Process, ready: Ready, ready_after_s: float, log: Path) -> None:
        self.ready = ready
        self.ready_after_s = ready_after_s
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, data: Path, port: int = 0) -> Self:
        """Start it on a data folder and wait until it says that it is ready."""
        ready_file = data.with_name(data.name + ".ready.json")
        ready_file.unlink(missing_ok=True)
        log = data.with_name(data.name + ".log")
        began = time.monotonic()
        process = await begin(data, log, "--port", str(port), "--ready-file", str(ready_file))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not ready_file.exists():
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(LOOK_AGAIN_S)
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        ready_after_s = time.monotonic() - began
        ready = msgspec.json.decode(ready_file.read_bytes(), type=Ready)
        return cls(process, ready, ready_after_s, log)

    async def stop(self) -> None:
        """Ask it to end, as Ctrl-C does; it must end by itself, without a complaint."""
        self._process.send_signal(signal.SIGTERM)
        assert await self._ended() == 0, self.log.read_text()

    async def kill(self) -> None:
        """End it as a power cut would: no time for a last word, and its servers die with it."""
        self._process.kill()
        assert await self._ended() == -signal.SIGKILL

    async def end(self) -> None:
        """Leave nothing running, whatever happened before."""
        if self._process.returncode is None:
            await self.stop()

    async def _ended(self) -> int:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            return await self._process.wait()


async def begin(data: Path, log: Path, *arguments: str) -> Process:
    """Start `payonce up` with the settings of a fresh machine; does not wait for anything."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PAYONCE_")
    }
    data.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "up", "--data", str(data), *arguments),
            cwd=data.parent,  # where no payonce.toml lies
            env=environment | {"PYTHONPATH": str(REPOSITORY)},
            stdout=output,
            stderr=output,
        )


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Program]:
    """Run it for as long as the block runs, unless the block ends it."""
    program = await Program.start(data)
    try:
        yield program
    finally:
        await program.end()
