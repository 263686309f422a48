"""What every answer has in common: problems, ids, headers, and a log without secrets."""

import asyncio
import gzip
import re
from contextlib import suppress

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer
from structlog.testing import capture_logs

from gateway.settings import Settings
from gateway.web.middleware import middlewares
from tests.rig import Rig, StartRig, until
from tests.trouble.wire import Wire
from tests.web.api import Api, new_order

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "PayOnce",
}


UPGRADE = (
    b"GET /listen HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def on_the_wire(rig: Rig, text: bytes) -> bytes:
    """Send bytes as they are; return what comes back until the gateway hangs up, or waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.port)
    writer.write(text)
    said = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while part := await reader.read(65536):
                said += part
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return said


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v1",
        "/v1/orders/",
        "/v1/order",
        "/v1/orders/../../etc",
        "/%00",
        "/%ff",
        "/v1/orders/%00",
    ],
)
async def test_an_unknown_url_is_a_problem(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/orders", "GET,HEAD,POST"),
        ("PUT", "/v1/orders/ord_1", "GET,HEAD"),
        ("GET", "/v1/orders/ord_1/close", "POST"),
        ("PATCH", "/openapi.json", "GET,HEAD"),
        ("OPTIONS", "/v1/orders", "GET,HEAD,POST"),
    ],
)
async def test_a_method_that_a_url_does_not_take_is_a_problem(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = await api.call(method, path)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


async def test_head_answers_as_get_without_the_body(api: Api) -> None:
    order = await api.open_order()
    for path in (f"/v1/orders/{order.id}", "/v1/orders", "/openapi.json", "/health/live", "/docs"):
        got, head = await api.get(path), await api.call("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.body))


async def test_every_answer_is_hardened_and_says_which_request_it_was(api: Api) -> None:
    order = await api.open_order()
    answers = [
        order,
        await api.get(f"/v1/orders/{order.id}"),
        await api.get("/nowhere"),
        await api.call("DELETE", "/v1/orders"),
        await api.post("/v1/orders", {}),
        await api.get("/health/live"),
    ]
    for answer in answers:
        assert {name: answer.headers[name] for name in SECURITY} == SECURITY
        assert re.fullmatch(r"req_[0-9a-f]{12}-[0-9a-f]{8}", answer.headers["X-Request-Id"])
        if answer.status >= 400:
            assert answer.code
            assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(answers)


async def test_https_is_asked_for_where_it_is_there(start_rig: StartRig) -> None:
    for url, asked in ((None, False), ("https://pay.example", True)):
        rig = await start_rig(public_url=url or "")
        local = f"http://127.0.0.1:{rig.settings.port}/health/live"
        async with rig.http.get(local) as answer:
            assert ("Strict-Transport-Security" in answer.headers) is asked


@pytest.mark.parametrize(
    ("said", "kept"),
    [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("é", False)],
)
async def test_a_callers_request_id_is_kept_when_it_is_harmless(
    api: Api, said: str, kept: bool
) -> None:
    answer = await api.get("/nowhere", {"X-Request-Id": said})
    assert (answer.headers["X-Request-Id"] == said) is kept


async def test_a_lost_database_is_told_and_nothing_else_is(
    start_rig: StartRig, database_url: str
) -> None:
    wire = Wire(database_url)
    await wire.mend()
    api = Api(await start_rig(database_url=wire.url))
    order = await api.open_order()
    await wire.cut()
    for path in (f"/v1/orders/{order.id}", "/v1/orders", "/v1/events"):
        answer = await api.get(path)
        assert (answer.status, answer.code) == (503, "service_unavailable"), answer.body
        assert int(answer.headers["Retry-After"]) >= 1
    answer = await api.post("/v1/orders", new_order(), key="k")
    assert answer.code == "service_unavailable"
    ready = await api.get("/health/ready")
    assert (ready.status, ready.json["postgresql"]) == (503, "unreachable")
    assert (await api.get("/health/live")).status == 200
    await wire.mend()

    async def back() -> bool:
        return (await api.get(f"/v1/orders/{order.id}")).status == 200

    await until(back)
    await wire.cut()


async def test_what_nobody_expected_is_logged_and_not_told(api: Api) -> None:
    order = await api.open_order()
    async with api.rig.desk.pool.acquire() as conn:
        await conn.execute("ALTER TABLE journal RENAME TO diary")
    with capture_logs() as lines:
        answer = await api.get(f"/v1/orders/{order.id}/events")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"journal" not in answer.body
    (line,) = [line for line in lines if line["event"] == "unexpected_error"]
    assert "journal" in str(line["exc_info"])


async def test_the_log_names_routes_and_never_tokens(api: Api) -> None:
    order = await api.open_order()
    token = str(order.json["checkout_url"]).rpartition("/")[2]
    with capture_logs() as lines:
        await api.get(f"/checkout/{token}")
        await api.get(f"/checkout/{token}/status")
        await api.get(f"/checkout/{token}/nowhere")
        await api.get(f"/q/{token}")
        await api.get(f"/v1/orders/{order.id}")
    told = "\n".join(map(str, lines))
    assert "/checkout/{token}/status" in told
    assert "unknown" in told
    assert token not in told
    assert api.api_key not in told


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 10\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: 2\r\nExpect: teapot\r\n\r\n{}",
    ],
)
async def test_a_body_that_breaks_off_is_no_fault_of_ours(api: Api, body: bytes) -> None:
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {api.api_key}\r\nContent-Type: application/json\r\n"
    )
    with capture_logs() as lines:
        said = await on_the_wire(api.rig, head.encode() + body)
    assert said == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", said), said
    assert {line["event"] for line in lines} <= {"request"}
    assert (await api.get("/v1/orders")).data == []


async def test_a_zip_bomb_is_too_large(api: Api) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 64 * 1024
    answer = await api.call("POST", "/v1/orders", raw=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_a_client_who_hangs_up_is_no_outage(aiohttp_server: AiohttpServer) -> None:
    left = asyncio.Event()

    async def listen(request: web.Request) -> web.WebSocketResponse:
        transport = request.transport
        await until(lambda: transport is None or transport.is_closing())
        response = web.WebSocketResponse()
        try:
            await response.prepare(request)
        finally:
            left.set()
        return response

    app = web.Application(middlewares=middlewares(Settings()))
    app.router.add_get("/listen", listen)
    server = await aiohttp_server(app)
    _, writer = await asyncio.open_connection(server.host, server.port)
    with capture_logs() as lines:
        writer.write(UPGRADE)
        await writer.drain()
        writer.close()
        await left.wait()
        await server.close()
    assert not [line for line in lines if "outage" in line]
