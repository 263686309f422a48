"""What can go wrong between a merchant and a channel, on demand.

Faults are kept per channel and act in three places: around every call that the channel receives
(`answer`), around every callback that it sends (callbacks.py), and inside a channel where only it
knows what misbehaving means (a close that races a payment).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict, replace

Verb = Literal["create", "query", "close", "refund", "query_refund", "capture", "bill"]
Close = Literal["default", "refuse", "paid_race"]
UnscannedClose = Literal["ignored", "sticky"]
BoletoCancel = Literal["blocks", "still_pays"]
RefundEnd = Literal["done", "closed", "abnormal"]
Bills = Literal["on_time", "at_once", "late"]
SpoilBill = Literal["no", "altered", "truncated", "totals", "expired"]
CallbackSigner = Literal["public_key", "certificate", "mixed"]

Probability = Annotated[float, Meta(ge=0, le=1)]
Wait = Annotated[float, Meta(ge=0, le=3600)]
Times = Annotated[int, Meta(ge=1)]


class LoseAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The connection breaks before the answer is sent, `times` times."""

    verb: Verb
    after_executing: bool
    times: Times = 1


class Error(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The channel answers an HTTP error, `times` times, whether or not it did as told.

    A channel that words its errors inside a 200 (Alipay) does so when a `code` of its own is
    given, such as aop.unknow-error, and answers the bare status without.
    """

    verb: Verb
    status: Annotated[int, Meta(ge=400, le=599)]
    after_executing: bool
    times: Times = 1
    code: str | UnsetType = UNSET


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How one channel misbehaves now; the defaults are a channel on its best day.

    A fault that a channel cannot have is kept and does nothing: an unscanned code closes like any
    other at WeChat Pay, and a Boleto is not its business.

    `pace` multiplies the waits between callback sends; `refund_takes_s` is how long a refund is
    under way and `refund_end` how it ends. `rotate_certificate` lists a second platform
    certificate and signs with it; `probe_callbacks` precedes callbacks with a signature probe and
    `probe_answers` spoils the signature of that many answers.

    `bills` says when the bill of a day is made: the morning after, even of today, or never.
    `spoil_bill` is what is wrong with the file: a changed byte, its second half, its totals, or
    that its link is over.

    `confirmation_takes_s` is how long after a slip (Boleto) was paid at a bank its channel hears of
    it: a business day, in truth.

    Alipay refunds at once, so there `abnormal` accepts a refund without moving money and `closed`
    refuses it for want of funds.
    """

    drop_callbacks: float = 0.0
    delay_callbacks_s: float = 0.0
    duplicate_callbacks: int = 0
    reorder_callbacks: bool = False
    forge_callbacks: bool = False
    close: Close = "default"
    unscanned_close: UnscannedClose = "ignored"
    boleto_cancel: BoletoCancel = "blocks"
    lose_answer: LoseAnswer | None = None
    error: Error | None = None
    latency_s: float = 0.0
    clock_shift_s: float = 0.0
    pace: float = 1.0
    refund_takes_s: float = 1.0
    confirmation_takes_s: float = 0.0
    refund_end: RefundEnd = "done"
    callback_signer: CallbackSigner = "public_key"
    rotate_certificate: bool = False
    probe_callbacks: bool = False
    probe_answers: int = 0
    bills: Bills = "on_time"
    spoil_bill: SpoilBill = "no"


class FaultsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a control call asks for: a field that is not sent stays as it was."""

    channel: str
    reset: bool = False
    seed: int | UnsetType = UNSET
    drop_callbacks: Probability | UnsetType = UNSET
    delay_callbacks_s: Wait | UnsetType = UNSET
    duplicate_callbacks: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    reorder_callbacks: bool | UnsetType = UNSET
    forge_callbacks: bool | UnsetType = UNSET
    close: Close | UnsetType = UNSET
    unscanned_close: UnscannedClose | UnsetType = UNSET
    boleto_cancel: BoletoCancel | UnsetType = UNSET
    lose_answer: LoseAnswer | UnsetType | None = UNSET
    error: Error | UnsetType | None = UNSET
    latency_s: Wait | UnsetType = UNSET
    clock_shift_s: Annotated[float, Meta(ge=-1e8, le=1e8)] | UnsetType = UNSET
    pace: Annotated[float, Meta(ge=0, le=1000)] | UnsetType = UNSET
    refund_takes_s: Wait | UnsetType = UNSET
    confirmation_takes_s: Annotated[float, Meta(ge=0, le=1e6)] | UnsetType = UNSET
    refund_end: RefundEnd | UnsetType = UNSET
    callback_signer: CallbackSigner | UnsetType = UNSET
    rotate_certificate: bool | UnsetType = UNSET
    probe_callbacks: bool | UnsetType = UNSET
    probe_answers: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    bills: Bills | UnsetType = UNSET
    spoil_bill: SpoilBill | UnsetType = UNSET


class Call(msgspec.Struct, frozen=True):
    """A request that a channel received, by what it asks for and about which number."""

    channel: str
    verb: Verb
    number: str


class FaultBoard:
    """The faults of every channel, the clock they bend, and a count of the calls they meet."""

    def __init__(self, normal: Faults) -> None:
        self._normal = normal
        self._faults: dict[str, Faults] = {}
        self._random = random.Random(0)
        self.calls: Counter[Call] = Counter()

    def of(self, channel: str) -> Faults:
        return self._faults.get(channel, self._normal)

    def change(self, change: FaultsChange) -> Faults:
        """Apply a control call and answer how the channel behaves from now on."""
        now = self._normal if change.reset else self.of(change.channel)
        fields = {
            name: value
            for name, value in asdict(change).items()
            if name in Faults.__struct_fields__ and value is not UNSET
        }
        if not isinstance(change.seed, UnsetType):
            self._random.seed(change.seed)
        self._faults[change.channel] = replace(now, **fields)
        return self._faults[change.channel]

    def clear(self) -> None:
        self._faults.clear()
        self._random.seed(0)
        self.calls.clear()

    def now(self, channel: str) -> datetime:
        """The channel's own idea of the time, in UTC."""
        return datetime.now(UTC) + timedelta(seconds=self.of(channel).clock_shift_s)

    def drops_callback(self, channel: str) -> bool:
        return self._random.random() < self.of(channel).drop_callbacks

    def spoils_answer(self, channel: str) -> bool:
        """Say whether the next answer's signature is to be a probe, and count it off."""
        faults = self.of(channel)
        if faults.probe_answers == 0:
            return False
        self._faults[channel] = replace(faults, probe_answers=faults.probe_answers - 1)
        return True

    async def answer(
        self,
        request: web.Request,
        call: Call,
        act: Callable[[], web.Response],
        fail: Callable[[Error], web.Response],
    ) -> web.Response:
        """Answer a channel's call through the faults that lie in its way.

        `act` does what was asked for and must not wait; `fail` words an HTTP error as the channel
        would. A lost answer outranks an error.
        """
        self.calls[call] += 1
        await asyncio.sleep(self.of(call.channel).latency_s)
        fault = self._take(call)
        if fault is None:
            return act()
        if fault.after_executing:
            act()
        match fault:
            case Error():
                return fail(fault)
            case LoseAnswer():
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()  # nothing is left to write it to

    def _take(self, call: Call) -> LoseAnswer | Error | None:
        """Answer the fault that hits this call, and leave it one time fewer."""
        faults = self.of(call.channel)
        lost, error = faults.lose_answer, faults.error
        if lost and lost.verb == call.verb:
            rest = replace(lost, times=lost.times - 1) if lost.times > 1 else None
            self._faults[call.channel] = replace(faults, lose_answer=rest)
            return lost
        if error and error.verb == call.verb:
            less = replace(error, times=error.times - 1) if error.times > 1 else None
            self._faults[call.channel] = replace(faults, error=less)
            return error
        return None
