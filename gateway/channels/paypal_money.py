"""PayPal's amounts: decimal text, with as many places as PayPal allows for the currency.

Three currencies are taken whole, also those that have smaller units elsewhere: what cannot be said
exactly is not said at all. From the document "Currency codes".
"""

import re
from decimal import Decimal
from typing import Final

from babel.numbers import get_currency_precision

from gateway.money import MAX_AMOUNT, Money

_WHOLE: Final = frozenset({"HUF", "JPY", "TWD"})
# BRL, CNY and MYR are for merchants of that country alone; an account may be limited.
_IN_CENTS: Final = frozenset(
    {"AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS"}
    | {"MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "USD"}
)
CURRENCIES: Final = _WHOLE | _IN_CENTS
_VALUE: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,8})?")
_CENTS: Final = Decimal("0.01")


def value_of(money: Money) -> str | None:
    """Return the amount as PayPal is told it; None: it cannot be told exactly."""
    amount = money.decimal()
    told = amount.quantize(Decimal(1) if money.currency in _WHOLE else _CENTS)
    return str(told) if told == amount else None


def money_of(currency: str, value: str) -> Money:
    """Return what PayPal said. Raises ValueError for anything but an exact amount."""
    if not _VALUE.fullmatch(value):
        raise ValueError("an amount is not a decimal number")
    amount = Decimal(value).scaleb(get_currency_precision(currency))
    if amount != amount.to_integral_value() or amount > MAX_AMOUNT:
        raise ValueError("an amount has too many places, or is too large")
    return Money(int(amount), currency)
