"""What the channels keep, and the judge of every run: what they took is what must be recorded.

The adapters in `tills.py` write here; buyers pay and approve here. The channels are as bad as
channels are: codes that stay payable though they were closed (`unclosable`), closes that say so and
end nothing, since nothing is debited without us anyhow (`hollow`, as PayPal), answers to `create`,
`capture` and `refund` that get lost before or after they were carried out, a close that is answered
while the buyer's password is on its way (`pay(begun=True)`), captures that are refused at first or
take their time (`first_capture`), and refunds that are slow or fail at first (`first_refund`).
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from gateway.channels.base import CaptureRequest, Traits
from gateway.errors import ChannelUnavailable
from gateway.model import ChannelReport, Outcome, RefundReport, RefundState, Source
from gateway.money import Money


class Lost(StrEnum):
    """Which answers to `create`, `capture` and `refund` get lost: the first of each number."""

    NONE = "answered"
    BEFORE = "unheard"
    AFTER = "unanswered"


class FirstCapture(StrEnum):
    """What becomes of the first capture of each payment, and of its repeats."""

    DEBITS = "debits"
    IS_REFUSED = "is refused"
    PENDS = "pends"  # the money arrives later


class Entry(Struct):
    """A payment as the channel knows it."""

    account: str
    number: str
    money: Money
    traits: Traits
    closed: bool = False
    approved: bool = False  # where it is debited on our call alone
    pending: bool = False  # the money is on its way
    paid: bool = False
    refused: list[str] = []  # the captures of ours that it refused, by their ids
    debited_by: str = ""  # the id of the capture that it did not refuse

    @property
    def payment_ref(self) -> str:
        return f"ref-{self.number}"

    @property
    def open(self) -> bool:
        return not (self.closed or self.paid)

    @property
    def payable(self) -> bool:
        """Can the buyer pay it, without anything else that we do?"""
        is_paper = self.traits.voucher is not None  # which can be paid though it was cancelled
        return not self.paid and not self.traits.captures and (is_paper or not self.closed)

    @property
    def ended_by_close(self) -> bool:
        return self.open and self.traits.closes


class Debit(Struct, frozen=True):
    """A call of ours that has a buyer debited; `begun_at`: when the right to it was claimed."""

    request: CaptureRequest
    begun_at: datetime


class GivenBack(Struct):
    """A refund as the channel knows it: under way (`sent`), done or failed."""

    account: str
    number: str
    attempt_number: str
    money: Money
    state: RefundState


class Ledger:
    """The channels' side of every account."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin an empty ledger, well-behaved."""
        self.entries: dict[str, Entry] = {}
        self.debits: list[Debit] = []
        self.refunds: dict[str, GivenBack] = {}
        self.first_capture = FirstCapture.DEBITS
        self.first_refund = RefundState.DONE  # how the first number of a refund ends
        self.faults: list[str] = []  # what no caller may do
        self._lost_already: set[str] = set()
        self.misbehave()

    def misbehave(
        self, lost: Lost = Lost.NONE, *, unclosable: bool = False, hollow: bool = False
    ) -> None:
        """Be as bad from here on."""
        self.lost = lost
        self.unclosable = unclosable
        self.hollow = hollow

    @property
    def payable(self) -> list[str]:
        return [entry.number for entry in self.entries.values() if entry.payable]

    @property
    def not_closed(self) -> list[str]:
        """Name what closing would have ended."""
        if self.unclosable:
            return []
        return [
            entry.number
            for entry in self.entries.values()
            if entry.ended_by_close and not (self.hollow and entry.traits.captures)
        ]

    def pay(self, number: str, *, begun: bool = False) -> bool:
        """The buyer pays, if the code still works; `begun`: the password was on its way before."""
        entry = self.entries[number]
        if entry.paid or not (entry.payable or begun):
            return False
        entry.paid = True
        return True

    def approve(self, number: str) -> bool:
        """The buyer lets us debit him, if the channel still asks him."""
        entry = self.entries[number]
        entry.approved = entry.approved or entry.open
        return entry.approved and not entry.paid

    def pay_all(self) -> None:
        """The worst of buyers: whatever can be paid or approved is."""
        for entry in self.entries.values():
            if entry.payable:
                entry.paid = True
            elif entry.open:
                entry.approved = True

    def report(self, account: str, number: str, source: Source) -> ChannelReport:
        """Say how a payment stands, as the channel would."""
        entry = self.entries.get(number)
        if entry is None:
            return ChannelReport(account, number, Outcome.NOT_FOUND, source)
        if entry.paid:
            back = self.given_back(number)
            return ChannelReport(
                account, number, Outcome.PAID, source, entry.payment_ref, entry.money, back
            )
        if entry.pending:
            outcome = Outcome.PROCESSING
        elif entry.closed:
            outcome = Outcome.CLOSED
        else:
            outcome = Outcome.APPROVED if entry.approved else Outcome.UNPAID
        return ChannelReport(account, number, outcome, source)

    def loses_answer(self, request: str) -> bool:
        """Will the answer be lost? Raises where the request is, before anybody heard it."""
        loses = request not in self._lost_already and self.lost is not Lost.NONE
        self._lost_already.add(request)
        if loses and self.lost is Lost.BEFORE:
            raise ChannelUnavailable("the request was lost")
        return loses

    def refund_report(self, number: str, source: Source) -> RefundReport:
        """Say how a refund stands, as the channel would."""
        known = self.refunds[number]
        ref = f"back-{number}"
        return RefundReport(known.account, number, known.state, source, ref, known.money)

    def end_payments(self) -> None:
        """What is on its way arrives."""
        for entry in self.entries.values():
            if entry.pending:
                entry.pending, entry.paid = False, True

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
