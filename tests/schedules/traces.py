"""When two schedules are the same: they differ only in the order of steps that share nothing.

A step touches one thing: the database, Redis or the channel. Two steps of different processes can
change places without anybody noticing unless they touch the same thing and one of them writes it.
A trace is what is left of a schedule when such orders are forgotten (a Mazurkiewicz trace, in
Foata's normal form): each step with the earliest round in which it could have been taken.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

READS: Final = (
    "db orders.read",
    "db refunds.of_order",
    "db refunds.released_today",
    "db merchants.read",
    "channel query",
)


class _Kind(Struct, frozen=True):
    """What matters of a step to those who might change places with it."""

    process: str
    thing: str
    reads: bool
    begins: bool  # when a flow begins is compared with when the order was paid

    def shares(self, other: "_Kind") -> bool:
        if self.process == other.process:
            return True
        if self.thing == other.thing:
            return not (self.reads and other.reads)
        return (self.begins and other.writes_db) or (other.begins and self.writes_db)

    @property
    def writes_db(self) -> bool:
        return self.thing == "db" and not self.reads


class Trace:
    """The steps so far; `key` is the same for all schedules that are the same.

    It is a sum, because the steps of a round have no order, of digests, because there are many.
    """

    def __init__(
        self,
        key: int = 0,
        names: frozenset[str] = frozenset(),
        rounds: Mapping[_Kind, int] | None = None,
    ) -> None:
        self.key = key
        self._names = names
        self._rounds = rounds or {}  # the last round with a step of that kind

    def then(self, name: str, step: str) -> "Trace":
        """The trace with one step more."""
        thing, _, _ = step.partition(" ")
        reads = step.startswith(READS)
        kind = _Kind(name.partition("'")[0], thing, reads, name not in self._names)
        earlier = (last for known, last in self._rounds.items() if known.shares(kind))
        now = max(earlier, default=0) + 1
        return Trace(
            self.key + _digest(now, name), self._names | {name}, {**self._rounds, kind: now}
        )


class Past:
    """The steps so far: the whole trace, and what of it is left when somebody dies.

    What a process has read since it last wrote dies with it, so crashes that differ in nothing else
    leave the same behind.
    """

    def __init__(self) -> None:
        self.whole = Trace()
        self._all_dead = Trace()  # up to the last write of anybody
        self._dead: dict[str, Trace] = {}  # of those who have read since

    def then(self, name: str, step: str) -> None:
        """Take one step more."""
        process = name.partition("'")[0]
        others = {
            other: trace.then(name, step) for other, trace in self._dead.items() if other != process
        }
        if step.startswith(READS):
            self._dead = others | {process: self._dead.get(process, self.whole)}
            self.whole = self.whole.then(name, step)
        else:
            self._dead = others
            self.whole = self._all_dead = self.whole.then(name, step)

    def without_last_reads_of(self, process: str) -> Trace:
        """The trace but for what the process, or everybody (""), has read since it last wrote."""
        return self._dead.get(process, self.whole) if process else self._all_dead


@cache
def _digest(now: int, name: str) -> int:
    return int.from_bytes(blake2b(f"{now} {name}".encode(), digest_size=16).digest(), "big")
