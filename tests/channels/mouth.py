"""A server that says what it is told to, byte for byte: no library of ours writes its answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiohttp import web
from yarl import URL

from gateway.web.calls import Handler

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_WRITTEN_ANEW: Final = ("content-length", "transfer-encoding", "connection", "date", "server")

Headers = tuple[tuple[bytes, bytes], ...]


class Said(NamedTuple):
    """An answer as it goes over the wire. Without a Content-Length it has its body's."""

    status: int
    headers: Headers
    body: bytes

    def on_the_wire(self) -> bytes:
        headers = dict(self.headers)
        named = {name.lower() for name in headers}
        if not named & {b"content-length", b"transfer-encoding"}:
            headers[b"Content-Length"] = str(len(self.body)).encode()
        lines = b"".join(b"%s: %s\r\n" % header for header in headers.items())
        start = b"HTTP/1.1 %d Said\r\nConnection: close\r\n" % self.status
        return start + lines + b"\r\n" + self.body


def key_of(url: URL) -> str:
    """Return what tells one call from another: the path, and the method that Alipay's names."""
    return f"{url.path} {url.query.get('method', '')}"


class Mouth:
    """Answers each call with what `says` has for it, and all others with `otherwise`."""

    def __init__(self) -> None:
        self.says: Mapping[str, Said] = {}
        self.otherwise = Said(404, (), b"")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            asked = key_of(URL(head.split(b" ", 2)[1].decode("ascii", "replace"), encoded=True))
            writer.write(self.says.get(asked, self.otherwise).on_the_wire())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # the client had enough
        finally:
            writer.close()


@asynccontextmanager
async def speaking(mouth: Mouth) -> AsyncIterator[str]:
    server = await asyncio.start_server(mouth.answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def overheard(app: web.Application, into: list[tuple[str, Said]]) -> web.Application:
    """Return an application of which every answer is written down, by its call."""

    @web.middleware
    async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        body = answer.body
        assert body is None or isinstance(body, bytes | bytearray)
        headers = tuple(
            (name.encode(), value.encode())
            for name, value in answer.headers.items()
            if name.lower() not in _WRITTEN_ANEW
        )
        into.append((key_of(request.rel_url), Said(answer.status, headers, bytes(body or b""))))
        return answer

    app.middlewares.append(keep)
    return app
