"""Whatever comes in, nothing of ours breaks: no answer is a 500, and no line says so."""

import asyncio
import string
from collections.abc import Iterable
from typing import Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.rig import Rig
from tests.web.api import Answer, Api, new_order

EXAMPLES: Final = 300
# One gateway for all the examples of a test: what one of them leaves behind is met by the next.
FUZZ: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**40), 10**40)
)
texts = st.text(max_size=200) | st.sampled_from(["\x00", "\ud7ff", "CNY", "https://[", "ord_\x00"])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
order_fields = st.sampled_from(
    (
        "merchant_order_no",
        "amount",
        "currency",
        "subject",
        "buyer_id",
        "items",
        "expires_in",
        "notify_url",
        "return_url",
        "metadata",
        "allow_duplicate",
    )
)
attempt_fields = st.sampled_from(("channel", "terminal", "product", "buyer"))
methods = st.sampled_from((*["GET", "POST"] * 4, "HEAD", "PUT", "OPTIONS"))
paths = st.sampled_from(
    (
        "/v1/orders",
        "/v1/orders/{}",
        "/v1/orders/{}/attempts",
        "/v1/orders/{}/close",
        "/v1/orders/{}/events",
        "/v1/attempts/{}",
        "/v1/events",
        "/v1/events/{}/redeliver",
        "/checkout/{}",
        "/checkout/{}/status",
        "/checkout/{}/attempts",
        "/checkout/{}/fragment",
        "/checkout/{}/return/{}",
        "/q/{}",
        "/callbacks/{}",
        "/static/{}",
        "/{}",
    )
)
visible = st.text(string.ascii_letters + string.digits + "%_-.~/?=&+:@!$;,\\", max_size=60)
# HTTP itself refuses control characters in a header.
header_bytes = st.binary(max_size=60).map(
    lambda raw: raw.translate(None, bytes(range(32)) + b"\x7f")
)


def unbroken(answers: Iterable[Answer]) -> None:
    for answer in answers:
        assert answer.status < 500, answer.body
        if answer.status >= 400 and answer.body:
            assert answer.code


async def test_no_value_in_an_order_breaks_anything(api: Api) -> None:
    @FUZZ
    @given(st.dictionaries(order_fields | texts, values, max_size=4))
    def fuzz(changes: dict[str, object]) -> None:
        bodies.append(msgspec.json.encode(new_order(**changes)))

    bodies: list[bytes] = []
    fuzz()
    unbroken([await api.call("POST", "/v1/orders", raw=body, key="k") for body in bodies])
    unbroken([await api.call("POST", "/v1/orders", raw=body) for body in bodies])


async def test_no_value_in_an_application_breaks_anything(api: Api) -> None:
    @FUZZ
    @given(st.dictionaries(attempt_fields | texts, values, max_size=4))
    def fuzz(changes: dict[str, object]) -> None:
        body = {"channel": "wechat", "terminal": "pc", **changes}
        bodies.append(msgspec.json.encode(body))

    bodies: list[bytes] = []
    fuzz()
    order = await api.open_order()
    path = f"/v1/orders/{order.id}/attempts"
    unbroken([await api.call("POST", path, raw=body) for body in bodies])


async def test_no_bytes_as_a_body_break_anything(api: Api) -> None:
    @FUZZ
    @given(st.binary(max_size=300), st.booleans())
    def fuzz(raw: bytes, inside: bool) -> None:
        bodies.append(b'{"subject": "' + raw + b'"}' if inside else raw)

    bodies: list[bytes] = []
    fuzz()
    order = await api.open_order()
    for path in ("/v1/orders", f"/v1/orders/{order.id}/attempts", f"/v1/orders/{order.id}/close"):
        unbroken([await api.call("POST", path, raw=body) for body in bodies if body])


async def test_no_bytes_on_the_wire_break_anything(api: Api) -> None:
    """URLs and headers as no client would send them, answered or hung up on."""

    order = await api.open_order()
    token = str(order.json["checkout_url"]).rpartition("/")[2]
    words = visible | st.sampled_from([order.id, token, "wx", f"att_{'0' * 26}", f"evt_{'0' * 26}"])

    @FUZZ
    @given(methods, paths, words, visible, header_bytes, header_bytes, header_bytes)
    def fuzz(
        method: str, path: str, word: str, query: str, key: bytes, request_id: bytes, cookie: bytes
    ) -> None:
        target = path.replace("{}", word) + ("?" + query if query else "")
        requests.append(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {api.api_key}\r\nContent-Type: application/json\r\n".encode()
            + b"Idempotency-Key: "
            + key
            + b"\r\nX-Request-Id: "
            + request_id
            + b"\r\nAccept-Language: "
            + cookie
            + b"\r\nCookie: "
            + cookie
            + b"\r\nIf-None-Match: "
            + key
            + b"\r\nContent-Length: 2\r\n\r\n{}"
        )

    requests: list[bytes] = []
    fuzz()
    with capture_logs() as lines:
        for request in requests:
            said = await exchange(api.rig, request)
            assert not said.startswith(b"HTTP/1.1 5"), (request, said)
    assert not [line for line in lines if line["event"] == "unexpected_error"]


async def exchange(rig: Rig, request: bytes) -> bytes:
    """Send one request, and read until the gateway hangs up, as it was asked to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.settings.port)
    writer.write(request)
    async with asyncio.timeout(20):
        said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said
