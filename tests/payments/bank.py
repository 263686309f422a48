"""A slow channel that gives nothing back, as Boleto is: slips of paper, paid days later at a bank.

It keeps the promises of `gateway.channels.base`, and is as bad as paper is: what was cancelled may
still be paid, and what was paid may be paid again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import aiohttp
import pytest
from msgspec import Struct

from gateway.channels.actions import VoucherAction
from gateway.channels.base import (
    Callback,
    CallbackRead,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
    PostalAddress,
    RefundRequest,
    Traits,
    Voucher,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, Source, Terminal
from gateway.payments import accounts
from gateway.payments.planning import Named, Wish
from gateway.secrets import Cipher
from tests.rig import MERCHANT, Rig

SLIPS: Final = "slips"  # its account
SLIP: Final = "boleto"
LINE: Final = "00190500954014481606906809350314337370000000100"
TRAITS: Final = Traits(
    channel=SLIP,
    products=dict.fromkeys(Terminal, "voucher"),
    all_products=frozenset({"voucher"}),
    currencies=frozenset({"CNY", "BRL"}),
    minimum=1,
    maximum=10**7,
    closes=False,
    refunds=False,
    live_after_close=True,
    shortest_window=timedelta(days=1),
    late_margin=timedelta(days=4),
    repeat_window=timedelta(hours=24),
    ask_ladder_s=(3600, 21600),
    slow_ask_s=86400,
    needs_buyer=frozenset({"voucher"}),
    voucher=Voucher(3, "America/Sao_Paulo"),
)
ANA: Final = Named(
    "Ana Souza",
    "ana@example.com",
    "52998224725",
    PostalAddress("Rua das Acácias, 45", "São Paulo", "SP", "01310100", "BR"),
)
BY_SLIP: Final = Wish(SLIP, Terminal.PC, buyer=ANA)


class Slip(Struct):
    """A slip as the bank knows it: what was paid on it, a payment each time."""

    request: CreateRequest
    cancelled: bool = False
    payments: int = 0


class Bank:
    """The channel's side. Also the adapter, since nothing is between the two here."""

    def __init__(self) -> None:
        self.slips: dict[str, Slip] = {}
        self.silent = False
        self.refuses = ""  # what it says of what it refuses
        self.traits = TRAITS

    def pay(self, number: str) -> ChannelReport:
        """Pay a slip, once more, cancelled or not; returns the bank's news of it."""
        self.slips[number].payments += 1
        return self.report(number, Source.CALLBACK)

    def report(self, number: str, source: Source) -> ChannelReport:
        slip = self.slips.get(number)
        if slip is None:
            return ChannelReport(SLIPS, number, Outcome.NOT_FOUND, source)
        if not slip.payments:
            return ChannelReport(SLIPS, number, Outcome.UNPAID, source)
        ref = f"{number}-{slip.payments}"
        return ChannelReport(SLIPS, number, Outcome.PAID, source, ref, slip.request.money)

    async def create(self, request: CreateRequest) -> Created:
        self._must_speak()
        if self.refuses:
            raise ChannelRefused("NOBODY", self.refuses)
        slip = self.slips.setdefault(request.number, Slip(request))
        assert slip.request == request  # a repeat says the same
        if slip.cancelled:
            raise ChannelRefused("CANCELLED", "the slip was cancelled", number_spent=True)
        page = f"https://bank.example/{request.number}"
        voucher = VoucherAction(LINE, page, f"{page}.pdf", request.pay_by)
        return Created(voucher, request.pay_by)

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        self._must_speak()
        return self.report(number, Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        self._must_speak()
        if number in self.slips:
            self.slips[number].cancelled = True
        return CloseResult.STILL_LIVE

    def _must_speak(self) -> None:
        if self.silent:
            raise ChannelUnavailable("the bank says nothing")

    async def refund(self, request: RefundRequest) -> RefundReport:
        raise AssertionError("nobody asks a bank to take a slip back")

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        raise AssertionError("there are no refunds")

    def read(self, callback: Callback) -> CallbackRead:
        number = callback.body.decode()
        return CallbackRead(f"news-{number}", self.report(number, Source.CALLBACK))

    async def refresh_keys(self) -> None: ...

    def acknowledgement(self) -> tuple[int, bytes]:
        return 204, b""

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 404, detail.encode()


async def open_account(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Give the demo merchant an account at a bank of its own."""
    bank = Bank()

    def maker(
        _account: str,
        _settings: Mapping[str, str],
        _secrets: Mapping[str, str],
        _http: aiohttp.ClientSession,
    ) -> Channel:
        return bank

    monkeypatch.setitem(accounts.MAKERS, SLIP, (maker,))
    await rig.desk.pool.execute(
        "INSERT INTO channel_accounts (id, merchant, kind, settings, secrets, priority) "
        "VALUES ($1, $2, $3, '{}', $4, 200)",
        SLIPS,
        MERCHANT,
        SLIP,
        Cipher(rig.settings.secret_keys).encrypt({}),
    )
    return bank
