"""PayPal's webhooks, and whom we believe: what is sent along proves nothing by itself.

The vector was made by OpenSSL alone: a root, an authority, PayPal's certificate and the signature.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zlib import crc32

import pytest
import pytest_asyncio
from aiohttp import web
from msgspec.structs import replace

from gateway.channels.base import Callback
from gateway.channels.paypal import PayPal, paypal
from gateway.channels.paypal_account import BASE_URL
from gateway.channels.paypal_certificates import PER_MINUTE, public_authorities
from gateway.errors import BadCallback, ChannelUnavailable, UnknownKey
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from gateway.money import Money
from tests.channels.bench import serving
from tests.channels.paypal_benches import StubBench, captured_event, stub_bench
from tests.fakes.keys import Certified, certified
from tests.fakes.paypal_crypto import MERCHANT_ID, PAYPALS_NAME, SANDBOXS_NAME, signed
from tests.fakes.paypal_stub import CERTIFICATE, Json, event

VECTORS = Path(__file__).parent / "vectors" / "paypal"
NUMBER = "01KACB3V9D6H2M4XQ7R8S5T0WZ"


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[StubBench]:
    async with stub_bench() as bench:
        yield bench


def adapter_of(bench: StubBench, **settings: str) -> PayPal:
    return paypal("acct_1", {**bench.settings, **settings}, {}, bench.http)


async def read(bench: StubBench, adapter: PayPal, callback: Callback) -> object:
    """Read as the gateway does: once more after the keys were refreshed."""
    try:
        return adapter.read(callback).report
    except UnknownKey:
        await adapter.refresh_keys()
        return adapter.read(callback).report


def told(bench: StubBench, body: Json) -> object:
    return bench.shipped.read(bench.genuine(body)).report


def vector() -> Callback:
    return Callback(
        headers={
            "paypal-transmission-id": "69cd13f0-d67a-11e5-baa3-778b53f4ae55",
            "paypal-transmission-time": "2026-11-22T04:04:38Z",
            "paypal-transmission-sig": (VECTORS / "signature.base64.txt").read_text(),
            "paypal-cert-url": "",
            "paypal-auth-algo": "SHA256withRSA",
        },
        body=(VECTORS / "event.json").read_bytes(),
        received_at=datetime.now(UTC),
    )


async def test_a_webhook_that_openssl_signed_is_believed(bench: StubBench) -> None:
    bench.stub.chain = (VECTORS / "chain.pem").read_text()
    adapter = adapter_of(bench, webhook_root_certs=(VECTORS / "root.pem").read_text())
    callback = vector()
    text = (VECTORS / "signed.txt").read_text()
    assert text.endswith(f"|{crc32(callback.body)}")
    named = replace(callback, headers={**callback.headers, "paypal-cert-url": bench.cert_url})
    assert await read(bench, adapter, named) == ChannelReport(
        "acct_1",
        NUMBER,
        Outcome.PAID,
        Source.CALLBACK,
        payment_ref="42311647XV020574X",
        money=Money(1234, "USD"),
        channel_ref="5O190127TN364715T",
    )
    changed = replace(named, body=callback.body.replace(b"12.34", b"12.35"))
    with pytest.raises(BadCallback, match="does not fit"):
        adapter.read(changed)


async def test_a_webhook_for_another_webhook_id_is_refused(bench: StubBench) -> None:
    adapter = adapter_of(bench, webhook_id="WEBHOOK_ID")  # as the simulator says
    with pytest.raises(BadCallback, match="does not fit"):
        await read(bench, adapter, bench.genuine(captured_event(NUMBER)))


async def test_the_age_of_a_webhook_says_nothing(bench: StubBench) -> None:
    """PayPal signs once and resends for three days."""
    late = replace(
        bench.genuine(captured_event(NUMBER)), received_at=datetime.now(UTC) + timedelta(days=3)
    )
    assert isinstance(bench.shipped.read(late).report, ChannelReport)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://api.paypal.com/certs/CERT-1",
        "https://paypal.com/certs/CERT-1",
        "https://api.paypal.com.evil.example/certs/CERT-1",
        "https://evil.example/api.paypal.com/CERT-1",
        "https://evilpaypal.com/certs/CERT-1",
        "https://user@api.paypal.com/certs/CERT-1",
        "https://api.paypal.com:8443/certs/CERT-1",
        "https://evil.example#.paypal.com/certs",
        "https://evil.example\\.paypal.com/certs",
        "https://API.PAYPAL.COM/certs/CERT-1",
        "https://api.paypal.com/" + "a" * 300,
        "https://api.paypal.com",
        "file:///etc/passwd",
        "http://127.0.0.1:1/certs/CERT-1",
        "https://[::1]/certs",
        "https://api.paypal.com/\r\nHost: evil.example",
    ],
)
async def test_a_certificate_from_elsewhere_is_not_fetched(bench: StubBench, url: str) -> None:
    callback = bench.genuine(captured_event(NUMBER))
    elsewhere = replace(callback, headers={**callback.headers, "paypal-cert-url": url})
    with pytest.raises(BadCallback, match="not PayPal's") as refused:
        bench.shipped.read(elsewhere)
    assert not isinstance(refused.value, UnknownKey)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
    ],
)
async def test_a_certificate_of_paypals_hosts_would_be_fetched(bench: StubBench, url: str) -> None:
    callback = bench.genuine(captured_event(NUMBER))
    with pytest.raises(UnknownKey):
        bench.shipped.read(replace(callback, headers={**callback.headers, "paypal-cert-url": url}))


WHY_NOT = (
    *("nobody vouches for it", "the one above is missing", "it has ended", "it has not begun"),
    *("it is somebody else's", "a merchant made it", "it is none", "it is a page"),
    "there is nothing",
)


def untrusted(bench: StubBench) -> dict[str, tuple[Certified, str]]:
    """Who may sign, and what is served for it, by what is wrong with it."""
    side = bench.side
    old = certified(PAYPALS_NAME, issuer=side.middle, days=-1)
    young = certified(PAYPALS_NAME, issuer=side.middle, since=-1)
    named = certified("paypal.com", issuer=side.middle)
    child = certified(PAYPALS_NAME, issuer=side.paypal)
    return {
        "nobody vouches for it": (side.stranger, side.stranger.pem + side.middle.pem),
        "the one above is missing": (side.paypal, side.paypal.pem),
        "it has ended": (old, old.pem + side.middle.pem),
        "it has not begun": (young, young.pem + side.middle.pem),
        "it is somebody else's": (named, named.pem + side.middle.pem),
        "a merchant made it": (child, child.pem + side.chain),
        "it is none": (side.paypal, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
        "it is a page": (side.paypal, "<html>"),
        "there is nothing": (side.paypal, " "),
    }


@pytest.mark.parametrize("why", WHY_NOT)
async def test_a_certificate_that_proves_nothing_is_not_believed(
    bench: StubBench, why: str
) -> None:
    signer, bench.stub.chain = untrusted(bench)[why]
    adapter = adapter_of(bench)
    with pytest.raises(UnknownKey):
        await read(bench, adapter, bench.genuine(captured_event(NUMBER), by=signer))


async def test_who_signs_in_the_test_environment_is_nobody_in_the_real_one(
    bench: StubBench,
) -> None:
    signer = certified(SANDBOXS_NAME, issuer=bench.side.middle)
    bench.stub.chain = signer.pem + bench.side.middle.pem
    callback = bench.genuine(captured_event(NUMBER), by=signer)
    assert await read(bench, adapter_of(bench), callback) is not None
    with pytest.raises(UnknownKey):
        await read(bench, adapter_of(bench, base_url=BASE_URL), callback)


async def test_without_roots_of_its_own_an_account_trusts_the_public_authorities(
    bench: StubBench,
) -> None:
    assert len(public_authorities()) > 50
    adapter = adapter_of(bench, webhook_root_certs="")
    with pytest.raises(UnknownKey):
        await read(bench, adapter, bench.genuine(captured_event(NUMBER)))


async def test_a_certificate_is_fetched_once(bench: StubBench) -> None:
    adapter = adapter_of(bench)
    before = bench.stub.calls["certificate"]
    for _ in range(3):
        await read(bench, adapter, bench.genuine(captured_event(NUMBER)))
    assert bench.stub.calls["certificate"] == before + 1


async def test_a_certificate_that_comes_in_parts_is_waited_for(bench: StubBench) -> None:
    async def send(request: web.Request) -> web.StreamResponse:
        answer, chain = web.StreamResponse(), bench.side.chain.encode()
        await answer.prepare(request)
        for part in (chain[:100], chain[100:]):
            await answer.write(part)
            for _ in range(100):
                await asyncio.sleep(0)  # who listens has a turn, and hears no more yet
        return answer

    app = web.Application()
    app.router.add_get(CERTIFICATE, send)
    async with serving(app) as url:
        bench.cert_url = url + CERTIFICATE
        adapter = adapter_of(bench, webhook_cert_hosts=urlsplit(url).netloc)
        assert await read(bench, adapter, bench.genuine(captured_event(NUMBER)))


async def test_nobody_makes_us_fetch_more_than_a_few_in_a_minute(bench: StubBench) -> None:
    adapter = adapter_of(bench)
    genuine = bench.genuine(captured_event(NUMBER))
    before = bench.stub.calls["certificate"]
    for number in range(PER_MINUTE * 2):
        url = f"{bench.cert_url}?{number}"
        other = signed(bench.side.stranger, genuine.body, url)
        with pytest.raises(BadCallback):
            await read(bench, adapter, replace(genuine, headers=other))
    assert bench.stub.calls["certificate"] == before + PER_MINUTE


async def test_who_is_asked_instead_of_the_certificate_sees_the_event_as_it_came(
    bench: StubBench,
) -> None:
    adapter = adapter_of(bench, verify_webhooks="paypal")
    spaced = json.dumps(captured_event(NUMBER), indent=3).encode()
    headers = signed(bench.side.stranger, spaced, bench.cert_url)
    callback = Callback(headers, spaced, datetime.now(UTC))
    assert isinstance(await read(bench, adapter, callback), ChannelReport)
    assert isinstance(adapter.read(callback).report, ChannelReport)  # PayPal's word is remembered
    (question,) = bench.stub.questions
    asked = json.loads(question)
    assert question.endswith(b'"webhook_event":' + spaced + b"}")
    assert asked["transmission_id"] == headers["paypal-transmission-id"]
    assert asked["webhook_id"] == bench.settings["webhook_id"]


@pytest.mark.parametrize("how", ["paypal", "both"])
async def test_a_webhook_that_paypal_does_not_own_is_refused(bench: StubBench, how: str) -> None:
    bench.stub.verdict = "FAILURE"
    adapter = adapter_of(bench, verify_webhooks=how)
    callback = bench.genuine(captured_event(NUMBER))
    for _ in range(2):
        with pytest.raises(BadCallback, match=r"not its own|no key"):
            await read(bench, adapter, callback)
    with pytest.raises(BadCallback, match="not its own"):
        await read(bench, adapter, callback)
    assert len(bench.stub.questions) == 1


async def test_with_both_a_forged_webhook_is_never_asked_about(bench: StubBench) -> None:
    adapter = adapter_of(bench, verify_webhooks="both")
    genuine = bench.genuine(captured_event(NUMBER))
    for _ in range(2):  # the certificate, then the question
        try:
            adapter.read(genuine)
        except UnknownKey:
            await adapter.refresh_keys()
    assert isinstance(adapter.read(genuine).report, ChannelReport)
    with pytest.raises(BadCallback, match="does not fit"):
        adapter.read(bench.forged(genuine))
    assert len(bench.stub.questions) == 1


async def test_where_paypal_does_not_answer_the_webhook_is_to_come_again(
    bench: StubBench,
) -> None:
    adapter = adapter_of(bench, verify_webhooks="paypal", base_url=f"{bench.cert_url}/nothing")
    callback = bench.genuine(captured_event(NUMBER))
    with pytest.raises(UnknownKey):
        adapter.read(callback)
    with pytest.raises(ChannelUnavailable):
        await adapter.refresh_keys()
    with pytest.raises(UnknownKey):
        adapter.read(callback)


@pytest.mark.parametrize("body", [b"", b"{", b'{},"webhook_id":"X"', b"\xff"])
async def test_what_is_not_json_is_not_asked_about(bench: StubBench, body: bytes) -> None:
    adapter = adapter_of(bench, verify_webhooks="paypal")
    headers = signed(bench.side.paypal, body, bench.cert_url)
    with pytest.raises(BadCallback, match="not JSON"):
        adapter.read(Callback(headers, body, datetime.now(UTC)))


def order_event(status: str = "APPROVED", **unit: object) -> Json:
    whole: Json = {"id": "5O190127TN364715T", "status": status}
    return event(
        "CHECKOUT.ORDER.APPROVED",
        "checkout-order",
        {**whole, "purchase_units": [{"custom_id": NUMBER, **unit}]},
    )


async def test_an_approval_is_told_with_paypals_id_of_the_order(bench: StubBench) -> None:
    assert told(bench, order_event()) == ChannelReport(
        "acct_1", NUMBER, Outcome.APPROVED, Source.CALLBACK, channel_ref="5O190127TN364715T"
    )


async def test_an_approval_for_another_merchant_is_refused(bench: StubBench) -> None:
    with pytest.raises(BadCallback) as refused:
        told(bench, order_event(payee={"merchant_id": "AAAAAAAAAAAAA"}))
    assert refused.value.reason == "merchant"
    assert told(bench, order_event(payee={"merchant_id": MERCHANT_ID})) is not None


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("PENDING", "PENDING", Outcome.PROCESSING),
        ("DENIED", "DECLINED", Outcome.DECLINED),
        ("DECLINED", "DECLINED", Outcome.DECLINED),
        ("COMPLETED", "COMPLETED", Outcome.PAID),
    ],
)
async def test_a_capture_is_told_by_how_it_stands(
    bench: StubBench, kind: str, status: str, outcome: Outcome
) -> None:
    body = {**captured_event(NUMBER, status=status), "event_type": f"PAYMENT.CAPTURE.{kind}"}
    report = told(bench, body)
    assert isinstance(report, ChannelReport)
    assert (report.outcome, report.money is not None) == (outcome, outcome is Outcome.PAID)


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", "COMPLETED", RefundState.DONE),
        ("PAYMENT.CAPTURE.REFUNDED", "PENDING", RefundState.SENT),
        ("PAYMENT.REFUND.FAILED", "FAILED", RefundState.FAILED),
    ],
)
@pytest.mark.parametrize("name", ["custom_id", "invoice_id"])
async def test_a_refund_of_ours_is_told_by_our_number(
    bench: StubBench, kind: str, status: str, state: RefundState, name: str
) -> None:
    refund: Json = {"id": "1JU08902781691411", "status": status, name: NUMBER + "R1"}
    refund["amount"] = {"currency_code": "AUD", "value": "5.00"}
    assert told(bench, event(kind, "refund", refund)) == RefundReport(
        "acct_1",
        NUMBER + "R1",
        state,
        Source.CALLBACK,
        refund_ref="1JU08902781691411",
        money=Money(500, "AUD"),
    )


@pytest.mark.parametrize(
    "body",
    [
        event("PAYMENT.CAPTURE.REVERSED", "refund", {"id": "R", "status": "COMPLETED"}),
        event("CHECKOUT.ORDER.SAVED", "checkout-order", {"id": "5O1"}),
        event("CUSTOMER.DISPUTE.CREATED", "dispute", {"id": "PP-D-1"}),
        event("CHECKOUT.ORDER.APPROVED", "checkout-order", {"id": "5O1", "status": "APPROVED"}),
        captured_event(""),
        captured_event("woo-4711"),
        order_event(custom_id="woo-4711"),
        event(
            "PAYMENT.CAPTURE.REFUNDED",
            "refund",
            {"id": "R", "status": "COMPLETED", "invoice_id": "woo-4711"},
        ),
    ],
)
async def test_what_is_not_about_a_payment_of_ours_is_kept_and_does_nothing(
    bench: StubBench, body: Json
) -> None:
    assert told(bench, body) is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": "WH-1"},
        {"id": "WH 1", "event_type": "X"},
        event("PAYMENT.CAPTURE.COMPLETED", "capture", {"id": "C"}),
        event("PAYMENT.CAPTURE.REFUNDED", "refund", {"id": "R", "status": "EATEN"}),
        {**captured_event("a\nb")},
        order_event("COMPLETED"),
    ],
)
async def test_a_genuine_webhook_that_cannot_be_read_is_refused(
    bench: StubBench, body: Json
) -> None:
    with pytest.raises(BadCallback) as refused:
        told(bench, body)
    assert refused.value.reason == "format"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("paypal-transmission-id", ""),
        ("paypal-transmission-id", "a|b"),
        ("paypal-transmission-time", ""),
        ("paypal-transmission-sig", "no base64!"),
        ("paypal-auth-algo", "SHA1withRSA"),
        ("paypal-auth-algo", ""),
    ],
)
async def test_headers_that_are_not_whole_are_refused(
    bench: StubBench, name: str, value: str
) -> None:
    callback = bench.genuine(captured_event(NUMBER))
    with pytest.raises(BadCallback, match="missing or malformed"):
        bench.shipped.read(replace(callback, headers={**callback.headers, name: value}))


def test_the_vector_is_signed_as_its_text_says() -> None:
    assert len(b64decode((VECTORS / "signature.base64.txt").read_text())) == 256
    assert CERTIFICATE.startswith("/certs/")
