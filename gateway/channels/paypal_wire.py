"""What PayPal's Orders v2 and Payments v2 say and hear, as types: no other body is believed.

Field names, lengths and values are those of the API's published descriptions. Fields that we
neither send nor read are left out.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.channels.base import CreateRequest, RefundRequest
from gateway.channels.paypal_money import money_of
from gateway.money import Money

_LONGEST_TEXT: Final = 127
_LONGEST_NOTE: Final = 255
_ORDER_AT: Final = re.compile(r"/orders/([0-9A-Za-z-]{1,64})\Z")

Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
# Numbers and references are stored and shown: nothing unprintable passes for one.
Number = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,255}\Z")]
Reference = Annotated[str, Meta(pattern=r"^[!-~]{1,64}\Z")]

Body = TypeVar("Body")


class Product(StrEnum):
    """The one way to pay: the buyer is sent to PayPal's page, which leads back."""

    REDIRECT = "redirect"


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    SAVED = "SAVED"
    PAYER_ACTION_REQUIRED = "PAYER_ACTION_REQUIRED"
    APPROVED = "APPROVED"
    VOIDED = "VOIDED"
    COMPLETED = "COMPLETED"  # its captures say whether that means money


class CaptureStatus(StrEnum):
    COMPLETED = "COMPLETED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    PENDING = "PENDING"
    DECLINED = "DECLINED"
    FAILED = "FAILED"

    @property
    def paid(self) -> bool:
        """Did its money arrive, whatever was given back since?"""
        return self in (self.COMPLETED, self.PARTIALLY_REFUNDED, self.REFUNDED)


class RefundStatus(StrEnum):
    COMPLETED = "COMPLETED"
    PENDING = "PENDING"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Amount(Struct, frozen=True):
    currency_code: Currency
    value: str

    def __post_init__(self) -> None:
        if not self.money.amount:  # malformed, it is a ValueError too
            raise ValueError("an amount of nothing")

    @property
    def money(self) -> Money:
        return money_of(self.currency_code, self.value)


class Link(Struct, frozen=True):
    href: Annotated[str, Meta(pattern=r"^https?://[!-~]{1,2000}\Z")]
    rel: str


class Payee(Struct, frozen=True):
    merchant_id: str = ""


class RelatedIds(Struct, frozen=True):
    order_id: Annotated[str, Meta(pattern=r"^[!-~]{0,64}\Z")] = ""


class SupplementaryData(Struct, frozen=True):
    related_ids: RelatedIds = RelatedIds()


class Capture(Struct, frozen=True):
    """A debit, as it stands in its order, in the answer to a question and in an event."""

    id: Reference
    status: CaptureStatus
    amount: Amount
    custom_id: Number = ""
    payee: Payee = Payee()
    supplementary_data: SupplementaryData = SupplementaryData()
    links: tuple[Link, ...] = ()

    @property
    def order_id(self) -> str:
        """The order that it debited; nothing where PayPal does not say."""
        if self.supplementary_data.related_ids.order_id:
            return self.supplementary_data.related_ids.order_id
        above = (link.href for link in self.links if link.rel == "up")
        return next((found[1] for href in above if (found := _ORDER_AT.search(href))), "")


class Refund(Struct, frozen=True):
    id: Reference
    status: RefundStatus
    amount: Amount | None = None
    invoice_id: Number = ""
    custom_id: Number = ""

    @property
    def number(self) -> str:
        """Our number; we send it as both, and one made by hand at PayPal has none of ours."""
        return self.invoice_id or self.custom_id


class Payments(Struct, frozen=True):
    captures: tuple[Capture, ...] = ()
    refunds: tuple[Refund, ...] = ()


class PurchaseUnit(Struct, frozen=True):
    custom_id: Number = ""
    amount: Amount | None = None
    payee: Payee = Payee()
    payments: Payments = Payments()


class Order(Struct, frozen=True):
    id: Reference
    status: OrderStatus
    purchase_units: tuple[PurchaseUnit, ...] = ()
    create_time: Annotated[datetime, Meta(tz=True)] | None = None
    links: tuple[Link, ...] = ()

    @property
    def number(self) -> str:
        return self.purchase_units[0].custom_id if self.purchase_units else ""

    @property
    def money(self) -> Money | None:
        """What is to be paid."""
        amount = self.purchase_units[0].amount if self.purchase_units else None
        return amount.money if amount is not None else None

    @property
    def captures(self) -> Iterator[Capture]:
        return (one for unit in self.purchase_units for one in unit.payments.captures)

    @property
    def refunds(self) -> Iterator[Refund]:
        return (one for unit in self.purchase_units for one in unit.payments.refunds)

    @property
    def approve_url(self) -> str:
        """Where the buyer approves it; its name depends on how the order was asked for."""
        wanted = ("payer-action", "approve")
        return next((link.href for link in self.links if link.rel in wanted), "")


class Event(Struct, frozen=True):
    """A webhook event; what its resource is depends on `event_type`."""

    id: Reference
    event_type: str
    resource: msgspec.Raw = msgspec.Raw(b"{}")


class Detail(Struct, frozen=True):
    issue: str = ""
    description: str = ""


class Refusal(Struct, frozen=True):
    """An error as the APIs word it, or, with the second pair of names, as the token call does."""

    name: str = ""
    message: str = ""
    debug_id: str = ""
    details: tuple[Detail, ...] = ()
    error: str = ""
    error_description: str = ""

    @property
    def issue(self) -> str:
        """The finest word for what is wrong."""
        first = self.details[0].issue if self.details else ""
        return first or self.name or self.error


class NewAmount(Struct, frozen=True):
    currency_code: str
    value: str


class NewUnit(Struct, frozen=True):
    reference_id: str
    custom_id: str
    invoice_id: str
    description: str
    amount: NewAmount


class ExperienceContext(Struct, frozen=True):
    return_url: str
    cancel_url: str
    user_action: str = "PAY_NOW"
    shipping_preference: str = "NO_SHIPPING"
    # A cheque that takes days to clear is not what a checkout waits for.
    payment_method_preference: str = "IMMEDIATE_PAYMENT_REQUIRED"


class PayPalWallet(Struct, frozen=True):
    experience_context: ExperienceContext


class PaymentSource(Struct, frozen=True):
    paypal: PayPalWallet


class NewOrder(Struct, frozen=True):
    purchase_units: tuple[NewUnit]
    payment_source: PaymentSource
    intent: str = "CAPTURE"


class NewRefund(Struct, frozen=True):
    amount: NewAmount
    invoice_id: str
    custom_id: str
    note_to_payer: str


def write_order(request: CreateRequest, value: str) -> bytes:
    """Return the body that asks for an order: the same for the same request."""
    unit = NewUnit(
        reference_id="default",
        custom_id=request.number,
        # Where the merchant lets PayPal block repeated invoices, no order is debited twice there.
        invoice_id=request.order or request.number,
        description=request.subject[:_LONGEST_TEXT],
        amount=NewAmount(request.money.currency, value),
    )
    context = ExperienceContext(request.return_url, request.return_url)
    return msgspec.json.encode(NewOrder((unit,), PaymentSource(PayPalWallet(context))))


def write_refund(request: RefundRequest, value: str) -> bytes:
    return msgspec.json.encode(
        NewRefund(
            amount=NewAmount(request.money.currency, value),
            invoice_id=request.number,
            custom_id=request.number,
            note_to_payer=request.reason[:_LONGEST_NOTE],
        )
    )


def read_body(body: bytes, kind: type[Body]) -> Body | None:
    """Read JSON as `kind`, or None: a body is either whole or not one."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
