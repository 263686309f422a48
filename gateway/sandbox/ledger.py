"""The truth about money in the sandbox: what was asked for, what was paid, what went back.

Every channel writes here and the control calls read here, so a test that wonders whether somebody
paid twice asks this ledger and not the gateway. Each method checks and writes without giving the
event loop a chance in between, which is what makes paying atomic; with a journal file it answers
only after the file has it.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from gateway.sandbox.journal import Journal

Key = tuple[str, str]
"""(channel, the merchant's number)"""


class RefundState(StrEnum):
    """How far the channel is with a refund."""

    PROCESSING = "processing"
    DONE = "done"
    CLOSED = "closed"
    ABNORMAL = "abnormal"


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """Money that a buyer really paid; `ref` is the channel's own id of the payment."""

    ref: str
    amount: int
    paid_at: datetime
    told: bool = False


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back to a buyer; `number` is the merchant's, `ref` the channel's."""

    number: str
    ref: str
    capture_ref: str
    amount: int
    reason: str
    notify_url: str
    state: RefundState
    created_at: datetime
    ended_at: datetime | None = None
    told: bool = False


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """What a merchant asked a channel to collect under one number, and what came of it.

    `request` is the body the merchant sent, for a channel that must recognise a repeat or answer
    a field back. `tokens` are what QR codes and prepay ids carry. `ref` is the channel's own id of
    the order, where it has one before money moves. `kept` is what the channel, and nobody else,
    needs to know of it.
    """

    channel: str
    number: str
    product: str
    amount: int
    currency: str
    subject: str
    request: str
    notify_url: str
    tokens: tuple[str, ...]
    created_at: datetime
    payable_until: datetime
    ref: str = ""
    scanned_at: datetime | None = None
    closed_at: datetime | None = None
    declines: int = 0
    kept: str = ""
    captures: tuple[Capture, ...] = ()
    refunds: tuple[Refund, ...] = ()

    @property
    def state(self) -> str:
        if self.captures:
            return "paid"
        return "closed" if self.closed_at else "open"

    def refundable(self, capture: Capture) -> int:
        """What is left of one capture when every refund that may still succeed is taken off."""
        held = (RefundState.PROCESSING, RefundState.DONE, RefundState.ABNORMAL)
        gone = sum(
            refund.amount
            for refund in self.refunds
            if refund.capture_ref == capture.ref and refund.state in held
        )
        return capture.amount - gone


class RefundEntry(msgspec.Struct, frozen=True):
    """A refund as the control calls show it."""

    number: str
    amount: int
    state: RefundState


class CaptureEntry(msgspec.Struct, frozen=True):
    """Money that arrived, as the control calls show it."""

    ref: str
    amount: int
    paid_at: datetime


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the control calls show it; amounts in minor units."""

    channel: str
    number: str
    captured: int
    refunded: int
    state: str
    created_at: datetime
    paid_at: datetime | None
    refunds: tuple[RefundEntry, ...]
    captures: tuple[CaptureEntry, ...]


def entry_of(payment: Payment) -> LedgerEntry:
    """Sum a payment up; only refunds that ended well count as refunded."""
    return LedgerEntry(
        channel=payment.channel,
        number=payment.number,
        captured=sum(capture.amount for capture in payment.captures),
        refunded=sum(r.amount for r in payment.refunds if r.state is RefundState.DONE),
        state=payment.state,
        created_at=payment.created_at,
        paid_at=payment.captures[0].paid_at if payment.captures else None,
        refunds=tuple(RefundEntry(r.number, r.amount, r.state) for r in payment.refunds),
        captures=tuple(CaptureEntry(c.ref, c.amount, c.paid_at) for c in payment.captures),
    )


class NotPayable(Exception):
    """The wallet cannot pay this; `reason` is unknown, paid, closed or expired."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Ledger:
    """Payments by channel and number, found again by QR token, payment id or refund number."""

    def __init__(self, journal: Journal[Payment] | None = None) -> None:
        self._payments: dict[Key, Payment] = {}
        self._by_token: dict[str, Key] = {}
        self._by_ref: dict[tuple[str, str], Key] = {}
        self._by_refund: dict[tuple[str, str], Key] = {}
        self._journal = journal
        if journal is not None:
            for payment in journal.read():
                self._remember(payment)
            journal.rewrite(self._payments.values())

    def __iter__(self) -> Iterator[Payment]:
        return iter(tuple(self._payments.values()))

    def find(self, channel: str, number: str) -> Payment | None:
        return self._payments.get((channel, number))

    def known(self, channel: str, number: str) -> Payment:
        """The payment with this number. Raises NotPayable."""
        payment = self.find(channel, number)
        if payment is None:
            raise NotPayable("unknown")
        return payment

    def find_by_token(self, token: str) -> Payment | None:
        key = self._by_token.get(token)
        return key and self._payments[key]

    def find_by_ref(self, channel: str, ref: str) -> Payment | None:
        key = self._by_ref.get((channel, ref))
        return key and self._payments[key]

    def find_refund(self, channel: str, number: str) -> tuple[Payment, Refund] | None:
        key = self._by_refund.get((channel, number))
        if key is None:
            return None
        payment = self._payments[key]
        return payment, next(r for r in payment.refunds if r.number == number)

    def save(self, payment: Payment, *, moves_money: bool = False) -> Payment:
        """Keep this as the newest truth about its number; on disk first when there is a file."""
        if self._journal is not None:
            self._journal.append(payment, forced=moves_money)
        self._remember(payment)
        return payment

    def pay(
        self,
        channel: str,
        number: str,
        capture: Capture,
        *,
        though_closed: bool = False,
        though_paid: bool = False,
    ) -> Payment:
        """Take the buyer's money, once. Raises NotPayable; the two exceptions are faults."""
        payment = self.known(channel, number)
        if payment.captures and not though_paid:
            raise NotPayable("paid")
        if payment.closed_at and not (though_closed or though_paid):
            raise NotPayable("closed")
        if capture.paid_at > payment.payable_until and not though_paid:
            raise NotPayable("expired")
        paid = replace(payment, captures=(*payment.captures, capture))
        return self.save(paid, moves_money=True)

    def scan(self, channel: str, number: str, at: datetime) -> Payment:
        """Note when a buyer opened it first. Raises NotPayable."""
        payment = self.known(channel, number)
        if payment.scanned_at is not None:
            return payment
        return self.save(replace(payment, scanned_at=at))

    def close(self, payment: Payment, at: datetime) -> Payment:
        return self.save(replace(payment, closed_at=at), moves_money=True)

    def add_refund(self, payment: Payment, refund: Refund) -> Payment:
        asked = replace(payment, refunds=(*payment.refunds, refund))
        return self.save(asked, moves_money=True)

    def end_refund(self, payment: Payment, ended: Refund) -> Payment:
        """Keep a refund's end in the place of what it was."""
        refunds = tuple(ended if one.number == ended.number else one for one in payment.refunds)
        return self.save(replace(payment, refunds=refunds), moves_money=True)

    def mark_told(self, channel: str, number: str, ref: str) -> None:
        """Remember that the merchant acknowledged the news of this capture or refund."""
        payment = self.find(channel, number)
        if payment is None:
            return  # the ledger was reset while the callback was under way
        captures = tuple(replace(c, told=c.told or c.ref == ref) for c in payment.captures)
        refunds = tuple(replace(r, told=r.told or r.ref == ref) for r in payment.refunds)
        self.save(replace(payment, captures=captures, refunds=refunds))

    def clear(self) -> None:
        self._payments.clear()
        self._by_token.clear()
        self._by_ref.clear()
        self._by_refund.clear()
        if self._journal is not None:
            self._journal.rewrite(())

    def end(self) -> None:
        """Let go of the file; everything in it is safe already."""
        if self._journal is not None:
            self._journal.close()

    def _remember(self, payment: Payment) -> None:
        key = (payment.channel, payment.number)
        self._payments[key] = payment
        self._by_token.update(dict.fromkeys(payment.tokens, key))
        for ref in (payment.ref, *(capture.ref for capture in payment.captures)):
            if ref:
                self._by_ref[payment.channel, ref] = key
        for refund in payment.refunds:
            self._by_refund[payment.channel, refund.number] = key
