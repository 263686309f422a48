"""How a server is brought up and ended, whatever kind it is."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

import msgspec

from gateway.embedded.errors import EmbeddedError
from gateway.embedded.folder import Claim, claim, open_folder, open_log
from gateway.ports import free_port

START_TIMEOUT_S: Final = 60.0  # a recovery after a crash may have much of the log to read again
_STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.01
_ANSWER_TIMEOUT_S: Final = 0.25
_PORT_TRIES: Final = 5
_LOG_LINES: Final = 8


class Place(msgspec.Struct, frozen=True):
    """Where a server runs: the data folder, the claim on it, the log."""

    data: Path
    claim: Claim
    log: BinaryIO


class Server(Protocol):
    """One kind of server, prepared: how it is started, asked, addressed and ended."""

    @property
    def stop_by(self) -> Sequence[signal.Signals]: ...  # from polite to rude
    def start(self, port: int) -> subprocess.Popen[bytes]: ...
    async def is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool: ...
    def url(self, port: int) -> str: ...


class Running:
    """A server that answers at `url`, which contains its password."""

    def __init__(self, server: Server, process: subprocess.Popen[bytes], port: int, claim: Claim):
        self.url = server.url(port)
        self.pid = process.pid
        self._process = process
        self._signals = server.stop_by
        self._claim = claim
        claim.describe(self.pid, self.url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the server, politely at first, and free its data; a second call does nothing."""
        try:
            await end(self._process, self._signals)
        finally:
            if self._process.poll() is None:  # we were told to hurry
                self._process.kill()
            self._claim.give_back()


async def run(
    name: str,
    data: Path,
    prepare: Callable[[Place], Awaitable[Server]],
    port: int | None,
) -> Running:
    """Bring a server up on `port` of 127.0.0.1, or on a free one. Raises EmbeddedError."""
    data = open_folder(data)
    claimed = await claim(data, name)
    try:
        with open_log(data / f"{name}.log") as log:
            server = await prepare(Place(data, claimed, log))
            begin = log.seek(0, os.SEEK_END)
            for _ in range(_PORT_TRIES if port is None else 1):
                chosen = port or free_port()
                process = server.start(chosen)
                if await _comes_up(server, process, chosen):
                    return Running(server, process, chosen, claimed)
                # Between our choice and its start somebody else may have taken the port.
                if "ddress already in use" not in _written(log, begin):
                    break
            raise failed(f"{name} did not start", log, begin)
    except BaseException:
        claimed.give_back()
        raise


async def _comes_up(server: Server, process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers. It is ended if it does not, or if we are cancelled."""
    ready = False
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while not ready and process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                    ready = await server.is_ready(process, port)
    finally:
        if not ready:
            await end(process, [signal.SIGKILL])
    return ready


async def end(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals]) -> None:
    """Send the signals one after the other until the process has ended, and reap it."""
    for number in signals:
        if process.poll() is None:
            process.send_signal(number)
            await wait(process, _STOP_TIMEOUT_S)


async def wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Wait for the process without holding up the loop; its exit code, or None if time is up."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
        # A process may be waited for from another loop than the one that started it.
        await asyncio.sleep(_POLL_S)
    return process.returncode


def package(name: str) -> Path:
    """Find an installed package's folder without importing it, which would cost half a second."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The package {name} is not installed. Install PayOnce again, or set "
            "PAYONCE_DATABASE_URL and PAYONCE_REDIS_URL to servers of your own."
        )
    return Path(spec.origin).parent


def failed(what: str, log: BinaryIO, begin: int) -> EmbeddedError:
    """Make the error of a server that failed, with the last lines that it wrote since `begin`."""
    lines = _written(log, begin).strip().splitlines()[-_LOG_LINES:]
    return EmbeddedError("\n    ".join([f"{what}; it wrote to {log.name}:", *lines]))


def _written(log: BinaryIO, begin: int) -> str:
    with Path(log.name).open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")
