"""What Stripe's API says and hears, as types.

Field names and values are those of the API reference, version 2026-10-28.endive: PaymentIntents,
Checkout Sessions, Refunds and Events. Fields that we neither send nor read are left out. Money is
in minor units, currencies are written in small letters, times are seconds since 1970.

Everything that we make carries our number in its metadata, and is found again by it.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.channels.base import BuyerDetails, CreateRequest, RefundRequest
from gateway.errors import ChannelRefused
from gateway.ids import is_number, time_of
from gateway.money import Money

API_VERSION: Final = "2026-10-28.endive"
NUMBER: Final = "number"  # the name of our number in the metadata
# Stripe takes none that ends a day ahead by its own clock; ours may be ahead of that.
LONGEST_SESSION: Final = timedelta(hours=23, minutes=58)

_LONGEST_NAME: Final = 250

Body = TypeVar("Body")
Fields = dict[str, str]

# Ids are stored, shown and put into paths, so nothing but letters, digits and _ passes for one.
IntentId = Annotated[str, Meta(pattern=r"^pi_[0-9A-Za-z_]{1,200}\Z")]
SessionId = Annotated[str, Meta(pattern=r"^cs_[0-9A-Za-z_]{1,200}\Z")]
RefundId = Annotated[str, Meta(pattern=r"^(re|pyr)_[0-9A-Za-z_]{1,200}\Z")]
EventId = Annotated[str, Meta(pattern=r"^evt_[0-9A-Za-z_]{1,200}\Z")]
Minor = Annotated[int, Meta(ge=0, lt=10**12)]
Currency = Annotated[str, Meta(pattern=r"^[a-z]{3}\Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]{1,5000}\Z")]
Metadata = dict[str, str]


class IntentStatus(StrEnum):
    """The states of a PaymentIntent that mean something to us."""

    REQUIRES_CAPTURE = "requires_capture"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class Charge(Struct, frozen=True):
    amount_refunded: Minor


class BoletoDetails(Struct, frozen=True):
    """What can be paid at a bank: the slip's number, its page, and until when."""

    number: Annotated[str, Meta(pattern=r"^[ -~]{1,200}\Z")]
    hosted_voucher_url: Url
    pdf: Url
    expires_at: Annotated[int, Meta(ge=0, lt=10**11)]


class NextStep(Struct, frozen=True):
    boleto_display_details: BoletoDetails | None = None


class PaymentIntent(Struct, frozen=True):
    id: IntentId
    status: str
    currency: Currency
    amount_received: Minor = 0
    metadata: Metadata = {}
    # The charge where we asked for it, and else its id.
    latest_charge: Charge | str | None = None
    next_action: NextStep | None = None

    def __post_init__(self) -> None:
        if self.status == IntentStatus.SUCCEEDED and not self.amount_received:
            raise ValueError("it succeeded, and nothing arrived")

    @property
    def money(self) -> Money:
        """What arrived."""
        return Money(self.amount_received, self.currency.upper())

    @property
    def refunded(self) -> int:
        """What was given back since, where we asked for it."""
        charge = self.latest_charge
        return charge.amount_refunded if isinstance(charge, Charge) else 0


class Session(Struct, frozen=True):
    """A Checkout Session; its PaymentIntent is there once the buyer has confirmed it."""

    id: SessionId
    status: str | None
    expires_at: Annotated[int, Meta(ge=0, lt=10**11)]
    metadata: Metadata = {}
    url: Url | None = None
    payment_intent: PaymentIntent | str | None = None

    @property
    def intent(self) -> PaymentIntent | None:
        return self.payment_intent if isinstance(self.payment_intent, PaymentIntent) else None


class Refund(Struct, frozen=True):
    id: RefundId
    status: str | None
    amount: Minor
    currency: Currency
    metadata: Metadata = {}

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency.upper())


class IntentsFound(Struct, frozen=True):
    data: list[PaymentIntent]


class RefundsListed(Struct, frozen=True):
    data: list[Refund]
    has_more: bool


class EventData(Struct, frozen=True):
    object: msgspec.Raw


class Event(Struct, frozen=True):
    """A webhook's body; `account` is there when it is about an account connected to another."""

    id: EventId
    type: str
    livemode: bool
    data: EventData
    account: str | None = None


class ErrorBody(Struct, frozen=True):
    """What an answer that is not yes says; the `payment_intent` is the one that it is about."""

    type: str
    code: str | None = None
    message: str | None = None
    param: str | None = None
    payment_intent: PaymentIntent | None = None


class ErrorAnswer(Struct, frozen=True):
    error: ErrorBody


def read_body(body: bytes | msgspec.Raw, kind: type[Body]) -> Body | None:
    """Return what a text says as `kind`, or None where it says something else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def number_in(metadata: Metadata) -> str | None:
    """Return our number, of a payment or of a refund, where there is one."""
    number = metadata.get(NUMBER, "")
    return number if is_number(number) else None


def session_fields(request: CreateRequest) -> Fields:
    """Return the fields of a Checkout Session that debits nobody before it is captured: the same
    for the same request.
    """
    longest = time_of(request.number) + LONGEST_SESSION
    return {
        "mode": "payment",
        "payment_method_types[0]": "card",
        "client_reference_id": request.number,
        **_metadata("metadata", request.number),
        **_metadata("payment_intent_data[metadata]", request.number),
        "payment_intent_data[capture_method]": "manual",
        "payment_intent_data[description]": request.subject,
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": request.money.currency.lower(),
        "line_items[0][price_data][unit_amount]": str(request.money.amount),
        "line_items[0][price_data][product_data][name]": request.subject[:_LONGEST_NAME],
        # The buyer's browser comes back to the same page either way, and is believed neither way.
        "success_url": request.return_url,
        "cancel_url": request.return_url,
        "expires_at": str(int(min(request.pay_by, longest).timestamp())),
    }


def boleto_fields(request: CreateRequest) -> Fields:
    """Return the fields of a PaymentIntent that is a slip at once: the same for the same request.

    Raises ChannelRefused where nobody said who pays.
    """
    buyer = request.buyer
    if buyer is None:
        raise ChannelRefused("buyer_missing", "a Boleto names who pays; send `buyer`")
    return {
        "amount": str(request.money.amount),
        "currency": request.money.currency.lower(),
        "description": request.subject,
        **_metadata("metadata", request.number),
        "payment_method_types[0]": "boleto",
        "payment_method_data[type]": "boleto",
        **_buyer_fields(buyer),
        "payment_method_options[boleto][expires_after_days]": str(request.voucher_days),
        "confirm": "true",
    }


def refund_fields(request: RefundRequest) -> Fields:
    return {
        "payment_intent": request.payment_ref,
        "amount": str(request.money.amount),
        **_metadata("metadata", request.number),
        "metadata[reason]": request.reason,
    }


def search_fields(number: str) -> Fields:
    return {"query": f"metadata['{NUMBER}']:'{number}'", "expand[0]": "data.latest_charge"}


def _buyer_fields(buyer: BuyerDetails) -> Fields:
    said = "payment_method_data[billing_details]"
    address = buyer.address
    return {
        "payment_method_data[boleto][tax_id]": buyer.tax_id,
        f"{said}[name]": buyer.name,
        f"{said}[email]": buyer.email,
        f"{said}[address][line1]": address.line1,
        f"{said}[address][city]": address.city,
        f"{said}[address][state]": address.state,
        f"{said}[address][postal_code]": address.postal_code,
        f"{said}[address][country]": address.country,
    }


def _metadata(field: str, number: str) -> Fields:
    return {f"{field}[{NUMBER}]": number}
