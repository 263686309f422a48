"""Whatever a browser or a proxy says of itself, no page breaks: cookies, addresses, languages."""

from ipaddress import ip_network
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.model import OrderState
from gateway.sandbox.keys import SandboxKeys
from gateway.web.addresses import client_of
from tests.payments.test_failures import a_signed_callback
from tests.rig import ACCOUNT, Rig, StartRig
from tests.web.buyer import PHONE, WECHAT
from tests.web.test_fuzz import FUZZ, exchange, header_bytes, visible
from tests.web.test_payer import sealed

FORM: Final = b"application/x-www-form-urlencoded"
ROUTES: Final = st.sampled_from(
    [
        *["GET {page}?{query}", "GET {page}/identify?{query}"] * 2,
        *["GET {page}/identified?code={word}&state={query}"] * 4,
        *["GET {page}/details/boleto?{query}", "GET {page}/fragment?{query}"],
        *["POST {page}/attempts", "POST {page}/details/boleto", "POST {page}/language"],
        *["GET /q/{token}?{query}", "GET /v1/feed?after={word}", "GET /v1/orders?cursor={word}"],
        "GET /v1/events?after={word}&limit={word}",
    ]
)
NAMES: Final = st.sampled_from(
    [
        *[b"Cookie", b"User-Agent", b"Accept-Language", b"X-Forwarded-For", b"X-Forwarded-Proto"],
        *[b"Accept", b"Origin", b"Referer", b"Host", b"Sec-WebSocket-Key", b"Upgrade", b"Range"],
        *[b"Content-Type", b"If-Modified-Since", b"Sec-Fetch-Site"],
    ]
)
WORDS: Final = visible | st.sampled_from(
    [
        "%00",
        "%ff",
        "%ED%A0%80",
        "9" * 5000,
        "-1",
        "1e400",
        "NaN",
        "%F0%9F%98%80",
        "%0d%0aX:%20y",
        "s",
    ]
)
FIELDS: Final = st.dictionaries(
    st.sampled_from(
        ["channel", "terminal", "product", "buyer.name", "buyer.tax_id", "buyer.address.state"]
    )
    | visible,
    WORDS | st.sampled_from(["wechat", "webview", "wap", "boleto"]),
    max_size=4,
)


async def test_no_browser_breaks_a_page(start_rig: StartRig, keys: SandboxKeys) -> None:
    rig = await start_rig(trusted_proxies=("127.0.0.0/8",))
    order = await rig.order()
    page = f"/checkout/{order.token}"
    cookies = st.sampled_from(_cookies(rig, keys.appid, page))

    @FUZZ
    @given(
        ROUTES,
        WORDS,
        WORDS,
        st.sampled_from([PHONE, WECHAT]),
        cookies,
        header_bytes,
        st.dictionaries(NAMES, header_bytes, max_size=2),
        FIELDS,
    )
    def browse(
        route: str,
        word: str,
        query: str,
        agent: str,
        cookie: bytes,
        junk: bytes,
        headers: dict[bytes, bytes],
        fields: dict[str, str],
    ) -> None:
        token = order.token
        line = route.format(page=page, token=token, word=word, query=query).encode()
        body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
        said = {
            b"Host": b"x",
            b"Content-Type": FORM,
            b"User-Agent": agent.encode() + junk,
            b"Cookie": cookie + junk,
            b"Content-Length": str(len(body)).encode(),
            b"Authorization": b"Bearer " + rig.api_key.encode(),
            **headers,
            b"Connection": b"close",
        }
        lines = b"".join(b"%s: %s\r\n" % header for header in said.items())
        requests.append(line + b" HTTP/1.1\r\n" + lines + b"\r\n" + body)

    requests: list[bytes] = []
    browse()
    with capture_logs() as logged:
        for request in requests:
            answer = await exchange(rig, request)
            assert not answer.startswith(b"HTTP/1.1 5"), (request, answer)
    assert not [line for line in logged if line["event"] == "unexpected_error"]


async def test_a_genuine_callback_with_a_header_that_is_no_text_is_taken(rig: Rig) -> None:
    """Whoever has one can send it again with any other header that nobody signed."""
    order = await rig.order()
    body, headers = await a_signed_callback(rig, order)
    said = {**headers, "host": "x", "content-length": str(len(body)), "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if name != "user-agent")
    start = f"POST /callbacks/{ACCOUNT} HTTP/1.1\r\n{lines}".encode()
    answer = await exchange(rig, start + b"User-Agent: \xff\xed\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 204")
    assert (await rig.read(order)).state is OrderState.PAID


def _cookies(rig: Rig, app: str, page: str) -> list[bytes]:
    """What only we can seal, right and wrong, and what anybody can write."""
    visit = {"app": app, "page": page, "state": "s"}
    texts = [
        sealed(rig, visit),
        sealed(rig, {}),
        sealed(rig, {"app": app, "openid": "o"}),
        "gAAAAA",
        "",
    ]
    return [
        f"{name}={text}".encode()
        for name in ("payonce_visit", "payonce_payer", "payonce_language")
        for text in texts
    ]


@FUZZ
@given(
    st.text(max_size=40) | st.sampled_from(["127.0.0.1", "::1", "fe80::1%\x00", None]),
    st.text(max_size=80) | st.sampled_from(["1.2.3.4, 127.0.0.1", "::ffff:127.0.0.1,::1%ü", ","]),
)
def test_any_text_of_a_proxy_is_an_address_or_none(peer: str | None, forwarded: str) -> None:
    trusted = [ip_network("127.0.0.0/8"), ip_network("::/0")]
    client = client_of(peer, forwarded, trusted)
    assert client is None or str(client)
