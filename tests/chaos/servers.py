"""PostgreSQL and Valkey of a run, which may be away for a while.

They come back on the same port with what they had forced to the disk, as a server does that its
supervisor starts again.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.embedded import EmbeddedError, Running

_BACK_WITHIN_S: Final = 60.0

Start = Callable[[Path, int | None], Awaitable[Running]]


class Server:
    """`start` is `start_postgres` or `start_valkey`."""

    def __init__(self, data: Path, port: int, start: Start) -> None:
        self._data = data
        self._port = port
        self._start = start
        self._running: Running | None = None

    async def start(self) -> str:
        """Start it and answer its URL; where it cannot yet, because of what was, try again."""
        deadline = time.monotonic() + _BACK_WITHIN_S
        while True:
            with suppress(EmbeddedError):
                self._running = await self._start(self._data, self._port)
                return self._running.url
            if time.monotonic() > deadline:
                raise TimeoutError(f"no server came up on port {self._port}")

    async def restart(self, by: signal.Signals) -> None:
        """End it by a signal, and start it again once nothing of it is left."""
        assert self._running is not None
        os.kill(self._running.pid, by)
        await self._running.stop()
        await self.start()

    async def pause(self, for_s: float) -> None:
        """Let it stand still: connections stay open and nothing is answered."""
        assert self._running is not None
        os.kill(self._running.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            os.kill(self._running.pid, signal.SIGCONT)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.stop()
