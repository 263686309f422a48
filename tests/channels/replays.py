"""What each adapter asks and is answered, written down once at its stub, to be said again.

A `Row` says how an adapter of the channel is made, at the stub and at whoever says it again, and
how the channel signs. A `Replay` is what was written down of it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from gateway.channels.alipay import alipay
from gateway.channels.base import (
    Billing,
    Callback,
    CaptureRequest,
    Capturing,
    Channel,
    Created,
    Recognising,
    RefundRequest,
)
from gateway.channels.paypal import paypal
from gateway.channels.stripe_boleto import stripe_boleto
from gateway.channels.stripe_card import stripe_card
from gateway.channels.unionpay import unionpay
from gateway.channels.wechat import wechat_pay
from gateway.errors import UnknownKey
from gateway.model import ChannelReport
from tests.channels import (
    alipay_benches,
    paypal_benches,
    stripe_benches,
    unionpay_benches,
    wechat_benches,
)
from tests.channels.bench import request_of, serving, with_amount
from tests.channels.mouth import Said, overheard
from tests.channels.signs import (
    AlipaySigns,
    PayPalSigns,
    Signs,
    StripeSigns,
    UnionPaySigns,
    WeChatSigns,
)
from tests.fakes import alipay_crypto, paypal_crypto, unionpay_crypto, wechat_crypto
from tests.fakes.alipay_stub import AlipayStub
from tests.fakes.paypal_stub import CERTIFICATE, PayPalStub
from tests.fakes.stripe_objects import KEY, SECRET
from tests.fakes.stripe_stub import StripeStub
from tests.fakes.unionpay_stub import UnionPayStub
from tests.fakes.wechat_stub import WeChatStub

ACCOUNT: Final = "acct_1"
Act = Callable[[Channel], Awaitable[object]]
Calls = list[tuple[str, Said]]
Note = Callable[[str, Act], Awaitable[object]]
StubBench = (
    wechat_benches.StubBench
    | alipay_benches.StubBench
    | unionpay_benches.StubBench
    | paypal_benches.StubBench
    | stripe_benches.StubBench
)
_WITH_BILLS: Final = (
    wechat_benches.StubBench,
    alipay_benches.StubBench,
    unionpay_benches.StubBench,
)


@dataclass
class Replay:
    """One thing that is asked of an adapter, and what came over the wire for it, by call."""

    name: str
    act: Act
    calls: Calls
    result: object = None


@dataclass
class Notes:
    """All that was written down at one stub; `reader` reads its callbacks."""

    reader: Channel
    replays: list[Replay]
    told: list[Callback] = field(default_factory=list)


class Row(Protocol):
    """A channel in the table. `url` is whoever says it again, `stub_url` the stub."""

    signs: Signs
    signs_answers: bool
    learns: bool  # it is in the table for what it downloads to believe an answer

    def application(self) -> web.Application: ...

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench: ...

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel: ...

    def more(self, url: str) -> list[Replay]: ...


class WeChatRow:
    signs_answers = True

    def __init__(self, *, public_key: bool) -> None:
        self.learns = not public_key
        self._keys = wechat_crypto.stub_keys()
        self._public_key = public_key
        pen = self._keys.public if public_key else self._keys.certificates[0].pen
        self._pen = pen
        self.signs: Signs = WeChatSigns(self._keys, pen)
        self._stub = WeChatStub(self._keys)

    def application(self) -> web.Application:
        return self._stub.application()

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench:
        self._stub.bills.origin = stub_url
        settings = self._keys.settings(stub_url, public_key=self._public_key)
        made = wechat_benches.adapters(settings, http)
        return wechat_benches.StubBench(self._stub, stub_url, made, self._pen)

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel:
        settings = self._keys.settings(url, public_key=self._public_key)
        settings |= {"app_secret": "0123456789abcdef0123456789abcdef", "oauth_api_base_url": url}
        return wechat_pay(ACCOUNT, settings, {}, http)

    def more(self, url: str) -> list[Replay]:
        async def payer(channel: Channel) -> object:
            assert isinstance(channel, Recognising)
            assert channel.recogniser is not None
            return await channel.recogniser.payer("061abc")

        body = b'{"access_token":"A","expires_in":7200,"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}'
        calls = [("/sns/oauth2/access_token ", Said(200, (), body))]
        return [Replay("payer", payer, calls)] if self._public_key else []


class AlipayRow:
    """In certificate mode its stub signs with a certificate that adapters have to learn."""

    signs_answers = True

    def __init__(self, *, certificates: bool) -> None:
        self.learns = certificates
        self._side = alipay_crypto.stub_side()
        self._certificates = certificates
        self._stub = AlipayStub(self._side, certificates=certificates)
        if certificates:
            self._stub.signer = self._side.next_alipay
        signer = self._stub.signer
        self.signs: Signs = AlipaySigns(signer, signer.sn if certificates else "")

    def application(self) -> web.Application:
        return self._stub.application()

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench:
        self._stub.bills.origin = stub_url
        return alipay_benches.StubBench(self._stub, stub_url, http)

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel:
        settings = self._side.settings(url, certificates=self._certificates)
        return alipay(ACCOUNT, settings, {}, http)

    def more(self, url: str) -> list[Replay]:
        return []


class UnionPayRow:
    signs_answers, learns = True, False

    def __init__(self) -> None:
        self._side = unionpay_crypto.stub_side()
        self.signs: Signs = UnionPaySigns(self._side.unionpay)
        self._stub = UnionPayStub(self._side)
        self._made: dict[str, Channel] = {}  # they learn nothing, and opening a .pfx takes a while

    def application(self) -> web.Application:
        return self._stub.application()

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench:
        return unionpay_benches.StubBench(self._stub, stub_url, http)

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel:
        if url not in self._made:
            self._made[url] = unionpay(ACCOUNT, self._side.settings(url), {}, http)
        return self._made[url]

    def more(self, url: str) -> list[Replay]:
        return []


class PayPalRow:
    signs_answers, learns = False, False

    def __init__(self) -> None:
        self._side = paypal_crypto.stub_side()
        self.signs: Signs = PayPalSigns(self._side.paypal)
        self._stub = PayPalStub(self._side)

    def application(self) -> web.Application:
        return self._stub.application()

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench:
        return paypal_benches.StubBench(self._stub, stub_url, http)

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel:
        settings = self._side.settings(url, urlsplit(url).netloc) | {"verify_webhooks": "both"}
        return paypal(ACCOUNT, settings, {}, http)

    def more(self, url: str) -> list[Replay]:
        """Reading a webhook whose certificate is not known yet, with a question to PayPal."""
        body = json.dumps(paypal_benches.captured_event("01K5AAAAAAAAAAAAAAAAAAAAAA")).encode()
        headers = paypal_crypto.signed(self._side.paypal, body, url + CERTIFICATE)
        webhook = Callback(headers, body, datetime.now(UTC))

        async def learn(channel: Channel) -> object:
            for _ in range(2):  # for the certificate, then for PayPal's word
                with suppress(UnknownKey):
                    return channel.read(webhook)
                await channel.refresh_keys()
            return channel.read(webhook)

        token = b'{"access_token":"A21AA","expires_in":32400,"token_type":"Bearer"}'
        calls = [
            ("/v1/oauth2/token ", Said(200, (), token)),
            (f"{CERTIFICATE} ", Said(200, (), self._side.chain.encode())),
            (
                "/v1/notifications/verify-webhook-signature ",
                Said(200, (), b'{"verification_status":"SUCCESS"}'),
            ),
        ]
        return [Replay("learn", learn, calls)]


class StripeRow:
    signs_answers, learns = False, False
    signs: Signs = StripeSigns()

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._stub = StripeStub()

    def application(self) -> web.Application:
        return self._stub.application()

    def bench(self, stub_url: str, http: aiohttp.ClientSession) -> StubBench:
        return stripe_benches.StubBench(self._kind, self._stub, stub_url, http)

    def adapter(self, url: str, http: aiohttp.ClientSession) -> Channel:
        settings = {"secret_key": KEY, "webhook_secret": SECRET, "base_url": url}
        make = stripe_card if self._kind == "card" else stripe_boleto
        return make(ACCOUNT, settings, {}, http)

    def more(self, url: str) -> list[Replay]:
        return []


ROWS: Final[dict[str, Callable[[], Row]]] = {
    "wechat": lambda: WeChatRow(public_key=True),
    "wechat by certificates": lambda: WeChatRow(public_key=False),
    "alipay": lambda: AlipayRow(certificates=False),
    "alipay by certificates": lambda: AlipayRow(certificates=True),
    "unionpay": UnionPayRow,
    "paypal": PayPalRow,
    "card": lambda: StripeRow("card"),
    "boleto": lambda: StripeRow("boleto"),
}


@asynccontextmanager
async def noted(row: Row, url: str, http: aiohttp.ClientSession) -> AsyncIterator[Notes]:
    """Go once through all that an adapter does at its stub, and write it down."""
    heard: Calls = []
    async with serving(overheard(row.application(), heard)) as stub_url:
        bench = row.bench(stub_url, http)
        reader = bench.channel if isinstance(bench, wechat_benches.StubBench) else bench.shipped
        notes = Notes(reader, row.more(url))

        async def note(name: str, act: Act) -> object:
            """Write down what a fresh adapter hears."""
            heard.clear()
            result = await act(row.adapter(stub_url, http))
            if heard:
                notes.replays.append(Replay(name, act, list(heard), result))
            return result

        number, ref = await _made(bench, note, "create")
        await note("query", lambda channel: channel.query(number, ref))
        await reader.query(number, ref)  # it learns what signs
        await note("close", lambda channel: channel.close(number, ref))
        await _paid(bench, note, notes)
        if isinstance(bench, _WITH_BILLS):
            day = bench.stub.bills.day
            await note("bill", lambda channel: _billing(channel).bill(day))
        if row.learns:
            notes.replays = [each for each in notes.replays if each.name == "query"]
        yield notes


async def _made(bench: StubBench, note: Note, name: str) -> tuple[str, str]:
    """Make a payment; returns its number and the channel's."""
    request = request_of(bench)
    created = await note(name, lambda channel: channel.create(request))
    assert isinstance(created, Created)
    if isinstance(bench, alipay_benches.StubBench):
        bench.stub.scan(request.number)
    return request.number, created.channel_ref


