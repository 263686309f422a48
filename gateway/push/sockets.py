"""The open sockets of a process: what is sent on them, and which of them are still there.

A socket gets whole snapshots, newest last, and at most one is under way: a reader who has not taken
it in time is dropped, and comes back for the newest. Pings are spread over time by one task instead
of a timer per socket, because ten thousand timers that are due together hold up everybody's push.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from gateway.telemetry import WEBSOCKETS

MAX_FRAME_BYTES: Final = 1024
# What a page has to say is pongs; more than this is somebody else's program.
_FRAMES_BETWEEN_PINGS: Final = 20
_SLICE_S: Final = 0.02
_PINGS_A_SLICE: Final = 50
# RFC 6455, 5.5: frames of a server. A ping is written to the transport directly, since
# aiohttp's own waits for the reader, and one who does not read would hold up all the others.
_PING: Final = b"\x89\x00"
_CLOSE: Final = b"\x88\x02"  # two bytes follow: the code


class OpenSocket:
    """A socket, and what its pings need to know of it."""

    __slots__ = ("due", "frames", "response", "transport")

    def __init__(
        self, response: web.WebSocketResponse, transport: asyncio.Transport, due: float
    ) -> None:
        self.response = response
        self.transport = transport
        self.due = due  # when it is pinged next, by the monotonic clock
        self.frames = 1  # heard since the last ping; the opening counts as one

    async def send(self, text: bytes, timeout_s: float) -> None:
        """Send, and wait until the kernel has it all. Raises TimeoutError and ConnectionError."""
        async with asyncio.timeout(timeout_s):
            await self.response.send_frame(text, WSMsgType.TEXT)

    async def hear_out(self) -> None:
        """Answer pings until the other side goes. Whatever else it says is counted and ignored."""
        async for frame in self.response:
            self.frames += 1
            if self.frames > _FRAMES_BETWEEN_PINGS:
                await self.response.close(code=WSCloseCode.POLICY_VIOLATION)
            elif frame.type is WSMsgType.PING:
                await self.response.pong(frame.data)

    def leave(self, code: WSCloseCode) -> None:
        """Say why, and go: aiohttp's own close would end `hear_out` before it had said anything."""
        self.transport.write(_CLOSE + code.to_bytes(2, "big"))
        self.transport.close()

    def ping(self) -> None:
        """Ping, or drop a socket that said nothing since the last ping or has not read its data."""
        if self.frames == 0 or self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.frames = 0
            self.transport.write(_PING)


class Sockets:
    def __init__(self, ping_s: float) -> None:
        self._ping_s = ping_s
        self._open: OrderedDict[OpenSocket, None] = OrderedDict()  # the next to be pinged first

    @contextmanager
    def opened(
        self, response: web.WebSocketResponse, transport: asyncio.Transport
    ) -> Iterator[OpenSocket]:
        """Ping a prepared socket for as long as the block runs."""
        # Nothing may wait in our memory: sending waits until the kernel has taken all of it.
        transport.set_write_buffer_limits(high=0)
        socket = OpenSocket(response, transport, time.monotonic() + self._ping_s)
        self._open[socket] = None
        WEBSOCKETS.inc()
        try:
            yield socket
        finally:
            WEBSOCKETS.dec()
            del self._open[socket]

    async def keep_pinging(self) -> None:
        """Ping whoever is due, a few at a time, so that nobody's push waits for many pings."""
        while True:
            first = next(iter(self._open), None)
            wait_s = self._ping_s if first is None else first.due - time.monotonic()
            await asyncio.sleep(max(wait_s, _SLICE_S))
            for socket in self._due(time.monotonic()):
                socket.ping()

    def _due(self, now: float) -> Iterator[OpenSocket]:
        for _ in range(_PINGS_A_SLICE):
            first = next(iter(self._open), None)
            if first is None or first.due > now:
                return
            first.due = now + self._ping_s
            self._open.move_to_end(first)
            yield first
