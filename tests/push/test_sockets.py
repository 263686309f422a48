"""The sockets of a process: who does not read, answer or keep quiet is dropped, and nobody else."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import prometheus_client
import pytest
from aiohttp import WSCloseCode, WSMsgType, web

from gateway.push.sockets import MAX_FRAME_BYTES, OpenSocket, Sockets
from tests.rig import until

NEVER_S = 3600.0
PATIENCE_S = 5.0
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
Talk = Callable[[OpenSocket], Awaitable[None]]


@asynccontextmanager
async def serving(sockets: Sockets, talk: Talk) -> AsyncIterator[int]:
    """Serve open sockets on a port: each of them is talked to."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=MAX_FRAME_BYTES, writer_limit=0
        )
        await response.prepare(request)
        assert request.transport is not None
        with sockets.opened(response, request.transport) as opened:
            await talk(opened)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    listener = socket.socket()
    # Small buffers, so that a reader who does not read is felt after a few kilobytes.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    pinging = asyncio.create_task(sockets.keep_pinging())
    try:
        yield listener.getsockname()[1]
    finally:
        pinging.cancel()
        await runner.cleanup()


def open_sockets() -> float | None:
    return prometheus_client.REGISTRY.get_sample_value("payonce_websockets")


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


async def listen(opened: OpenSocket) -> None:
    await opened.hear_out()


async def fill(opened: OpenSocket) -> None:
    """Speak to somebody who does not listen, until the connection ends."""
    with suppress(ConnectionError):
        while True:
            opened.frames = 1  # as if it answered its pings
            await opened.send(b"x" * 1000, NEVER_S)


@asynccontextmanager
async def deaf_reader(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """A client that shakes hands and from then on neither reads nor answers."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=256)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_a_reader_who_does_not_read_is_given_up_in_time() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def talk(opened: OpenSocket) -> None:
        sent = 0
        try:
            while True:
                await opened.send(b"x" * 1000, 0.1)
                sent += 1
                assert opened.transport.get_write_buffer_size() == 0, "nothing waits in our memory"
                assert sent < 10_000
        except TimeoutError:
            ended.set_result("given up")
            opened.transport.abort()

    async with serving(Sockets(NEVER_S), talk) as port, deaf_reader(port):
        assert await asyncio.wait_for(ended, PATIENCE_S) == "given up"


async def test_who_answers_pings_stays() -> None:
    async with (
        serving(Sockets(0.02), listen) as port,
        aiohttp.ClientSession() as http,
        http.ws_connect(at(port), autoping=False) as client,
    ):
        for _ in range(10):
            frame = await client.receive(PATIENCE_S)
            assert frame.type is WSMsgType.PING
            await client.pong(frame.data)
        assert open_sockets() == 1
    assert open_sockets() == 0


async def test_who_answers_no_ping_is_dropped() -> None:
    async with serving(Sockets(0.05), listen) as port, deaf_reader(port) as reader:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(100), PATIENCE_S)


async def test_who_has_not_read_by_the_next_ping_is_dropped() -> None:
    ended = asyncio.Event()

    async def talk(opened: OpenSocket) -> None:
        await fill(opened)
        ended.set()

    async with serving(Sockets(0.1), talk) as port, deaf_reader(port):
        await asyncio.wait_for(ended.wait(), PATIENCE_S)


async def test_one_who_does_not_read_holds_up_nobodys_pings() -> None:
    talks = iter([fill, listen])

    async def talk(opened: OpenSocket) -> None:
        await next(talks)(opened)

    async with (
        serving(Sockets(0.05), talk) as port,
        deaf_reader(port),
        aiohttp.ClientSession() as http,
        http.ws_connect(at(port), autoping=False) as client,
    ):
        for _ in range(5):
            frame = await client.receive(PATIENCE_S)
            assert frame.type is WSMsgType.PING
            await client.pong(frame.data)


async def test_pings_are_answered() -> None:
    async with (
        serving(Sockets(NEVER_S), listen) as port,
        aiohttp.ClientSession() as http,
        http.ws_connect(at(port), autoping=False) as client,
    ):
        await client.ping(b"there?")
        frame = await client.receive(PATIENCE_S)
        assert (frame.type, frame.data) == (WSMsgType.PONG, b"there?")


async def test_who_talks_too_much_is_sent_away() -> None:
    async with (
        serving(Sockets(NEVER_S), listen) as port,
        aiohttp.ClientSession() as http,
        http.ws_connect(at(port)) as client,
    ):
        for _ in range(30):
            await client.send_str("I am another program")
        assert (await client.receive(PATIENCE_S)).type is WSMsgType.CLOSE
        assert client.close_code == WSCloseCode.POLICY_VIOLATION


async def test_a_large_frame_is_refused() -> None:
    async with (
        serving(Sockets(NEVER_S), listen) as port,
        aiohttp.ClientSession() as http,
        http.ws_connect(at(port)) as client,
    ):
        await client.send_bytes(b"x" * (MAX_FRAME_BYTES + 1))
        assert (await client.receive(PATIENCE_S)).type is WSMsgType.CLOSE
        assert client.close_code == WSCloseCode.MESSAGE_TOO_BIG


async def test_a_client_that_vanishes_ends_its_socket() -> None:
    sockets = Sockets(NEVER_S)
    async with serving(sockets, listen) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: open_sockets() == 1)
        writer.transport.abort()
        await until(lambda: open_sockets() == 0)
