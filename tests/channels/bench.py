"""The bench that an adapter is tested on: a channel beside it, and what can be done to both."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import structs

from gateway.channels.base import (
    BuyerDetails,
    Callback,
    Channel,
    CreateRequest,
    PostalAddress,
    RefundRequest,
)
from gateway.errors import BadCallback
from gateway.ids import time_ordered
from gateway.model import Outcome, RefundReport
from gateway.money import Money

HURRY_S: Final = 0.1
"""The deadline of the adapter that a bench has in a hurry."""


class Verb(StrEnum):
    CREATE = "create"
    QUERY = "query"
    CLOSE = "close"
    REFUND = "refund"
    QUERY_REFUND = "query_refund"
    BILL = "bill"


class Trouble(StrEnum):
    """What can befall one call. In all but the first two the channel did as it was told."""

    LOST_ON_THE_WAY_THERE = "lost on the way there"
    BROKEN_BEFORE = "a server error, and nothing was done"
    LOST_ON_THE_WAY_BACK = "lost on the way back"
    BROKEN_AFTER = "a server error, although it was done"
    TOO_MANY = "too many requests, although it was done"
    SPOILT = "an answer with a bad signature"

    @property
    def done(self) -> bool:
        return self not in (Trouble.LOST_ON_THE_WAY_THERE, Trouble.BROKEN_BEFORE)


def times_lost(verb: str) -> int:
    """How often a GET must be cut off to be noticed: aiohttp sends it once more."""
    return 2 if verb in (Verb.QUERY, Verb.QUERY_REFUND, Verb.BILL) else 1


ANY_TROUBLE = pytest.mark.parametrize("trouble", list(Trouble))


class Bench(Protocol):
    """A channel that runs beside the test, and an adapter that talks to it."""

    notify_url: str

    @property
    def channel(self) -> Channel:
        """The adapter as shipped."""

    @property
    def hurried(self) -> Channel:
        """The same account, with a deadline of a tenth of a second."""

    async def befall(self, verb: Verb, trouble: Trouble) -> None:
        """Let the next call of a verb meet trouble."""

    async def stall(self) -> None:
        """From now on answer later than `hurried` waits."""

    async def pay(self, number: str, amount: int | None = None) -> Callback:
        """Let the buyer pay, and return the callback that follows."""

    async def decline(self, number: str) -> None:
        """Let the buyer's bank refuse."""

    async def payable(self, number: str) -> bool:
        """Say whether a buyer who tries now can pay. May take the money."""

    async def let_refunds_fail(self) -> None:
        """From now on every refund ends badly."""

    async def end_refund(self, number: str) -> Callback:
        """Let the channel end a refund, and return the callback that follows."""

    async def known(self) -> list[str]:
        """The numbers of all payments that were ever made at the channel."""

    async def given_back(self, number: str) -> Mapping[str, int]:
        """The refunds that the channel took for a payment: number and amount."""

    def forged(self, callback: Callback) -> Callback:
        """The same callback, signed by somebody else."""

    def of_another_merchant(self, number: str) -> Callback:
        """A genuine callback of a payment of another merchant."""

    def of_another_app(self, number: str) -> Callback:
        """A genuine callback of a payment of another app of this merchant."""


BUYER: Final = BuyerDetails(
    name="Ana Souza",
    email="ana@example.com",
    tax_id="000.000.000-00",
    address=PostalAddress("Rua Augusta 1", "São Paulo", "SP", "01304-000", "BR"),
)


def request_of(bench: Bench, product: str | None = None) -> CreateRequest:
    """A request that the channel takes, under a new number."""
    traits = bench.channel.traits
    now, voucher = datetime.now(UTC), traits.voucher
    window = max(timedelta(minutes=30), traits.shortest_window)
    return CreateRequest(
        number=time_ordered(),
        product=product or next(iter(traits.products.values())),
        money=Money(1234, min(traits.currencies)),
        subject="两杯 tea & a “cake”",
        pay_by=voucher.ends(now) if voucher else now + window,
        notify_url=bench.notify_url,
        return_url="https://pay.example/checkout/tok/return/att?from=channel",
        payer="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        client_ip="203.0.113.7",
        user_agent="Mozilla/5.0 (iPhone)",
        buyer=BUYER if traits.needs_buyer else None,
        voucher_days=voucher.days if voucher else 0,
    )


async def made(bench: Bench) -> CreateRequest:
    request = request_of(bench)
    await bench.channel.create(request)
    return request


async def outcome(bench: Bench, number: str) -> Outcome:
    return (await bench.channel.query(number)).outcome


async def paid_and_refund_of(bench: Bench, amount: int = 500) -> RefundRequest:
    """Make a payment, let it be paid, and return a request that gives part of it back."""
    request = await made(bench)
    await bench.pay(request.number)
    report = await bench.channel.query(request.number)
    assert report.payment_ref is not None
    assert report.money is not None
    return RefundRequest(
        number=f"{request.number}R1",
        attempt_number=request.number,
        payment_ref=report.payment_ref,
        money=with_amount(report.money, amount),
        total=report.money,
        reason="paid twice",
        notify_url=bench.notify_url,
        sent_at=datetime.now(UTC),
    )


async def query_refund(bench: Bench, request: RefundRequest) -> RefundReport | None:
    """Ask about a refund as the gateway does, once it was sent."""
    return await bench.channel.query_refund(
        request.number, request.attempt_number, sent_at=request.sent_at
    )


def reason_of(bench: Bench, callback: Callback) -> str:
    """Why the adapter refuses a callback; it must."""
    with pytest.raises(BadCallback) as refused:
        bench.channel.read(callback)
    return refused.value.reason


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Run an application for as long as it is needed, and yield its URL."""
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def with_amount(money: Money, amount: int) -> Money:
    return structs.replace(money, amount=amount)
