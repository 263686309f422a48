"""A channel's bill of a day: what it says it did, one line for each payment and each refund.

A bill is believed whole or not at all. A line that does not read as the channel's documents say,
a hash that does not fit, or totals that are not the sum of the lines make it no bill: then nothing
is known (ChannelUnavailable), and it is fetched again. No error quotes a line, for buyers' names
and accounts are in it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Final

from msgspec import Struct

from gateway.errors import BillNotReady, ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from gateway.money import Money

BEIJING: Final = timezone(timedelta(hours=8))

# Yuan with whole fen; ten digits before the point keep the amount below MAX_AMOUNT.
YUAN: Final = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,2}0{0,6})?")
MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
NUMBER: Final = re.compile(r"[!-~]{1,64}")  # ours or theirs: stored and shown
NUMBER_OR_NONE: Final = re.compile(r"[!-~]{0,64}")

_MADE_AT: Final = time(9)  # on the morning after: the documents of all three channels
_ASKED_AGAIN_AFTER: Final = timedelta(minutes=30)
_MOST_SEPARATORS: Final = 600  # in a name and a remark of 256 characters, with room


class Happened(StrEnum):
    PAYMENT = "payment"
    REFUND = "refund"


class BillLine(Struct, frozen=True, kw_only=True):
    """One payment, or one refund of a payment. Texts that a channel does not give are empty.

    `number` is the merchant's number of the payment: ours, or another system's that shares the
    account. `fee` is in minor units: what the channel kept, or gave back where it is negative.
    """

    happened: Happened
    number: str
    payment_ref: str
    money: Money
    at: datetime  # UTC
    raw_state: str  # in the channel's own words
    fee: int = 0
    refund_number: str = ""
    refund_ref: str = ""
    refund_state: RefundState | None = None  # of a refund: SENT, DONE or FAILED


class Bill(Struct, frozen=True):
    """All that a channel did on a day of its own.

    `totals` are what it states of them all, by its own names, as counts or in minor units; each
    was compared with the lines. A channel that states none signs the lines themselves.
    """

    day: date
    lines: tuple[BillLine, ...] = ()
    totals: Mapping[str, int] = {}

    def report_of(self, line: BillLine, account: str) -> ChannelReport:
        """Return a line of a payment as evidence, like a callback or the answer to a query.

        Of what was given back it knows this day alone.
        """
        return ChannelReport(
            account,
            line.number,
            Outcome.PAID,
            Source.BILL,
            payment_ref=line.payment_ref,
            money=line.money,
            refunded=sum(
                other.money.amount
                for other in self.lines
                if other.payment_ref == line.payment_ref
                and other.refund_state in (RefundState.SENT, RefundState.DONE)
            ),
        )


def refund_report_of(line: BillLine, account: str) -> RefundReport:
    """Return a line of a refund as evidence."""
    return RefundReport(
        account,
        line.refund_number,
        line.refund_state or RefundState.SENT,
        Source.BILL,
        line.refund_ref or None,
        line.money,
    )


class Row(Struct, frozen=True):
    """What is read of a row, by the names of its columns; each has the shape that was asked for."""

    line: int
    fields: Mapping[str, str]

    def text(self, column: str) -> str:
        return self.fields[column]

    def amount(self, column: str) -> int:
        """Return yuan as fen."""
        return fen(self.fields[column])

    def moment(self, column: str) -> datetime:
        """Return a time of Beijing's, which the bill does not say."""
        try:
            local = datetime.fromisoformat(self.fields[column]).replace(tzinfo=BEIJING)
            return local.astimezone(UTC)
        except (ValueError, OverflowError):
            raise unreadable(f"line {self.line}: {column} is not a time") from None


class Table(Struct, frozen=True):
    """Reads rows by the names in a table's header, so that a column more or less moves nothing.

    Neither WeChat Pay nor Alipay quotes its texts, and what is sold can have a name with the
    separator in it. So such a row is read in every way that its columns allow, and counts only if
    exactly one of them gives all columns their shape.
    """

    columns: Sequence[str]
    prose_at: int  # the column with the name of what is sold
    shapes: Sequence[tuple[int, re.Pattern[str]]]

    def row(self, line: int, parts: Sequence[str]) -> Row:
        """Return what a row says that was split at its separators."""
        spare = len(parts) - len(self.columns)
        if not 0 <= spare <= _MOST_SEPARATORS:
            raise unreadable(f"line {line} has columns too few, or far too many")
        fitting = [more for more in range(spare + 1) if self._misfit(parts, more) is None]
        if len(fitting) != 1:
            misfit = self._misfit(parts, 0)
            about = self.columns[self.prose_at if misfit is None else misfit]
            raise unreadable(f"line {line} fits in {len(fitting)} ways; check {about}")
        texts = {self.columns[at]: self._text(parts, at, fitting[0]) for at, _ in self.shapes}
        return Row(line, texts)

    def _misfit(self, parts: Sequence[str], more: int) -> int | None:
        """Return a column without its shape, if the name has so many separators in it."""
        misfits = (
            at for at, shape in self.shapes if not shape.fullmatch(self._text(parts, at, more))
        )
        return next(misfits, None)

    def _text(self, parts: Sequence[str], at: int, more: int) -> str:
        return parts[at + more if at > self.prose_at else at]


def table_of(columns: Sequence[str], prose: str, shapes: Mapping[str, re.Pattern[str]]) -> Table:
    """Return what reads the rows below a header. Raises ChannelUnavailable for another header."""
    for column in (prose, *shapes):
        if columns.count(column) != 1:
            raise unreadable(f"it has no column {column}, or two")
    places = [(columns.index(column), shape) for column, shape in shapes.items()]
    # From the right, where a wrong reading is seen first.
    return Table(columns, columns.index(prose), sorted(places, key=lambda each: -each[0]))


def fen(yuan: str) -> int:
    """Return an amount in yuan as fen, exactly. Raises ChannelUnavailable for anything else."""
    if not YUAN.fullmatch(yuan):
        raise unreadable("what should be an amount in yuan is none")
    return int(Decimal(yuan).scaleb(2))


def compare_totals(stated: Mapping[str, int], counted: Mapping[str, int]) -> None:
    """Raise ChannelUnavailable where what the channel states is not the sum of its lines."""
    for name, total in stated.items():
        if counted[name] != total:
            raise ChannelUnavailable(
                f"the bill contradicts itself: {name} is stated as {total}, "
                f"and its lines come to {counted[name]}"
            )


def made_none(day: date, now: datetime) -> Bill:
    """Return the empty bill of a day for which the channel has none.

    It says the same of a day on which nothing happened and of a bill that it has not made yet. So
    until a whole day has passed this raises BillNotReady.
    """
    if now < datetime.combine(day + timedelta(days=2), time(), BEIJING):
        raise not_ready(day, now)
    return Bill(day)


def not_ready(day: date, now: datetime) -> BillNotReady:
    made_at = datetime.combine(day + timedelta(days=1), _MADE_AT, BEIJING).astimezone(UTC)
    return BillNotReady(max(made_at, now + _ASKED_AGAIN_AFTER))


def is_over(day: date, now: datetime) -> bool:
    return now.astimezone(BEIJING).date() > day


def unreadable(what: str) -> ChannelUnavailable:
    return ChannelUnavailable(f"the bill cannot be read: {what}")
