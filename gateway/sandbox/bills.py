"""What the bills of all channels are made from: what moved on a day, when a bill is made of it, and
where its file lies for a while.

How a bill is written is each channel's own.
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone

import msgspec

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import Capture, Payment, Refund

BEIJING = timezone(timedelta(hours=8))
MADE_AT = time(9)
"""On the morning after."""
RATE_IN_THOUSANDTHS = 6


class Moved(msgspec.Struct, frozen=True):
    """Money that came, or with a refund went back, at some time."""

    payment: Payment
    capture: Capture
    refund: Refund | None
    at: datetime

    @property
    def amount(self) -> int:
        return self.capture.amount if self.refund is None else self.refund.amount

    @property
    def fee(self) -> int:
        """What the channel keeps of a payment, or does not keep of a refund, in fen."""
        return (self.amount * RATE_IN_THOUSANDTHS + 500) // 1000


class File(msgspec.Struct, frozen=True):
    """A file under a link that is good until some time."""

    content: bytes
    until: datetime


class Files:
    """The files that were announced, by what their links end in."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def put(self, content: bytes, now: datetime, good_for: timedelta) -> str:
        """Keep a file and answer its token; what is over is forgotten."""
        self._files = {t: file for t, file in self._files.items() if file.until >= now}
        token = secrets.token_urlsafe(24)
        self._files[token] = File(content, now + good_for)
        return token

    def find(self, token: str, now: datetime) -> bytes | None:
        file = self._files.get(token)
        return None if file is None or file.until < now else file.content


def moves(shared: Shared, channel: str) -> Iterator[Moved]:
    """All that ever moved at a channel; a refund counts from when it was asked for."""
    for payment in shared.ledger:
        if payment.channel != channel:
            continue
        for capture in payment.captures:
            yield Moved(payment, capture, None, capture.paid_at)
        captures = {capture.ref: capture for capture in payment.captures}
        for refund in payment.refunds:
            yield Moved(payment, captures[refund.capture_ref], refund, refund.created_at)


def is_made(shared: Shared, channel: str, day: date) -> bool:
    """Whether a bill is made of that day yet; a fault may make it sooner, or later."""
    match shared.faults.of(channel).bills:
        case "at_once":
            return True
        case "late":
            return False
        case "on_time":
            made_at = datetime.combine(day + timedelta(days=1), MADE_AT, BEIJING)
            return shared.faults.now(channel) >= made_at


def spoilt(shared: Shared, channel: str, file: bytes) -> bytes:
    """What is handed out instead of a file while a fault says so."""
    match shared.faults.of(channel).spoil_bill:
        case "altered":
            middle = len(file) // 2
            return file[:middle] + bytes([file[middle] ^ 1]) + file[middle + 1 :]
        case "truncated":
            return file[: len(file) // 2]
        case "no" | "totals" | "expired":
            return file


def stated(shared: Shared, channel: str, total: int) -> int:
    """A total as the bill states it: another one while a fault says so."""
    return total + (shared.faults.of(channel).spoil_bill == "totals")


def link_life(shared: Shared, channel: str, normal: timedelta) -> timedelta:
    """How long a link is good; while a fault says so, it never was."""
    return timedelta(seconds=-1) if shared.faults.of(channel).spoil_bill == "expired" else normal


def beijing_day(moment: datetime) -> date:
    return moment.astimezone(BEIJING).date()


def read_day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
