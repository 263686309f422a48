"""The Channel protocol: what every adapter promises, and the typed answers that it gives.

`create` and `refund` are idempotent by our number. `read` verifies, then translates, with no I/O. A
verb raises `ChannelUnavailable` when nothing is known of what the channel did, and `ChannelRefused`
when it said no; an answer whose signature fails is *unavailable*. No verb retries: whoever calls
decides that.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway.channels.actions import NextAction
from gateway.channels.bills import Bill
from gateway.model import ChannelReport, RefundReport, Terminal
from gateway.money import Money

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Voucher(Struct, frozen=True):
    """A slip that the buyer pays at a bank days later: for how long, and by whose calendar."""

    days: int
    time_zone: str  # of the IANA database

    def ends(self, now: datetime) -> datetime:
        """Return the last moment of the day that is `days` ahead, in UTC."""
        there = now.astimezone(ZoneInfo(self.time_zone)) + timedelta(days=self.days)
        return there.replace(hour=23, minute=59, second=59, microsecond=0).astimezone(UTC)


class Traits(Struct, frozen=True):
    """What a channel can do, as data."""

    channel: str
    products: Mapping[Terminal, str]  # the default product of a terminal
    all_products: frozenset[str]
    currencies: frozenset[str]
    minimum: int  # minor units
    maximum: int
    closes: bool
    refunds: bool
    live_after_close: bool
    shortest_window: timedelta  # the least time between create and time_expire
    late_margin: timedelta  # how long after pay_by money may still arrive
    repeat_window: timedelta | None  # how long `create` is deduplicated; None: until pay_by
    ask_ladder_s: tuple[int, ...]
    slow_ask_s: int  # after the ladder
    needs_payer: frozenset[str] = frozenset()  # products that are made for one openid
    needs_client_ip: frozenset[str] = frozenset()
    needs_buyer: frozenset[str] = frozenset()  # products that name the buyer on a slip
    voucher: Voucher | None = None  # it is paid days later, so that the order waits for it
    refund_repeat_window: timedelta | None = None  # as of `refund`; None: for good
    form_targets: tuple[str, ...] = ()  # where its forms lead, as a page's form-action lists them
    captures: bool = False  # it debits only when we say so: it is `Capturing`
    bills: bool = False  # it lists what it did in a day: it is `Billing`


class PostalAddress(Struct, frozen=True):
    """Where a buyer lives; `country` is ISO 3166-1 alpha-2."""

    line1: str
    city: str
    state: str
    postal_code: str
    country: str


class BuyerDetails(Struct, frozen=True):
    """Who pays, where the channel has to put it on a slip: personal data, never logged."""

    name: str
    email: str
    tax_id: str
    address: PostalAddress


class CreateRequest(Struct, frozen=True):
    """Everything that `create` says to the channel. It is stored, so that a repeat says the
    same.
    """

    number: str
    product: str
    money: Money
    subject: str
    pay_by: datetime
    notify_url: str
    return_url: str  # where the channel may send the buyer back; the checkout's return page
    payer: str = ""  # openid, where the product needs one
    client_ip: str = ""
    user_agent: str = ""
    buyer: BuyerDetails | None = None  # where the product is in `Traits.needs_buyer`
    voucher_days: int = 0  # of `Traits.voucher`: how long a slip can be paid
    order: str = ""  # our order's id, for a channel that can be told not to take one twice


class Created(Struct, frozen=True):
    """The channel accepted it: what the buyer does next, and until when that is usable."""

    next_action: NextAction
    usable_until: datetime
    channel_ref: str = ""  # the channel's own id of it, where it is not found by our number


class CaptureRequest(Struct, frozen=True):
    """What `capture` says to the channel; `request_id` is ours and makes it idempotent."""

    number: str
    channel_ref: str
    request_id: str
    money: Money


class CloseResult(StrEnum):
    """What the answer to close said. Only CLOSED is believed; all others are followed by a
    query.
    """

    CLOSED = "closed"
    PAID = "paid"
    STILL_LIVE = "still_live"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class Callback(Struct, frozen=True):
    """A callback as it came off the wire. Header names are lower case."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


