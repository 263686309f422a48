"""Telling the page: the socket and the long poll, with real commits and real messages."""

import asyncio
import itertools
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Struct
from msgspec.structs import replace

from gateway.app import make_app
from gateway.model import Order
from gateway.ports import free_port
from gateway.push.hub import Hub, Pace
from gateway.up import serving
from gateway.web.keys import DESK, HUB
from gateway.web.live import MOST_WATCHERS, ws
from tests.push.watched import change, live, publish
from tests.rig import Rig, until
from tests.web.buyer import Buyer

NEVER_S = 3600.0
PATIENCE_S = 5.0


@asynccontextmanager
async def watching(
    rig: Rig, order: Order, url: str = ""
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    path = f"{url or rig.url}/checkout/{order.token}/ws"
    async with rig.http.ws_connect(path) as page:
        yield page


async def snapshot(page: aiohttp.ClientWebSocketResponse) -> dict[str, object]:
    return msgspec.json.decode(await page.receive_str(timeout=PATIENCE_S), type=dict[str, object])


async def version(page: aiohttp.ClientWebSocketResponse) -> int:
    return msgspec.convert((await snapshot(page))["version"], int)


async def test_a_page_hears_everything_from_choosing_to_paid(rig: Rig) -> None:
    order = await rig.order()
    async with watching(rig, order) as page:
        first = await snapshot(page)
        assert (first["type"], first["order"], first["version"]) == ("order", order.id, 1)
        assert (first["state"], first["attempt"], first["surplus"]) == ("open", None, "none")
        await rig.apply(order)
        offered = await snapshot(page)
        attempt = offered["attempt"]
        assert isinstance(attempt, dict)
        assert attempt["next_action"]["type"] == "qr"
        await rig.pay((await rig.read(order)).attempts[0].number)
        paid = await snapshot(page)
        assert (paid["state"], paid["attempt"]) == ("paid", None)


async def test_a_page_hears_of_what_another_process_committed(rig: Rig) -> None:
    order = await rig.order()
    async with (
        another_gateway(rig) as other,
        watching(rig, order) as here,
        watching(rig, order, other.url) as there,
    ):
        assert (await snapshot(here))["version"] == (await snapshot(there))["version"] == 1
        async with rig.http.post(
            f"{other.url}/checkout/{order.token}/attempts", json={"channel": "wechat"}
        ) as answer:
            assert answer.status == 201
        assert (await snapshot(here))["attempt"] == (await snapshot(there))["attempt"] is not None


async def test_no_change_falls_between_opening_and_listening(rig: Rig) -> None:
    for _ in range(30):
        order = await rig.order(random.randrange(100, 10_000))

        async def commit(order: Order = order) -> None:
            await asyncio.sleep(random.uniform(0, 0.01))
            await publish(rig.desk.redis, order.id, await change(rig.desk.pool, order.id))

        committing = asyncio.create_task(commit())
        async with watching(rig, order) as page:
            while (await snapshot(page))["version"] != 2:
                pass
        await committing


async def test_an_older_snapshot_never_follows_a_newer_one(rig: Rig) -> None:
    order = await rig.order()
    async with watching(rig, order) as page:
        heard = [await version(page)]

        async def stir() -> None:
            for _ in range(20):
                newest = await change(rig.desk.pool, order.id)
                for said in [*random.sample(range(1, newest + 1), 2), newest]:
                    await publish(rig.desk.redis, order.id, said)

        await asyncio.gather(*(stir() for _ in range(5)))
        while heard[-1] != 101:
            heard.append(await version(page))
        assert all(older < newer for older, newer in itertools.pairwise(heard))


async def test_a_slow_reader_is_dropped_and_finds_the_newest_when_back(rig: Rig) -> None:
    order = await rig.order()
    pace = Pace(slow_reader_s=0.2)
    async with rig.desk.pool.acquire() as conn:
        await conn.execute("UPDATE orders SET return_url = 'https://x/' || repeat('x', 2000)")
    async with (
        live(Hub(rig.settings.redis_url or "", rig.desk.pool, pace)) as hub,
        with_small_buffers(rig, hub) as port,
    ):
        writer = await deaf_page(port, order)
        # A few kilobytes fill the buffers; then the next snapshot finds the reader too slow.
        async with asyncio.timeout(PATIENCE_S):
            while hub.watchers(order.id):
                await publish(rig.desk.redis, order.id, await change(rig.desk.pool, order.id))
        writer.transport.abort()
    async with watching(rig, order) as page:
        assert (await snapshot(page))["version"] == (await rig.read(order)).version


async def test_another_sites_page_cannot_listen(rig: Rig) -> None:
    order = await rig.order()
    for origin in ("https://evil.example", "null", rig.url + ".evil.example"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with rig.http.ws_connect(
                f"{rig.url}/checkout/{order.token}/ws", headers={"Origin": origin}
            ):
                pass
        assert refused.value.status == 403
    async with rig.http.ws_connect(
        f"{rig.url}/checkout/{order.token}/ws", headers={"Origin": rig.url}
    ) as page:
        assert (await snapshot(page))["version"] == 1


async def test_one_order_is_watched_by_so_many_and_no_more(rig: Rig) -> None:
    order = await rig.order()
    async with AsyncExitStack() as stack:
        for _ in range(MOST_WATCHERS):
            await snapshot(await stack.enter_async_context(watching(rig, order)))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stack.enter_async_context(watching(rig, order))
        assert refused.value.status == 429
        assert (await Buyer(rig, order).get("/status")).status == 429
    hub_is_empty = Buyer(rig, order)

    async def look() -> bool:
        return (await hub_is_empty.get("/status")).status == 200

    await until(look)


async def test_a_plain_request_is_told_that_the_socket_is_one(rig: Rig) -> None:
    answer = await Buyer(rig, await rig.order()).get("/ws")
    assert answer.status == 422


async def test_pages_are_told_when_the_process_stops(rig: Rig) -> None:
    order = await rig.order()
    async with AsyncExitStack() as stack:
        async with another_gateway(rig) as other:
            page = await stack.enter_async_context(watching(rig, order, other.url))
            await snapshot(page)
            url = f"{other.url}/checkout/{order.token}/status?version=1&wait=30"
            waiting = asyncio.create_task(fetch(rig, url))
            await until(lambda: other.hub.watchers(order.id) == 2)
        assert await goodbye(page) == WSCloseCode.GOING_AWAY
        assert await waiting == 200, "a long poll is answered with what there is"


async def test_a_page_that_cannot_be_told_is_asked_to_come_back(rig: Rig) -> None:
    order = await rig.order()
    async with watching(rig, order) as page:
        await snapshot(page)
        await rig.desk.pool.close()
        await publish(rig.desk.redis, order.id, 2)
        assert await goodbye(page) == WSCloseCode.TRY_AGAIN_LATER


async def test_a_long_poll_answers_when_it_is_newer(rig: Rig) -> None:
    order = await rig.order()
    async with another_gateway(rig) as other:
        url = f"{other.url}/checkout/{order.token}/status?version=1&wait=30"
        waiting = asyncio.create_task(fetch(rig, url))
        await until(lambda: other.hub.watchers(order.id) == 1)
        await rig.apply(order)
        assert await waiting == 200


async def test_a_long_poll_answers_at_once_what_is_newer_already(rig: Rig) -> None:
    order = await rig.order()
    assert (await Buyer(rig, order).get("/status?version=0&wait=30")).json["version"] == 1


async def test_a_long_poll_ends_when_its_time_is_over(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    first = await buyer.get("/status")
    answer = await buyer.get("/status?version=1&wait=1")
    assert (answer.status, answer.json["version"]) == (200, 1)
    same = await buyer.get("/status?version=1&wait=1", {"If-None-Match": first.headers["ETag"]})
    assert (same.status, same.text) == (304, "")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("version=1&wait=31", "wait"),
        ("version=-1", "version"),
        ("version=x", "version"),
        ("wait=", "wait"),
        ("verison=1", "verison"),
        ("version=1&version=2", "version"),
    ],
)
async def test_a_wrong_question_is_refused_by_name(rig: Rig, query: str, field: str) -> None:
    answer = await Buyer(rig, await rig.order()).get(f"/status?{query}")
    assert (answer.status, answer.json["field"]) == (422, field)


async def test_the_etag_changes_when_time_takes_the_code_away(rig: Rig) -> None:
    order = await rig.order()
    buyer = Buyer(rig, order)
    await rig.apply(order)
    first = await buyer.get("/status")
    async with rig.desk.pool.acquire() as conn:
        await conn.execute("UPDATE attempts SET next_action_until = now() - interval '1 second'")
    later = await buyer.get("/status", {"If-None-Match": first.headers["ETag"]})
    assert later.status == 200
    assert later.json["version"] == first.json["version"]


async def goodbye(page: aiohttp.ClientWebSocketResponse) -> int:
    """Return the code with which the other side closes."""
    frame = await page.receive(PATIENCE_S)
    assert frame.type is WSMsgType.CLOSE
    return int(frame.data)


async def fetch(rig: Rig, url: str) -> int:
    async with rig.http.get(url) as answer:
        return answer.status


class Gateway(Struct):
    url: str
    hub: Hub


@asynccontextmanager
async def another_gateway(rig: Rig) -> AsyncIterator[Gateway]:
    """A second gateway on the same database and Redis, as another process would be."""
    settings = replace(rig.settings, port=free_port())
    app = make_app(settings, worker=False)
    async with serving(app, settings.host, settings.port):
        yield Gateway(settings.base_url, app[HUB])


@asynccontextmanager
async def with_small_buffers(rig: Rig, hub: Hub) -> AsyncIterator[int]:
    """Serve the socket alone, on a port whose connections hold a few kilobytes."""
    app = web.Application()
    app[DESK], app[HUB] = rig.desk, hub
    app.router.add_get("/checkout/{token}/ws", ws)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


async def deaf_page(port: int, order: Order) -> asyncio.StreamWriter:
    """Open a page's socket and read nothing from it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=256)
    writer.write(
        f"GET /checkout/{order.token}/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return writer
