"""Doing many things at once, where one that fails or is slow stops no other."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Final

from gateway.outages import tell

_CANCEL_AGAIN_S: Final = 0.5

Work = Coroutine[object, object, None]


async def together(what: str, works: Iterable[Work]) -> int:
    """Run them all to their end, log each failure, and return how many there were."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            tell("work_failed", result, work=what)
    return len(results)


async def end(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel the tasks until they have ended, and log those that failed meanwhile.

    Once is not always enough: where a cancellation meets an answer, what waits for the answer may
    take it and go on (asyncio.wait_for does, before Python 3.12). Who is cancelled while they wait
    here goes when the tasks have ended, and not before: nobody else would end them.
    """
    waiting = set(tasks)
    ended: set[asyncio.Task[object]] = set()
    cancelled: asyncio.CancelledError | None = None
    while waiting:
        for task in waiting:
            task.cancel()
        try:
            now, waiting = await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_S)
        except asyncio.CancelledError as ending_us:
            cancelled = ending_us
        else:
            ended |= now
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            tell("task_failed", error)
    if cancelled is not None:
        raise cancelled


class Crew:
    """Works under way, so many at the most, and so many for one whom they are done for.

    A batch that is awaited waits for its slowest; a crew takes more as soon as there is room, and
    whoever keeps many of its hands busy gets no more of them.
    """

    def __init__(self, what: str, most: int = 200, most_for_one: int = 30) -> None:
        self._what = what
        self._most = most
        self._most_for_one = most_for_one
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        return max(0, self._most - len(self._tasks))

    def crowded(self) -> list[str]:
        """Return for whom nothing more should be begun now."""
        return [whom for whom, count in self._busy.items() if count >= self._most_for_one]

    def begin(self, whom: str, work: Work) -> None:
        task = asyncio.create_task(work)
        self._busy[whom] += 1
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(whom, done))

    def _ended(self, whom: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._busy[whom] -= 1
        if not self._busy[whom]:
            del self._busy[whom]
        if not task.cancelled() and (error := task.exception()) is not None:
            tell("work_failed", error, work=self._what)

    async def end(self) -> None:
        """Cancel what is under way; the rows in PostgreSQL say what is still to be done."""
        await end(self._tasks)
