"""What can be paid with, and what each channel can do: the adapters' own data, as a table.

`payonce channel kinds` prints it, and docs/channels.md holds the same.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from gateway.channels.base import Traits
from gateway.channels.kinds import KINDS

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def capabilities() -> list[dict[str, str]]:
    """Return what each channel can do, by name; amounts are in minor units."""
    return [_row(kind, traits) for kind, each in KINDS.items() for traits in each.channels]


def markdown() -> str:
    """Return the same as docs/channels.md holds it: a row for each thing, a column for each
    channel.
    """
    rows = capabilities()
    heads = ["", *(f"`{row['channel']}`" for row in rows)]
    names = [name for name in rows[0] if name != "channel"]
    lines = [[name.replace("_", " "), *(row[name] for row in rows)] for name in names]
    table = (heads, ["---"] * len(heads), *lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in table)


def _row(kind: str, traits: Traits) -> dict[str, str]:
    return {
        "channel": traits.channel,
        "kind": kind,
        "products": ", ".join(_products(traits)),
        "debited_by": "us, by capture" if traits.captures else "the channel",
        "closes": "yes" if traits.closes else "never",
        "live_after_close": "perhaps" if traits.live_after_close else "no",
        "refunds": "yes" if traits.refunds else "no",
        "late_margin": _lasting(traits.late_margin.total_seconds()),
        "currencies": ", ".join(sorted(traits.currencies)),
        "amounts": f"{traits.minimum:,} to {traits.maximum:,}",
        "asked_after": _ladder(traits),
        "bills": "yes" if traits.bills else "no",
    }


def _products(traits: Traits) -> Iterable[str]:
    for product in dict.fromkeys((*traits.products.values(), *sorted(traits.all_products))):
        at = [terminal for terminal, default in traits.products.items() if default == product]
        yield f"{product} ({', '.join(at)})" if at else str(product)


def _ladder(traits: Traits) -> str:
    steps = ", ".join(map(_lasting, traits.ask_ladder_s))
    return f"{steps}, then every {_lasting(traits.slow_ask_s)}"


def _lasting(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return str(timedelta(seconds=seconds))
