"""Money is an integer of minor units and an ISO 4217 code; it is never a float and never bare."""

from decimal import Decimal
from functools import cache
from typing import Final

from babel.core import Locale
from babel.numbers import format_currency, get_currency_precision
from msgspec import Struct

MAX_AMOUNT: Final = 10**12


class Money(Struct, frozen=True):
    """`amount` minor units of `currency` (CNY 1234 is ¥12.34)."""

    amount: int
    currency: str

    def decimal(self) -> Decimal:
        """Return the amount in major units, exactly."""
        return Decimal(self.amount).scaleb(-get_currency_precision(self.currency))

    def display(self, locale: str) -> str:
        """Return the amount as people of that locale write it."""
        return format_currency(self.decimal(), self.currency, locale=locale)


@cache
def known_currencies() -> frozenset[str]:
    """Return the ISO 4217 codes that we accept."""
    return frozenset(Locale("en").currencies)
