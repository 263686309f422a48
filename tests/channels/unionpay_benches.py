"""Two independent UnionPays for the adapter to be tried against: the sandbox, and the stub.

The contract speaks of payments that exist once they were made. A form that `create` signs is a
payment when a browser has posted it; so on these benches somebody does, at once.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.channels.base import (
    Callback,
    Created,
    CreateRequest,
    FormAction,
)
from gateway.channels.unionpay import UnionPay, unionpay
from gateway.sandbox.keys import SandboxKeys, sandbox_keys, unionpay_account
from gateway.sandbox.server import sandbox_app
from tests.channels.alipay_benches import Ledger, merchant_server
from tests.channels.around import Around
from tests.channels.bench import Trouble, Verb
from tests.channels.wechat_benches import serving
from tests.fakes.unionpay_crypto import (
    Certified,
    Form,
    UnionPaySide,
    notice_body,
    signed,
    stub_side,
)
from tests.fakes.unionpay_stub import FIXED, Fault, UnionPayStub

ACCOUNT = "acct_1"
HURRY_S = 0.1
FORM = {"content-type": "application/x-www-form-urlencoded;charset=UTF-8"}

_SAID: dict[Trouble, int | str] = {
    Trouble.BROKEN_BEFORE: 502,
    Trouble.BROKEN_AFTER: "03",  # "timed out inside: ask what became of it"
    Trouble.TOO_MANY: "06",
}


class Opened(Around):
    """The adapter beside a buyer whose browser posts at once what is a form."""

    def __init__(self, adapter: UnionPay, http: aiohttp.ClientSession) -> None:
        super().__init__(adapter)
        self._http = http

    async def create(self, request: CreateRequest) -> Created:
        created = await self.adapter.create(request)
        match created.next_action:
            case FormAction(url=url, fields=fields):
                async with self._http.post(url, data=fields, allow_redirects=False) as answer:
                    assert answer.status < 400, await answer.text()
            case _:
                pass
        return created


class UnionPayBench:
    """What both benches share: the adapters, and the callbacks that a channel never sends."""

    notify_url = "https://pay.example/callbacks/acct_1"

    def __init__(
        self, side: UnionPaySide, settings: Mapping[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.side = side
        self.http = http
        self.mer_id = settings["mer_id"]
        self.shipped = unionpay(ACCOUNT, settings, {}, http)
        self.channel = Opened(self.shipped, http)
        self.hurried = unionpay(ACCOUNT, settings, {}, http, deadline_s=HURRY_S)

    def genuine(self, fields: Form) -> Callback:
        return received(signed(self.side.unionpay, fields))

    def forged(self, callback: Callback) -> Callback:
        """Signed with a certificate of the same authority: another merchant's."""
        fields = dict(parse_qsl(callback.body.decode(), strict_parsing=True))
        return received(signed(self.side.merchant, fields))

    def of_another_merchant(self, number: str) -> Callback:
        return self.genuine({**self.paid_notice(number), "merId": "777290058199999"})

    def of_another_app(self, number: str) -> Callback:
        raise AssertionError("a merchant has no apps at UnionPay")

    def paid_notice(self, number: str) -> dict[str, str]:
        return {
            **FIXED,
            "merId": self.mer_id,
            "orderId": number,
            "txnTime": "20261122103456",
            "txnType": "01",
            "txnSubType": "01",
            "respCode": "00",
            "respMsg": "成功[0000000]",
            "queryId": "202611221034560000001",
            "txnAmt": "1234",
            "currencyCode": "156",
        }


def received(fields: Form) -> Callback:
    return Callback(FORM, notice_body(fields), datetime.now(UTC))


class StubBench(UnionPayBench):
    """The stub, driven in the test's own process."""

    def __init__(self, stub: UnionPayStub, url: str, http: aiohttp.ClientSession) -> None:
        self.stub = stub
        super().__init__(stub.side, stub.side.settings(url), http)

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        if trouble is Trouble.SPOILT:
            self.stub.spoilt = 1
        else:
            self.stub.faults[verb] = [Fault(trouble.done, _SAID.get(trouble))]

    async def stall(self) -> None:
        self.stub.gate.clear()

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        self.stub.pay(number, amount)
        return self.genuine(self.stub.notice(number))

    async def decline(self, number: str) -> None:
        self.stub.find(number)[1].code = "61"

    async def payable(self, number: str) -> bool:
        return not self.stub.find(number)[1].paid

    async def let_refunds_fail(self) -> None:
        self.stub.refunds_fail = True

    async def end_refund(self, number: str) -> Callback:
        self.stub.end_refund(number)
        return self.genuine(self.stub.refund_notice(number))

    async def known(self) -> list[str]:
        return [number for number, _ in self.stub.payments]

    async def given_back(self, number: str) -> dict[str, int]:
        taken = self.stub.refunds.items()
        return {key[0]: one.amount for key, one in taken if one.of[0] == number}


