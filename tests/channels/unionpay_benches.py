"""Two independent UnionPays for the adapter to be tried against: the sandbox, and the stub.

The contract speaks of payments that exist once they were made. A form that `create` signs is a
payment when a browser has posted it; so on these benches somebody does, at once.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import ClassVar
from urllib.parse import parse_qsl

import aiohttp

from gateway.channels.actions import FormAction
from gateway.channels.base import Callback, Created, CreateRequest
from gateway.channels.unionpay import UnionPay, unionpay
from gateway.sandbox.keys import unionpay_account
from tests.channels.around import Around
from tests.channels.bench import HURRY_S, Trouble, Verb, serving
from tests.channels.sandbox_bench import Errors, Running, SandboxDriven, known_keys, running_sandbox
from tests.fakes.keys import certified_by
from tests.fakes.unionpay_crypto import Form, UnionPaySide, notice_body, signed, stub_side
from tests.fakes.unionpay_stub import FIXED, Fault, UnionPayStub

ACCOUNT = "acct_1"
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


class SandboxBench(SandboxDriven, UnionPayBench):
    kind = "unionpay"
    errors: ClassVar[Errors] = {
        trouble: {"status": said} if isinstance(said, int) else {"status": 500, "code": said}
        for trouble, said in _SAID.items()
    }

    def __init__(self, side: UnionPaySide, settings: Mapping[str, str], running: Running) -> None:
        UnionPayBench.__init__(self, side, settings, running.http)
        SandboxDriven.__init__(self, running)


@asynccontextmanager
async def stub_bench() -> AsyncIterator[StubBench]:
    stub = UnionPayStub(stub_side())
    async with serving(stub.application()) as url, aiohttp.ClientSession() as http:
        yield StubBench(stub, url, http)
        stub.gate.set()


@asynccontextmanager
async def sandbox_bench() -> AsyncIterator[SandboxBench]:
    async with running_sandbox() as running:
        settings = unionpay_account(known_keys(), f"{running.url}/unionpay")
        bench = SandboxBench(_as_stub_side(), settings, running)
        await bench.faults(refund_takes_s=0.05)
        yield bench


@cache
def _as_stub_side() -> UnionPaySide:
    """The sandbox's keys in the stub's words, so that callbacks can be made that it never sends."""
    mine = known_keys().unionpay
    return replace(
        stub_side(),
        unionpay=certified_by(mine.signer_key, mine.signer_certificate),
        merchant=certified_by(mine.merchant_key, mine.merchant_certificate),
    )
