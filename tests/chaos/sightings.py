"""What was seen from outside: who was given a way to pay, and when somebody was told of the end."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

_KEPT_IN_REDIS_S: Final = 10.0


class Given(Struct, frozen=True):
    """An answer with a next action, and when it was asked for."""

    began: float
    where: str


class Trouble(Struct, frozen=True):
    """When Redis was not to be relied on."""

    since: float
    until: float


class Late(Struct, frozen=True):
    """A way to pay an order that had ended. `excused`: Redis had failed, and it was ten seconds at
    most, which is as long as a cached answer lives.
    """

    order: str
    what: str
    excused: bool


class Sightings:
    """Moments are those of one clock, the monotonic one of this process."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.problems: list[str] = []  # what no fault excuses
        self.paid: set[str] = set()  # the numbers that buyers paid, or let be debited
        self._given: dict[str, list[Given]] = defaultdict(list)
        self._ended: dict[str, tuple[float, str]] = {}
        self._notes: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def note(self, order: str, what: str) -> None:
        """Remember what happened to an order, for its timeline."""
        self._notes[order].append((time.monotonic(), what))

    def gave_a_way_to_pay(self, order: str, began: float, where: str) -> None:
        self._given[order].append(Given(began, where))
        self.note(order, f"a way to pay by {where}")

    def told(self, order: str, state: str) -> None:
        """Somebody was told, now, that the order is paid or closed: it was committed before."""
        if order not in self._ended:
            self._ended[order] = (time.monotonic(), state)
            self.note(order, f"told that it is {state}")

    def given_too_late(self, troubles: Sequence[Trouble]) -> Iterator[Late]:
        """Find the answers that were begun after the end and carry a next action."""
        for order, (ended, state) in self._ended.items():
            for given in self._given[order]:
                after_s = given.began - ended
                if after_s > 0:
                    said = f"{given.where} gave a way to pay {after_s:.3f} s after it was {state}"
                    yield Late(order, said, _excused(ended, given.began, troubles))

    def timeline(self, order: str) -> list[tuple[float, str]]:
        return self._notes[order]


def _excused(ended: float, began: float, troubles: Sequence[Trouble]) -> bool:
    return began - ended <= _KEPT_IN_REDIS_S and any(
        trouble.since <= began and trouble.until >= ended - _KEPT_IN_REDIS_S for trouble in troubles
    )
