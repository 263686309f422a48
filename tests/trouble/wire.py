"""A wire to PostgreSQL that can be cut, and that can lose one answer at the worst moment.

It reads the protocol as it passes (a type, a length, a body), so it knows which statement is being
executed, and can cut the connection before the server hears of it or after it has committed: to the
client the two look the same.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gateway.ports import free_port

_READY: Final = b"Z"  # the server has finished, and what it did outside a transaction is committed

_STANDBY: Final = b"in_hot_standby\0on\0"


class When(StrEnum):
    BEFORE = "before it is executed"
    AFTER = "after it is committed"


class Wire:
    """`url` leads to the database through the wire."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        said = dict(parse_qsl(parts.query))
        self._host = parts.hostname or said["host"]
        self._port = parts.port or int(said.get("port", 5432))
        self.port = free_port()
        ours = f"{parts.username}:{parts.password or ''}@127.0.0.1:{self.port}"
        self.url = parts._replace(netloc=ours, query="sslmode=disable").geturl()
        self.lost = 0  # how many answers
        self.refuses: bytes | None = None  # the SQLSTATE that new connections are refused with
        self.is_standby = False  # what new connections are told
        self._ends: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._doomed = ""
        self._passes = 0
        self._when = When.BEFORE

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Cut the connections that are there; new ones are taken."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    def lose(self, statement: str, when: When, nth: int = 1) -> None:
        """Cut the connection that executes the statement the nth time from now."""
        self._doomed, self._when, self._passes = statement.strip(), when, nth - 1

    async def _join(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self.refuses is not None:
            await _refuse(ours, back, self.refuses)
            return
        if self._host.startswith("/"):
            path = f"{self._host}/.s.PGSQL.{self._port}"
            theirs, there = await asyncio.open_unix_connection(path)
        else:
            theirs, there = await asyncio.open_connection(self._host, self._port)
        self._ends += [back, there]
        connection = _Connection(self, there, back)
        await asyncio.gather(connection.up(ours), connection.down(theirs), return_exceptions=True)

    def take_doomed(self, statement: str) -> When | None:
        """Say when the connection that executes this is to be cut; it happens once."""
        if not self._doomed or self._doomed != statement.strip():
            return None
        if self._passes:
            self._passes -= 1
            return None
        self._doomed = ""
        self.lost += 1
        return self._when


class _Connection:
    """One connection through the wire: what it has prepared, and whether its end is near."""

    def __init__(self, wire: Wire, there: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        self._wire = wire
        self._there = there
        self._back = back
        self._statements: dict[bytes, str] = {}
        self._executed = ""
        self._ends_when_ready = False

    async def up(self, client: asyncio.StreamReader) -> None:
        """Pass on what the client says."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self._there.write(await _first_message(client))
            async for kind, body in _messages(client):
                match self._end_by(kind, body):
                    case When.BEFORE:
                        self._hang_up()
                        return
                    case When.AFTER:
                        self._ends_when_ready = True
                    case None:
                        pass
                self._there.write(_packed(kind, body))
        self._there.close()

    async def down(self, server: asyncio.StreamReader) -> None:
        """Pass on what the server says, until the answer that is to be lost."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async for kind, said in _messages(server):
                is_primary = (kind, said) == (b"S", b"in_hot_standby\0off\0")
                body = _STANDBY if is_primary and self._wire.is_standby else said
                if self._ends_when_ready:
                    if kind == _READY:
                        self._hang_up()
                        return
                    continue
                self._back.write(_packed(kind, body))
        self._back.close()

    def _end_by(self, kind: bytes, body: bytes) -> When | None:
        """Say whether this executes the doomed statement: by Bind, or as a plain query (BEGIN and
        COMMIT are such, and are known by the statement before them).
        """
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._statements[name] = text.decode()
        if kind == b"B":
            name = body.split(b"\0", 2)[1]
            self._executed = self._statements.get(name, "")
            return self._wire.take_doomed(self._executed)
        if kind == b"Q":
            return self._wire.take_doomed(self._executed + body.rstrip(b"\0").decode())
        return None

    def _hang_up(self) -> None:
        self._back.transport.abort()
        self._there.transport.abort()


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[Wire]:
    """A wire for as long as the block runs."""
    wire = Wire(database_url)
    await wire.mend()
    try:
        yield wire
    finally:
        await wire.cut()


async def _first_message(client: asyncio.StreamReader) -> bytes:
    """The first message of a connection has no type."""
    length = await client.readexactly(4)
    return length + await client.readexactly(struct.unpack("!i", length)[0] - 4)


async def _messages(source: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    while kind := await source.read(1):
        (length,) = struct.unpack("!i", await source.readexactly(4))
        yield kind, await source.readexactly(length - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


async def _refuse(client: asyncio.StreamReader, back: asyncio.StreamWriter, state: bytes) -> None:
    """Answer the first message as a server does that takes nobody now."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await _first_message(client)
        back.write(_packed(b"E", b"SFATAL\0VFATAL\0C" + state + b"\0Mnot now\0\0"))
        await back.drain()
    back.close()
