"""What the shop sells, what it keeps of an order, and what an order of PayOnce may do to it.

The shop's order is the shop's own: it exists before PayOnce hears of it and its states are words
of the shop's trade. PayOnce's order is read tolerantly (fields we do not use are ignored), and
means something here only after `check` has held it against what the shop itself wrote down.
"""

import enum
import secrets
import time
from collections.abc import Mapping
from typing import Literal

import msgspec

Currency = Literal["CNY", "USD", "BRL"]
# What goods cost in another currency, in hundredths of what they cost in yuan.
PRICES: Mapping[Currency, int] = {"CNY": 100, "USD": 14, "BRL": 76}


class OrderState(enum.StrEnum):
    """unpaid -> awaiting_shipment | closed; nothing leaves the last two."""

    UNPAID = "unpaid"
    AWAITING_SHIPMENT = "awaiting_shipment"
    CLOSED = "closed"


class Effect(enum.StrEnum):
    """What one piece of news about an order did to the shop."""

    PAID = "paid"  # unpaid -> awaiting_shipment, and the goods left the stock
    CLOSED = "closed"  # unpaid -> closed
    NOTED = "noted"  # newer than what we knew, but nothing for the shop to do
    STALE = "stale"  # not newer than what we already knew
    REPEATED = "repeated"  # this very event was dealt with before


class UnknownOrderError(Exception):
    """PayOnce speaks of an order number that this shop never gave out."""


class ContradictionError(Exception):
    """PayOnce's order is not the one we asked for, or undoes what is final: a person must look."""


class OrderConflictError(Exception):
    """This order number is already taken by an order for other goods."""


class SoldOutError(Exception):
    """There is less in stock than was ordered."""


class UnknownProductError(Exception):
    """The shop does not sell this."""


class Product(msgspec.Struct, frozen=True):
    """Something on the shelf; `price` in fen."""

    sku: str
    name: str
    name_en: str
    note: str
    note_en: str
    price: int
    stock: int


class Item(msgspec.Struct, frozen=True):
    """One line of an order; `price` in minor units of the order's currency, for one piece."""

    sku: str
    name: str
    quantity: int
    price: int


class Draft(msgspec.Struct, frozen=True):
    """What the buyer wants: the number under which it is asked for makes asking twice harmless."""

    no: str
    quantities: dict[str, int]
    buyer_id: str | None = None
    allow_duplicate: bool = False
    english: bool = False  # the names that the buyer reads at the checkout and in the wallet
    currency: Currency = "CNY"


class Order(msgspec.Struct, frozen=True):
    """The shop's order. `amount` in minor units; `version` is PayOnce's newest that we have seen.

    `shop_url` is where the shop stood when the order was placed. It goes to PayOnce with the order,
    and a repetition must say the very same, also after the shop has moved.
    """

    no: str
    buyer_id: str | None
    items: tuple[Item, ...]
    amount: int
    currency: str
    state: OrderState
    allow_duplicate: bool
    shop_url: str
    payonce_order: str | None
    checkout_url: str | None
    version: int
    paid_times: int
    asks: int
    created_at: float
    paid_at: float | None


class PayOnceOrder(msgspec.Struct, frozen=True):
    """PayOnce's order, as far as a shop needs it."""

    id: str
    merchant_order_no: str
    amount: int
    currency: str
    state: Literal["open", "paid", "closed"]
    version: int
    checkout_url: str


def new_number() -> str:
    """Give an order number that sorts by day and cannot be guessed."""
    return f"S{time.strftime('%Y%m%d')}{secrets.token_hex(6).upper()}"


def price_in(currency: Currency, fen: int) -> int:
    """Return what something costs there, in minor units: nothing is for nothing."""
    return max(1, fen * PRICES[currency] // 100)


def check(mine: Order, theirs: PayOnceOrder) -> None:
    """Raise ContradictionError unless PayOnce's order asks the very money that ours does.

    A payment that is not for our price in our currency must never release goods, whoever signed
    the news of it.
    """
    if mine.payonce_order not in (None, theirs.id):
        raise ContradictionError(f"{mine.no}: id is {theirs.id}, not {mine.payonce_order}")
    if (theirs.amount, theirs.currency) != (mine.amount, mine.currency):
        raise ContradictionError(
            f"{mine.no}: amount is {theirs.amount} {theirs.currency}, "
            f"not {mine.amount} {mine.currency}"
        )


def effect_of(mine: Order, theirs: PayOnceOrder) -> Effect:
    """Say what a newer order of PayOnce means for ours; both have passed `check`."""
    match (theirs.state, mine.state):
        case ("paid", OrderState.UNPAID):
            return Effect.PAID
        case ("closed", OrderState.UNPAID):
            return Effect.CLOSED
        case ("open", OrderState.UNPAID):
            return Effect.NOTED
        case ("paid", OrderState.AWAITING_SHIPMENT) | ("closed", OrderState.CLOSED):
            return Effect.NOTED
        case _:
            raise ContradictionError(f"{mine.no} is {mine.state}, and PayOnce says {theirs.state}")
