"""Servers of a test's own, which it stops, kills, freezes and starts again at the same address."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.embedded import Running
from gateway.ports import free_port

Start = Callable[[Path, int], Awaitable[Running]]


class Breakable:
    """One server in its folder, at one port for its whole life."""

    def __init__(self, start: Start, data: Path) -> None:
        self._start = start
        self._data = data
        self._port = free_port()
        self._running: Running | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    @property
    def url(self) -> str:
        return self.running.url

    async def start(self) -> None:
        self._running = await self._start(self._data, self._port)

    async def stop(self) -> None:
        await self.running.stop()

    async def kill(self) -> None:
        """Let it die without a word, as when its machine does."""
        os.kill(self.running.pid, signal.SIGKILL)
        await self.running.stop()  # which reaps it, and frees its data

    def freeze(self) -> None:
        """Stop it in mid-air: its connections stay open, and nobody answers."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._family():
            os.kill(pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        """The server, first, for it shall start no more; and the processes that it started."""
        parent = str(self.running.pid)
        children = [
            int(process.name)
            for process in Path("/proc").glob("[0-9]*")
            if _parent_of(process) == parent
        ]
        return [self.running.pid, *children]


def _parent_of(process: Path) -> str:
    try:
        stat = (process / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile
    return stat.rpartition(")")[2].split()[1]


@asynccontextmanager
async def breakable(start: Start, data: Path) -> AsyncIterator[Breakable]:
    """A server for as long as the block runs, however the block leaves it."""
    server = Breakable(start, data)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def restarted(server: Breakable) -> AsyncIterator[None]:
    await server.stop()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def killed(server: Breakable) -> AsyncIterator[None]:
    await server.kill()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def frozen(server: Breakable) -> AsyncIterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()