async def _paid(bench: StubBench, note: Note, notes: Notes) -> None:
    """Let a payment be made and given back."""
    number, ref = await _made(bench, note, "create another")
    notes.told.append(await _approved(bench, note, number, ref))
    paid = await note("query what is paid", lambda channel: channel.query(number, ref))
    assert isinstance(paid, ChannelReport)
    assert paid.money is not None
    assert paid.payment_ref is not None
    if not bench.channel.traits.refunds:
        return
    back = RefundRequest(
        number=f"{number}R1",
        attempt_number=number,
        payment_ref=paid.payment_ref,
        money=with_amount(paid.money, 500),
        total=paid.money,
        reason="paid twice",
        notify_url=bench.notify_url,
        sent_at=datetime.now(UTC),
    )
    await note("refund", lambda channel: channel.refund(back))
    notes.told.append(await bench.end_refund(back.number))
    await note(
        "query_refund",
        lambda channel: channel.query_refund(back.number, number, back.payment_ref, back.sent_at),
    )


async def _approved(bench: StubBench, note: Note, number: str, ref: str) -> Callback:
    """Let the buyer pay, and debit them where that is ours to do; returns the callback."""
    wanted = CaptureRequest(number, ref, f"{number}C1", request_of(bench).money)
    match bench:
        case paypal_benches.StubBench():
            bench.stub.approve(number)
            await note("capture", lambda channel: _capturing(channel).capture(wanted))
            return await bench.learnt(bench.genuine(bench.stub.captured_event(number)))
        case stripe_benches.StubBench() if bench.kind == "card":
            bench.stub.approve(number)
            await note("capture", lambda channel: _capturing(channel).capture(wanted))
            return bench.genuine(bench.stub.paid_event(number))
        case _:
            return await bench.pay(number)


def _capturing(channel: Channel) -> Capturing:
    assert isinstance(channel, Capturing)
    return channel


def _billing(channel: Channel) -> Billing:
    assert isinstance(channel, Billing)
    return channel
