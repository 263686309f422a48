"""A channel that keeps a ledger, and the judge of every run: what it took is what must be recorded.

It keeps the promises of `gateway.channels.base`: `create` and `refund` are idempotent by our
number, `close` refuses what is paid. It can be as bad as channels are: codes that stay payable
though they were closed (`unclosable`), answers to `create` and `refund` that get lost before or
after it was carried out, a close that is answered while the buyer's password is on its way
(`pay(begun=True)`), and refunds that are slow or fail at first (`first_refund`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import aiohttp
from msgspec import Struct

from gateway.channels.base import (
    Callback,
    CallbackRead,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
    QrAction,
    RefundRequest,
    Traits,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source, Terminal
from gateway.money import Money
from tests.schedules.scheduler import current, step

CHANNEL: Final = "ledger"
ACCOUNT: Final = "till"
TRAITS: Final = Traits(
    channel=CHANNEL,
    products={Terminal.PC: "native", Terminal.WAP: "h5"},
    all_products=frozenset({"native", "h5"}),
    currencies=frozenset({"CNY"}),
    minimum=1,
    maximum=10**9,
    closes=True,
    refunds=True,
    live_after_close=True,
    shortest_window=timedelta(minutes=1),
    late_margin=timedelta(minutes=10),
    repeat_window=None,
    ask_ladder_s=(3, 10),
    slow_ask_s=3600,
)


class Lost(StrEnum):
    """Which answers to `create` and `refund` get lost: the first of each number."""

    NONE = "answered"
    BEFORE = "unheard"
    AFTER = "unanswered"


class Entry(Struct):
    """A payment as the channel knows it."""

    number: str
    money: Money
    closed: bool = False
    paid: bool = False

    @property
    def payment_ref(self) -> str:
        return f"ref-{self.number}"

    @property
    def payable(self) -> bool:
        return not (self.closed or self.paid)


class GivenBack(Struct):
    """A refund as the channel knows it: under way (`sent`), done or failed."""

    number: str
    attempt_number: str
    money: Money
    state: RefundState


class Ledger:
    """The channel's side. Also the adapter, since nothing is between the two here."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin an empty ledger, well-behaved."""
        self.entries: dict[str, Entry] = {}
        self.refunds: dict[str, GivenBack] = {}
        self.first_refund = RefundState.DONE  # how the first number of a refund ends
        self.faults: list[str] = []  # what no caller may do
        self._lost_already: set[str] = set()
        self._being_created: set[str] = set()
        self._called_unasked: set[str] = set()
        self._asked_by: set[tuple[str, str]] = set()
        self.misbehave()

    def misbehave(self, lost: Lost = Lost.NONE, *, unclosable: bool = False) -> None:
        """Be as bad from here on."""
        self.lost = lost
        self.unclosable = unclosable

    @property
    def traits(self) -> Traits:
        return TRAITS

    @property
    def payable(self) -> list[str]:
        return [entry.number for entry in self.entries.values() if entry.payable]

    def pay(self, number: str, *, begun: bool = False) -> bool:
        """The buyer pays, if the code still works; `begun`: the password was on its way before."""
        entry = self.entries[number]
        if entry.paid or (entry.closed and not begun):
            return False
        entry.paid = True
        return True

    def pay_all(self) -> None:
        for number in self.payable:
            self.pay(number)

    def report(self, number: str, source: Source) -> ChannelReport:
        """Say how a payment stands, as the channel would."""
        entry = self.entries.get(number)
        if entry is None:
            return ChannelReport(ACCOUNT, number, Outcome.NOT_FOUND, source)
        if entry.paid:
            back = self.given_back(number)
            return ChannelReport(
                ACCOUNT, number, Outcome.PAID, source, entry.payment_ref, entry.money, back
            )
        outcome = Outcome.CLOSED if entry.closed else Outcome.UNPAID
        return ChannelReport(ACCOUNT, number, outcome, source)

    async def create(self, request: CreateRequest) -> Created:
        await step("channel create")
        if self._being_created:
            self.faults.append("two callers had the channel create a payment at once")
        self._being_created.add(request.number)
        try:
            created = self._create(request)
            await step("channel answers")
        finally:
            self._being_created.discard(request.number)
        return created

    def _create(self, request: CreateRequest) -> Created:
        loses_answer = self._is_lost(request.number)
        entry = self.entries.setdefault(request.number, Entry(request.number, request.money))
        if not entry.payable:
            raise ChannelRefused("SPENT", "the number is paid or closed", number_spent=True)
        if loses_answer:
            raise ChannelUnavailable("the answer was lost")
        until = datetime.now(UTC) + timedelta(hours=2)
        return Created(QrAction(f"pay://{request.number}", until), until)

    def _is_lost(self, number: str) -> bool:
        """Will the answer be lost? Raises where the request is, before anybody heard it."""
        loses = number not in self._lost_already and self.lost is not Lost.NONE
        self._lost_already.add(number)
        if loses and self.lost is Lost.BEFORE:
            raise ChannelUnavailable("the request was lost")
        return loses

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        await step("channel query")
        return self.report(number, Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        await step("channel close")
        entry = self.entries.get(number)
        if entry is None:
            return CloseResult.NOT_FOUND
        if entry.paid:
            return CloseResult.PAID
        if self.unclosable:
            return CloseResult.STILL_LIVE
        entry.closed = True
        return CloseResult.CLOSED

    async def refund(self, request: RefundRequest) -> RefundReport:
        await step("channel refund")
        self._look_for_a_query_before(request.number)
        loses_answer = self._is_lost(request.number)
        if request.number not in self.refunds:
            self._begin_refund(request)
        if loses_answer:
            raise ChannelUnavailable("the answer was lost")
        await step("channel answers")
        return self.refund_report(request.number, Source.CREATE)

    def _look_for_a_query_before(self, number: str) -> None:
        """One caller need not ask first: who wrote that it is sent. All others repeat a call."""
        asked = (_process(), number)
        if asked not in self._asked_by and number in self._called_unasked:
            self.faults.append("a refund was called again by somebody who had not asked about it")
        if asked not in self._asked_by:
            self._called_unasked.add(number)
        self._asked_by.discard(asked)

    def _begin_refund(self, request: RefundRequest) -> None:
        base, _, nth = request.number.rpartition("R")
        earlier = [each for each in self.refunds.values() if each.number.startswith(f"{base}R")]
        if any(each.state is not RefundState.FAILED for each in earlier):
            self.faults.append("a refund got another number though its last one did not fail")
        state = self.first_refund if nth == "1" else RefundState.DONE
        self.refunds[request.number] = GivenBack(
            request.number, request.attempt_number, request.money, state
        )
        entry = self.entries[request.attempt_number]
        if not entry.paid or self.given_back(entry.number) > entry.money.amount:
            self.faults.append("more was given back than was taken")

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        await step("channel refund query")
        self._asked_by.add((_process(), number))
        known = self.refunds.get(number)
        assert known is None or known.attempt_number == attempt_number
        return self.refund_report(number, Source.POLL) if known else None

    def refund_report(self, number: str, source: Source) -> RefundReport:
        """Say how a refund stands, as the channel would."""
        known = self.refunds[number]
        return RefundReport(ACCOUNT, number, known.state, source, f"back-{number}", known.money)

    def end_refunds(self) -> None:
        """What is under way arrives."""
        for known in self.refunds.values():
            if known.state is RefundState.SENT:
                known.state = RefundState.DONE
        if self.first_refund is RefundState.SENT:
            self.first_refund = RefundState.DONE

    def given_back(self, number: str) -> int:
        """Return how much of a payment went back, or is on its way."""
        return sum(
            known.money.amount
            for known in self.refunds.values()
            if known.attempt_number == number and known.state is not RefundState.FAILED
        )

    def read(self, callback: Callback) -> CallbackRead:
        number = callback.body.decode()
        return CallbackRead(f"news-{number}", self.report(number, Source.CALLBACK))

    async def refresh_keys(self) -> None: ...

    def acknowledgement(self) -> tuple[int, bytes]:
        return 204, b""

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 404, detail.encode()


def _process() -> str:
    """Name the process that calls; what sweeps afterwards is one of its own."""
    flow = current()
    return flow.process if flow is not None else ""


def make(ledger: Ledger) -> object:
    """Return what `gateway.payments.accounts` makes adapters with: always this ledger."""

    def maker(
        _account: str,
        _settings: Mapping[str, str],
        _secrets: Mapping[str, str],
        _http: aiohttp.ClientSession,
    ) -> Channel:
        return ledger

    return maker
