"""A channel that lies, and calls that arrive too late, over the real adapter and the sandbox.

The sandbox keeps a ledger and never says what is not so. Real channels do: a query answers from a
replica that has not heard of the payment, and a request that the caller gave up on is carried out
minutes later. Both are put between the gateway and its adapter here, for each channel on its own.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar

import aiohttp
from msgspec import Struct, field

from gateway.channels.base import (
    CaptureRequest,
    Capturing,
    Channel,
    CloseResult,
    Created,
    CreateRequest,
    RefundRequest,
)
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, Source
from gateway.payments.accounts import Maker
from tests.channels.around import Around

Said = TypeVar("Said")
Call = Callable[[], Awaitable[object]]


class Temper(Struct):
    """How one channel behaves: what the next queries lie, and which calls are held up."""

    lies: list[Outcome] = field(default_factory=list)
    denies_refunds: int = 0  # so many queries of refunds answer that there is none
    holds_up: list[str] = field(default_factory=list)
    on_their_way: list[Call] = field(default_factory=list)

    def mend(self) -> None:
        """Lie no more and hold nothing up any more; what is on its way stays so."""
        self.lies.clear()
        self.holds_up.clear()
        self.denies_refunds = 0

    async def arrive(self) -> bool:
        """Let the oldest call that was held up arrive; its answer reaches nobody."""
        if not self.on_their_way:
            return False
        try:
            await self.on_their_way.pop(0)()
        except (ChannelRefused, ChannelUnavailable):
            return True
        return True


class Liar(Around):
    """A channel's adapter, as `gateway.channels.base.Channel`, with a temper."""

    def __init__(self, account: str, honest: Channel, temper: Temper) -> None:
        super().__init__(honest)
        self._account = account
        self._temper = temper

    async def create(self, request: CreateRequest) -> Created:
        return await self._sent("create", lambda: self.adapter.create(request))

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        report = await self.adapter.query(number, channel_ref)
        if not self._temper.lies:
            return report
        return ChannelReport(self._account, number, self._temper.lies.pop(0), Source.POLL)

    async def close(self, number: str, channel_ref: str = "") -> CloseResult:
        return await self._sent("close", lambda: self.adapter.close(number, channel_ref))

    async def refund(self, request: RefundRequest) -> RefundReport:
        return await self._sent("refund", lambda: self.adapter.refund(request))

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        found = await self.adapter.query_refund(number, attempt_number, payment_ref, sent_at)
        if self._temper.denies_refunds == 0:
            return found
        self._temper.denies_refunds -= 1
        return None

    async def _sent(self, verb: str, call: Callable[[], Awaitable[Said]]) -> Said:
        if verb in self._temper.holds_up:
            self._temper.holds_up.remove(verb)
            self._temper.on_their_way.append(call)
            raise ChannelUnavailable("the call takes longer than anybody waits")
        return await call()


class CapturingLiar(Liar):
    """The same of one that debits on our call, `gateway.channels.base.Capturing`."""

    def __init__(self, account: str, honest: Capturing, temper: Temper) -> None:
        super().__init__(account, honest, temper)
        self._honest = honest

    async def capture(self, request: CaptureRequest) -> ChannelReport:
        return await self._sent("capture", lambda: self._honest.capture(request))


def with_temper(make: Maker, tempers: Mapping[str, Temper]) -> Maker:
    """Make adapters that have their channel's temper."""

    def make_liar(
        account: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
        http: aiohttp.ClientSession,
    ) -> Channel:
        honest = make(account, settings, secrets, http)
        temper = tempers[honest.traits.channel]
        if isinstance(honest, Capturing):
            return CapturingLiar(account, honest, temper)
        return Liar(account, honest, temper)

    return make_liar
