"""When two schedules are the same: they differ only in the order of steps that share nothing.

A step touches one thing: the database, Redis or the channel. Two steps of different processes can
change places without anybody noticing unless they touch the same thing and one of them writes it.
A trace is what is left of a schedule when such orders are forgotten (a Mazurkiewicz trace, in
Foata's normal form): each step with the earliest round in which it could have been taken.
"""

from typing import Final

import msgspec
from msgspec import Struct

_READS: Final = ("db orders.read", "db events.undelivered", "channel query")


class _Did(Struct, frozen=True):
    name: str
    process: str
    thing: str
    reads: bool
    begins: bool  # when a flow begins is compared with when the order was paid
    round: int

    def shares(self, other: "_Did") -> bool:
        if self.process == other.process:
            return True
        if self.thing == other.thing:
            return not (self.reads and other.reads)
        return (self.begins and other.thing == "db" and not other.reads) or (
            other.begins and self.thing == "db" and not self.reads
        )


class Trace:
    """The steps so far, by rounds."""

    def __init__(self, steps: tuple[_Did, ...] = ()) -> None:
        self._steps = steps
        self.key: Final = frozenset(
            (did.round, did.name, sum(each.name == did.name for each in steps[:at]))
            for at, did in enumerate(steps)
        )

    def then(self, name: str, step: str) -> "Trace":
        """The trace with one step more."""
        process = name.partition("'")[0]
        begins = all(did.name != name for did in self._steps)
        did = _Did(name, process, step.split(maxsplit=1)[0], step.startswith(_READS), begins, 0)
        last = max((earlier.round for earlier in self._steps if did.shares(earlier)), default=0)
        return Trace((*self._steps, msgspec.structs.replace(did, round=last + 1)))
