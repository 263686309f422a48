"""The nouns: order, attempt, refund and report, and the states that the first three can be in.

The values of the enums are the same in Python, in SQL and in JSON. Which moves are legal is data
here (`LEGAL_MOVES`) and in the table `legal_moves`; a test holds the two equal.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from gateway.ids import AttemptId, OperatorId, OrderId, RefundId
from gateway.money import Money


class OrderState(StrEnum):
    OPEN = "open"
    PAID = "paid"
    CLOSED = "closed"


class AttemptState(StrEnum):
    CREATED = "created"  # 未支付: the row is there; what the channel did is not known
    PAYING = "paying"  # 支付中: the channel has accepted it and the buyer can pay
    CAPTURED = "captured"  # its money pays the order
    SURPLUS = "surplus"  # its money arrived, does not pay the order, and is owed back
    DECLINED = "declined"
    CLOSED = "closed"

    @property
    def live(self) -> bool:
        """May the channel still take money on it without anybody being surprised?"""
        return self in (AttemptState.CREATED, AttemptState.PAYING)

    @property
    def holds_money(self) -> bool:
        return self in (AttemptState.CAPTURED, AttemptState.SURPLUS)


class RefundState(StrEnum):
    HELD = "held"
    READY = "ready"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"

    @property
    def counts(self) -> bool:
        """Has its money gone, or may it still go?"""
        return self not in (RefundState.FAILED, RefundState.REJECTED)


class RefundReason(StrEnum):
    SURPLUS = "surplus"  # money that does not pay its order
    MERCHANT = "merchant"  # the merchant gives back what was captured


class Outcome(StrEnum):
    """What a channel can say of a payment."""

    PAID = "paid"
    APPROVED = "approved"
    PROCESSING = "processing"
    UNPAID = "unpaid"
    NOT_FOUND = "not_found"
    DECLINED = "declined"
    CLOSED = "closed"


class Source(StrEnum):
    """Where a report came from. It is recorded and never read by the rules."""

    CALLBACK = "callback"
    POLL = "poll"
    CLOSE = "close"
    CREATE = "create"
    BILL = "bill"


class Terminal(StrEnum):
    PC = "pc"
    WAP = "wap"
    WEBVIEW = "webview"
    APP = "app"


_LIVE_ENDS: Final = frozenset({"captured", "surplus", "declined", "closed"})
LEGAL_MOVES: Final[dict[str, dict[str, frozenset[str]]]] = {
    "order": {"open": frozenset({"paid", "closed"})},
    "attempt": {
        "created": _LIVE_ENDS | {"paying"},
        "paying": _LIVE_ENDS,
        "declined": frozenset({"captured", "surplus"}),
        "closed": frozenset({"captured", "surplus"}),
    },
    "refund": {
        "held": frozenset({"ready", "rejected", "done"}),
        "ready": frozenset({"sent"}),
        "sent": frozenset({"done", "failed"}),
        "failed": frozenset({"held"}),
        "rejected": frozenset({"held"}),
    },
}
BIRTHS: Final[dict[str, frozenset[str]]] = {
    "order": frozenset({"open"}),
    "attempt": frozenset({"created", "surplus"}),  # surplus: other money under a known number
    "refund": frozenset({"held", "ready", "done"}),
}


class Attempt(Struct, frozen=True):
    """One try to pay an order, on one channel, as one product, for one payer, under one number."""

    id: AttemptId
    order_id: OrderId
    number: str
    account: str
    channel: str
    product: str
    terminal: Terminal
    payer: str
    state: AttemptState
    superseded: bool
    amount: int
    currency: str
    received_amount: int | None
    received_currency: str | None
    payment_ref: str | None
    parameters: str  # JSON: the CreateRequest that `create` was, and will be, called with
    next_action: str | None  # JSON
    next_action_until: datetime | None
    pay_by: datetime
    live_until: datetime
    calling_until: datetime | None
    ask_at: datetime | None
    asks: int
    needs_attention: bool
    created_at: datetime
    updated_at: datetime
    refund_state: RefundState | None  # of its surplus refund
    refund_waits: bool = False  # that refund goes no further without a person
    channel_ref: str = ""  # the channel's own id of it, from its answer to `create`
    capture_claimed_at: datetime | None = None  # since when a capture of ours may debit it
    captures: int = 0  # captures of ours that the channel refused

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def offered(self) -> bool:
        """Is this the one attempt that the buyer is shown?"""
        return self.state.live and not self.superseded


class Order(Struct, frozen=True):
    """What a merchant is owed, once; with every attempt to pay it, oldest first."""

    id: OrderId
    merchant: str
    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    buyer_id: str | None
    items: str | None  # JSON
    state: OrderState
    version: int
    token: str
    amount_refunded: int
    paid_attempt: AttemptId | None
    expires_at: datetime
    created_at: datetime
    paid_at: datetime | None
    closed_at: datetime | None
    close_reason: str | None
    notify_url: str | None
    return_url: str | None
    metadata: str | None  # JSON
    attempts: tuple[Attempt, ...] = ()

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def offered(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.offered), None)

    def attempt(self, attempt_id: AttemptId) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)


class Refund(Struct, frozen=True):
    """Money on its way back from one attempt, under one number at the channel at a time.

    `check_at` is when the machine looks at it next; None: it has ended, or waits for a person.
    """

    id: RefundId
    order_id: OrderId
    attempt: AttemptId
    account: str
    reason: RefundReason
    number: str
    tries: int  # a part of the number
    amount: int
    currency: str
    state: RefundState
    created_at: datetime
    updated_at: datetime
    check_at: datetime | None = None
    checks: int = 0  # since its state last moved
    released_at: datetime | None = None
    asked_by: OperatorId | None = None
    approved_by: OperatorId | None = None
    sent_at: datetime | None = None
    merchant_refund_no: str | None = None
    explanation: str | None = None
    note: str | None = None
    refund_ref: str | None = None
    reference: str | None = None

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def waits(self) -> bool:
        """Does it go no further without a person?"""
        return self.check_at is None and self.state is not RefundState.DONE


class NewRefund(Struct, frozen=True):
    """A merchant's request for a refund; `amount` None: all that is left."""

    amount: int | None = None
    explanation: str | None = None
    merchant_refund_no: str | None = None


class NewOrder(Struct, frozen=True):
    """A validated request for an order; `items` and `metadata` are JSON."""

    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    expires_in_s: int
    buyer_id: str | None = None
    items: str | None = None
    notify_url: str | None = None
    return_url: str | None = None
    metadata: str | None = None
    allow_duplicate: bool = False


class ChannelReport(Struct, frozen=True):
    """What a channel says of one payment, verified and translated: evidence, never a state.

    `payment_ref` (the channel's own id of the payment) and `money` are there when, and only when,
    the outcome is PAID. `refunded` is how much of it the channel says was given back; None: some,
    but it does not say how much.
    """

    account: str
    number: str
    outcome: Outcome
    source: Source
    payment_ref: str | None = None
    money: Money | None = None
    refunded: int | None = 0
    channel_ref: str = ""  # what finds this payment there, where that is not our number


class Evidence(Struct, frozen=True):
    """A raw callback, kept as it came."""

    account: str
    notification_id: str
    number: str
    headers: str  # JSON
    body: bytes


class RefundReport(Struct, frozen=True):
    """What a channel says of one refund, by our refund number."""

    account: str
    number: str
    state: RefundState  # SENT (in progress), DONE or FAILED
    source: Source
    refund_ref: str | None = None
    money: Money | None = None