class SandboxBench(UnionPayBench):
    """The sandbox, driven over HTTP as anybody would; `news` is what it tells the merchant."""

    def __init__(
        self,
        side: UnionPaySide,
        settings: Mapping[str, str],
        http: aiohttp.ClientSession,
        sandbox: str,
        notify_url: str,
        news: asyncio.Queue[Callback],
    ) -> None:
        super().__init__(side, settings, http)
        self.notify_url = notify_url
        self.sandbox = sandbox
        self._news = news

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        said = _SAID.get(trouble)
        if trouble is Trouble.SPOILT:
            await self.faults(probe_answers=1)
        elif said is None:
            await self.faults(
                lose_answer={"verb": verb, "after_executing": trouble.done, "times": 1}
            )
        else:
            error: dict[str, object] = {"verb": verb, "after_executing": trouble.done}
            error |= {"status": said} if isinstance(said, int) else {"status": 500, "code": said}
            await self.faults(error=error)

    async def stall(self) -> None:
        await self.faults(latency_s=HURRY_S * 4)

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        assert await self._control("pay", number=number, amount=amount) == 200
        return await self._news.get()

    async def decline(self, number: str) -> None:
        assert await self._control("decline", number=number) == 200

    async def payable(self, number: str) -> bool:
        return await self._control("pay", number=number) == 200

    async def let_refunds_fail(self) -> None:
        await self.faults(refund_end="closed")

    async def end_refund(self, number: str) -> Callback:
        return await self._news.get()

    async def known(self) -> list[str]:
        return [entry.number for entry in (await self._ledger()).data]

    async def given_back(self, number: str) -> dict[str, int]:
        entry = next(one for one in (await self._ledger()).data if one.number == number)
        return {refund.number: refund.amount for refund in entry.refunds}

    async def faults(self, **fields: object) -> None:
        assert await self._control("faults", **fields) == 200

    async def _control(self, call: str, **fields: object) -> int:
        body = {"channel": "unionpay", **fields}
        async with self.http.post(f"{self.sandbox}/_control/{call}", json=body) as answer:
            return answer.status

    async def _ledger(self) -> Ledger:
        async with self.http.get(f"{self.sandbox}/_control/ledger") as answer:
            return msgspec.json.decode(await answer.read(), type=Ledger)


@asynccontextmanager
async def stub_bench() -> AsyncIterator[StubBench]:
    stub = UnionPayStub(stub_side())
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench() -> AsyncIterator[SandboxBench]:
    """The sandbox with an adapter, and a merchant's server that keeps what it is told."""
    news: asyncio.Queue[Callback] = asyncio.Queue()
    keys = _sandbox_keys()
    sandbox = sandbox_app(keys, public_url="https://sandbox.example", pace=0.001)
    async with (
        serving(merchant_server(news)) as merchant,
        serving(sandbox) as url,
        aiohttp.ClientSession() as http,
    ):
        settings = unionpay_account(keys, f"{url}/unionpay")
        bench = SandboxBench(_as_stub_side(), settings, http, url, f"{merchant}/callbacks", news)
        await bench.faults(refund_takes_s=0.05)
        yield bench


@cache
def _sandbox_keys() -> SandboxKeys:
    return sandbox_keys(None)


@cache
def _as_stub_side() -> UnionPaySide:
    """The sandbox's keys in the stub's words, so that callbacks can be made that it never sends."""
    mine = _sandbox_keys().unionpay
    return replace(
        stub_side(),
        unionpay=_certified(mine.signer_key, mine.signer_certificate),
        merchant=_certified(mine.merchant_key, mine.merchant_certificate),
    )


def _certified(key_pem: str, certificate_pem: str) -> Certified:
    key = load_pem_private_key(key_pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return Certified(key, certificate_pem, x509.load_pem_x509_certificate(certificate_pem.encode()))
