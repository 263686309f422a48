"""The feeds of a process: who reads which merchant's log along, woken when it has grown.

As with the hub's watchers a wake carries no news: whoever is woken reads on from where they are.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

# So that feeds that wake together leave the pool to those who pay.
_READS_AT_ONCE: Final = 4


class Feeds:
    def __init__(self) -> None:
        self.reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._open: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def opened(self, merchant: str) -> Iterator[asyncio.Event]:
        """Wake the reader of a merchant's log. Open first and read then: so nothing is missed."""
        grown = asyncio.Event()
        self._open.setdefault(merchant, set()).add(grown)
        try:
            yield grown
        finally:
            feeds = self._open[merchant]
            feeds.discard(grown)
            if not feeds:
                del self._open[merchant]

    def count(self, merchant: str) -> int:
        return len(self._open.get(merchant, ()))

    def wake(self, merchants: Iterable[str]) -> None:
        for merchant in merchants:
            for grown in self._open.get(merchant, ()):
                grown.set()

    def wake_all(self) -> None:
        self.wake(self._open)