class CallbackRead(Struct, frozen=True):
    """A verified callback: the channel's id of the notification, and what it reports."""

    notification_id: str
    report: ChannelReport | RefundReport | None  # None: genuine, but nothing that concerns money


class RefundRequest(Struct, frozen=True):
    """What `refund` says to the channel; `number` is ours and makes it idempotent."""

    number: str
    attempt_number: str
    payment_ref: str
    money: Money  # to give back
    total: Money  # what was received
    reason: str
    notify_url: str
    sent_at: datetime  # when the number was first sent; a repeat says the same


class Channel(Protocol):
    """One merchant's account at one channel."""

    @property
    def traits(self) -> Traits: ...

    async def create(self, request: CreateRequest) -> Created: ...

    async def query(self, number: str, channel_ref: str = "") -> ChannelReport:
        """Ask about one payment. `channel_ref` is what `create` answered; empty: its answer was
        lost.
        """
        ...

    async def close(self, number: str, channel_ref: str = "") -> CloseResult: ...

    async def refund(self, request: RefundRequest) -> RefundReport: ...

    async def query_refund(
        self,
        number: str,
        attempt_number: str,
        payment_ref: str = "",
        sent_at: datetime | None = None,
    ) -> RefundReport | None:
        """Ask about a refund of ours, of the payment `payment_ref`, or of the attempt's first.

        `sent_at` is when the number was first sent; None: it never was.
        """
        ...

    def read(self, callback: Callback) -> CallbackRead:
        """Verify, then translate. Raises BadCallback, or UnknownKey: refresh_keys, then read
        again.
        """
        ...

    async def refresh_keys(self) -> None: ...

    def acknowledgement(self) -> tuple[int, bytes]: ...

    def rejection(self, detail: str) -> tuple[int, bytes]: ...


@runtime_checkable
class Capturing(Channel, Protocol):
    """A channel that debits only on our call, after the buyer approved: `Traits.captures`."""

    async def capture(self, request: CaptureRequest) -> ChannelReport:
        """Debit. The report is PAID, or PROCESSING where the money is on its way.

        Raises ChannelUnavailable (it may have been debited), or ChannelRefused (it was not; the
        buyer may approve again).
        """
        ...


@runtime_checkable
class Billing(Channel, Protocol):
    """A channel that lists what it did in a day: `Traits.bills`."""

    async def bill(self, day: date) -> Bill:
        """Fetch the bill of a day as the channel counts days; of an empty day it is empty.

        Raises ChannelUnavailable (also for a bill that contradicts itself), and BillNotReady where
        it is not made yet.
        """
        ...


class Recogniser(Protocol):
    """Finds out who is at a browser inside the channel's wallet, by sending it there and back."""

    @property
    def app(self) -> str:
        """What the payer's id belongs to: another app knows the same buyer by another id."""
        ...

    def address(self, way_back: str, state: str) -> str:
        """Return where the browser is sent; it comes to `way_back` with `code` and `state`."""
        ...

    async def payer(self, code: str) -> str:
        """Exchange a code for the payer's id (openid).

        Raises ChannelRefused (the code is of no use; another one may be), or ChannelUnavailable.
        """
        ...


@runtime_checkable
class Recognising(Channel, Protocol):
    """A channel with products that are made for one payer: `Traits.needs_payer`."""

    @property
    def recogniser(self) -> Recogniser | None:
        """None: the account was not given what it takes; the merchant has to say who pays."""
        ...


@runtime_checkable
class Proving(Channel, Protocol):
    """A channel at which a payment that is not found does not prove every setting."""

    async def prove(self) -> None:
        """Ask what proves the others, and is about no payment.

        Raises ChannelUnavailable with what to do.
        """
        ...
