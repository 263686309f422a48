"""The adapters: one till for each account, each with a temper of its own, and one ledger for all.

They keep the promises of `gateway.channels.base`: `create`, `capture` and `refund` are idempotent
by our number, `close` refuses what is paid. At the till and at the counter the buyer pays; the
counter closes nothing, as UnionPay. The purse debits when we say so, as PayPal and cards; what it
has begun to debit it debits, whatever is closed meanwhile. The kiosk prints slips that are paid
days later, also those that were cancelled, and gives no money back, as Boleto.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
from msgspec.structs import replace

from gateway.channels.actions import QrAction
from gateway.channels.base import (
    Callback,
    CallbackRead,
    CaptureRequest,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
    Traits,
    Voucher,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, RefundReport, RefundState, Source, Terminal
from gateway.payments.planning import Wish
from tests.schedules.ledger import Debit, Entry, FirstCapture, GivenBack, Ledger
from tests.schedules.scheduler import current, step

TILL: Final = Traits(
    channel="till",
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
COUNTER: Final = replace(TILL, channel="counter", closes=False)
PURSE: Final = replace(TILL, channel="purse", captures=True)
KIOSK: Final = replace(
    TILL, channel="kiosk", refunds=False, voucher=Voucher(days=1, time_zone="America/Sao_Paulo")
)
# An account is called as its channel is.
ALL: Final = (TILL, COUNTER, PURSE, KIOSK)
ACCOUNT: Final = TILL.channel

NATIVE: Final = Wish("till", Terminal.PC)
H5: Final = Wish("till", Terminal.WAP)
AT_COUNTER: Final = Wish("counter", Terminal.PC)
PURSE_HERE: Final = Wish("purse", Terminal.PC)
PURSE_THERE: Final = Wish("purse", Terminal.WAP)
SLIP: Final = Wish("kiosk", Terminal.PC)

CLAIM: Final = "db capture_moves.claim"


class Till:
    """The adapter of an account at which buyers pay."""

    def __init__(self, ledger: Ledger, traits: Traits) -> None:
        self.ledger = ledger
        self._traits = traits
        self._being_created: set[str] = set()
        self._called_unasked: set[str] = set()
        self._asked_by: set[tuple[str, str]] = set()

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def account(self) -> str:
        return self._traits.channel

    async def create(self, request: CreateRequest) -> Created:
        await step("channel create")
        if self._being_created:
            self.ledger.faults.append("two callers had the channel create a payment at once")
        self._being_created.add(request.number)
        try:
            created = self._create(request)
            await step("channel answers")
        finally:
            self._being_created.discard(request.number)
        return created

    def _create(self, request: CreateRequest) -> Created:
        loses_answer = self.ledger.loses_answer(request.number)
        entry = self.ledger.entries.setdefault(
            request.number, Entry(self.account, request.number, request.money, self._traits)
        )
        if not entry.open:
            raise ChannelRefused("SPENT", "the number is paid or closed", number_spent=True)
        if loses_answer:
            raise ChannelUnavailable("the answer was lost")
        until = datetime.now(UTC) + timedelta(hours=2)
        return Created(QrAction(f"pay://{request.number}", until), until, ref_of(request.number))

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        await step("channel query")
        return self.ledger.report(self.account, number, Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        await step("channel close")
        entry = self.ledger.entries.get(number)
        if entry is None:
            return CloseResult.NOT_FOUND
        if entry.paid:
            return CloseResult.PAID
        if self.ledger.unclosable or not self._traits.closes:
            return CloseResult.STILL_LIVE
        if self.ledger.hollow and self._traits.captures:
            return CloseResult.UNKNOWN if entry.pending else CloseResult.CLOSED
        entry.closed = True
        return CloseResult.CLOSED

    async def refund(self, request: RefundRequest) -> RefundReport:
        await step("channel refund")
        self._look_for_a_query_before(request.number)
        loses_answer = self.ledger.loses_answer(request.number)
        if request.number not in self.ledger.refunds:
            self._begin_refund(request)
        if loses_answer:
            raise ChannelUnavailable("the answer was lost")
        await step("channel answers")
        return self.ledger.refund_report(request.number, Source.CREATE)

    def _look_for_a_query_before(self, number: str) -> None:
        """One caller need not ask first: who wrote that it is sent. All others repeat a call."""
        asked = (_process(), number)
        if asked not in self._asked_by and number in self._called_unasked:
            self.ledger.faults.append(
                "a refund was called again by somebody who had not asked about it"
            )
        if asked not in self._asked_by:
            self._called_unasked.add(number)
        self._asked_by.discard(asked)

    def _begin_refund(self, request: RefundRequest) -> None:
        ledger = self.ledger
        base, _, nth = request.number.rpartition("R")
        earlier = [each for each in ledger.refunds.values() if each.number.startswith(f"{base}R")]
        if any(each.state is not RefundState.FAILED for each in earlier):
            ledger.faults.append("a refund got another number though its last one did not fail")
        state = ledger.first_refund if nth == "1" else RefundState.DONE
        ledger.refunds[request.number] = GivenBack(
            self.account, request.number, request.attempt_number, request.money, state
        )
        entry = ledger.entries[request.attempt_number]
        if not self._traits.refunds:
            ledger.faults.append(f"the {self.account} was told to give money back")
        if not entry.paid or ledger.given_back(entry.number) > entry.money.amount:
            ledger.faults.append("more was given back than was taken")

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        await step("channel refund query")
        self._asked_by.add((_process(), number))
        known = self.ledger.refunds.get(number)
        assert known is None or known.attempt_number == attempt_number
        return self.ledger.refund_report(number, Source.POLL) if known else None

    def read(self, callback: Callback) -> CallbackRead:
        number = callback.body.decode()
        report = self.ledger.report(self.account, number, Source.CALLBACK)
        return CallbackRead(f"news-{number}", report)

    async def refresh_keys(self) -> None: ...

    def acknowledgement(self) -> tuple[int, bytes]:
        return 204, b""

    def rejection(self, detail: str) -> tuple[int, bytes]:
        return 404, detail.encode()


class Purse(Till):
    """The adapter of an account that debits when we say so, once the buyer approved."""

    async def capture(self, request: CaptureRequest) -> ChannelReport:
        await step("channel capture")
        self.ledger.debits.append(Debit(request, _begun_at()))
        loses_answer = self.ledger.loses_answer(request.request_id)
        entry = self.ledger.entries[request.number]
        if self._refuses(entry, request):
            raise ChannelRefused("NO_FUNDS", "the buyer's bank said no")
        await step("channel debits")
        self._debit(entry, request)
        if loses_answer:
            raise ChannelUnavailable("the answer was lost")
        await step("channel answers")
        return self.ledger.report(self.account, entry.number, Source.CREATE)

    def _refuses(self, entry: Entry, request: CaptureRequest) -> bool:
        """Say no to what is not approved; the same no to a repeat."""
        if entry.paid or entry.pending:
            return False
        repeats = request.request_id in entry.refused
        at_first = self.ledger.first_capture is FirstCapture.IS_REFUSED and not entry.refused
        if repeats or at_first or entry.closed or not entry.approved:
            entry.refused.append(request.request_id)
            return True
        return False

    def _debit(self, entry: Entry, request: CaptureRequest) -> None:
        """Once under one id, and so many times under so many."""
        entry.debited_by = entry.debited_by or request.request_id
        if entry.debited_by != request.request_id:
            self.ledger.faults.append("a capture got another id though none was refused")
        if self.ledger.first_capture is FirstCapture.PENDS and not entry.paid:
            entry.pending = True
        else:
            entry.paid = True


def ref_of(number: str) -> str:
    """The channel's own id of a payment."""
    return f"id-{number}"


def _begun_at() -> datetime:
    """When the right to the capture that is called was claimed; where nobody steps, and where
    nobody claimed it, now.
    """
    flow = current()
    if flow is None:
        return datetime.now(UTC)
    own = [each for each in flow.scheduler.taken if each.name == flow.name]
    return next((each.at for each in reversed(own) if each.step == CLAIM), own[-1].at)


def _process() -> str:
    """Name the process that calls; what sweeps afterwards is one of its own."""
    flow = current()
    return flow.process if flow is not None else ""


def till_of(ledger: Ledger, traits: Traits) -> Channel:
    return Purse(ledger, traits) if traits.captures else Till(ledger, traits)


def make(ledger: Ledger, traits: Traits) -> object:
    """Return what `gateway.payments.accounts` makes adapters with."""

    def maker(
        _account: str,
        _settings: Mapping[str, str],
        _secrets: Mapping[str, str],
        _http: aiohttp.ClientSession,
    ) -> Channel:
        return till_of(ledger, traits)

    return maker
