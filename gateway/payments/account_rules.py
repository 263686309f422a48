"""The settings that an account has whatever its kind: what it takes, when it is asked, and how much
surplus it gives back by itself.

They narrow what a channel can do, so that one merchant may have several accounts of a kind: one for
each currency, or another for large amounts.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.channels.account_settings import Setting
from gateway.errors import ConfigurationError
from gateway.money import MAX_AMOUNT, Money

_LADDER: Final = "ask_ladder"
_TIMEOUT: Final = "ask_timeout_s"
_SLOW_LADDER: Final = "slow_ask_ladder"  # of channels that are paid days later
_LIKE: Final = {_LADDER: "3,10,30", _TIMEOUT: "20", _SLOW_LADDER: "3600,21600,86400"}
_STEADY_FOR_S: Final = 1800  # asked every so many seconds for so long, then slowly
_AMOUNT: Final = r"[0-9]{1,18}"


class Bounds(Struct, frozen=True):
    """Which money an account takes, of that which its channel does."""

    currencies: frozenset[str] | None = None  # None: all of the channel's
    minimum: int = 0  # minor units
    maximum: int = MAX_AMOUNT

    def hold(self, money: Money) -> bool:
        named = self.currencies is None or money.currency in self.currencies
        return named and self.minimum <= money.amount <= self.maximum


def read_bounds(settings: Mapping[str, str]) -> Bounds:
    """Read `currencies`, `min_amount` and `max_amount`, where they are set."""
    currencies = settings.get("currencies")
    bounds = Bounds(
        frozenset(currencies.split(",")) if currencies else None,
        int(settings.get("min_amount") or 0),
        int(settings.get("max_amount") or MAX_AMOUNT),
    )
    if bounds.minimum > bounds.maximum:
        raise ConfigurationError("min_amount: is above max_amount, so that nothing is taken")
    return bounds


def read_ladder(settings: Mapping[str, str], *, slow: bool = False) -> tuple[int, ...] | None:
    """Read `ask_ladder` ("3,10,30") or `ask_timeout_s` ("20": every 20 s), where one is set; of a
    `slow` channel, which takes days, `slow_ask_ladder`.
    """
    name = _LADDER if settings.get(_LADDER) else _TIMEOUT
    if slow:
        name = _SLOW_LADDER
    text = settings.get(name)
    if not text:
        return None
    try:
        steps = tuple(int(step) for step in text.split(","))
    except ValueError:
        steps = ()
    if not steps or min(steps) < 1 or (name == _TIMEOUT and len(steps) > 1):
        like = _LIKE[name]
        raise ConfigurationError(f"{name}: must be whole seconds from 1, like {like}; not {text!r}")
    return steps * max(1, _STEADY_FOR_S // steps[0]) if name == _TIMEOUT else steps


def _read_steps(field: str, text: str) -> object:
    return read_ladder({field: text}, slow=field == _SLOW_LADDER)


SETTINGS: Final = (
    Setting(
        "currencies",
        "give those that it takes, like CNY or EUR,USD",
        r"[A-Z]{3}(,[A-Z]{3})*",
        default="",
    ),
    Setting("min_amount", "give whole minor units, like 1", _AMOUNT, default=""),
    Setting("max_amount", "give whole minor units, like 5000000", _AMOUNT, default=""),
    Setting(_LADDER, "give whole seconds, like 3,10,30", default="", read=_read_steps),
    Setting(_TIMEOUT, "give whole seconds, like 20", default="", read=_read_steps),
    Setting(
        _SLOW_LADDER,
        "give whole seconds, like 3600,21600,86400, for channels that are paid days later",
        default="",
        read=_read_steps,
    ),
    Setting(
        "refund_limit", "must be whole minor units from 0, like 100000", _AMOUNT, default="100000"
    ),
    Setting(
        "refund_daily_limit",
        "must be whole minor units from 0, like 1000000",
        _AMOUNT,
        default="1000000",
    ),
)
