"""One step at a time: which flow goes next is decided here and nowhere else.

A flow (an application, a callback, a poll, an errand of one of them) is an asyncio task that stops
at a gate before each of its steps. Exactly one is let through, and the next is chosen when it has
come to its next gate or to its end, so that a list of names says everything about a run.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

# More than any flow needs: whoever comes here goes round in circles.
_MOST_STEPS: Final = 400


class Crash(BaseException):
    """The process is gone. Raised at every gate from then on, so that no clean-up does anything."""


class Diverged(Exception):
    """The run did not follow the list that it was given: something is decided elsewhere too."""


class Flow:
    """One task under the scheduler. `name` of an errand is its parent's with `'` and a number."""

    def __init__(self, name: str, scheduler: "Scheduler") -> None:
        self.name = name
        self.scheduler = scheduler
        self.task: asyncio.Task[object] | None = None
        self.step = ""  # what it will do when it is let through
        self.gate: asyncio.Future[None] | None = None
        self.ready_when: Callable[[], bool] | None = None
        self.naps = False  # it waits for a rival, and looks again when there is news
        self.errands = 0

    @property
    def ready(self) -> bool:
        return self.gate is not None and (self.ready_when is None or self.ready_when())

    @property
    def waits(self) -> bool:
        return self.gate is not None and not self.ready

    @property
    def process(self) -> str:
        """Who dies with it: a flow and its errands run in one process."""
        return self.name.partition("'")[0]


_current: Final[ContextVar[Flow | None]] = ContextVar("flow", default=None)


def current() -> Flow | None:
    """Return the flow that this code runs in; None: nobody schedules it (setting up, recovery)."""
    return _current.get()


async def step(what: str, ready_when: Callable[[], bool] | None = None) -> None:
    """Stop before a step until it is this flow's turn; `ready_when`: not before that is so."""
    flow = current()
    if flow is not None:
        await flow.scheduler.arrive(flow, what, ready_when)


class Path(Struct, frozen=True):
    """A schedule to follow: names as far as they go, then whoever went last goes on.

    `crash_after`: after so many steps all processes die, or only the one that is named.
    """

    names: tuple[str, ...] = ()
    crash_after: int | None = None
    dies: str = ""

    def __str__(self) -> str:
        words = list(self.names)
        if self.crash_after is not None:
            words.append(f"crash:{self.dies}" if self.dies else "crash")
        return " ".join(words)


def read_path(text: str) -> Path:
    """Read what `str(path)` wrote."""
    words = text.split()
    if words and words[-1].startswith("crash"):
        names = tuple(words[:-1])
        return Path(names, len(names), words[-1].removeprefix("crash").removeprefix(":"))
    return Path(tuple(words))


class Taken(Struct, frozen=True):
    """One step as it was taken, and who else could have gone, with which step."""

    name: str
    step: str
    others: tuple[tuple[str, str], ...]
    goes_on: str  # who went last and could have gone on; another choice is a preemption
    at: datetime

    @property
    def preempts(self) -> bool:
        return self.goes_on not in ("", self.name)


class Scheduler:
    """Runs flows along a path and remembers every step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[Taken] = []
        self.flows: list[Flow] = []
        self.news = 0  # how often something was done that a rival may wait for
        self.hours = 0  # how often nobody could go on, so that time passed
        self.in_transaction = False  # a flow holds the row lock that transactions begin with
        self._running = 0
        self._still = asyncio.Event()
        self._dead: set[str] = set()
        self._last: Flow | None = None

    def start(self, name: str, work: Coroutine[object, object, object]) -> Flow:
        flow = Flow(name, self)
        self.flows.append(flow)
        self._running += 1
        self._still.clear()
        token = _current.set(flow)
        try:
            flow.task = asyncio.create_task(work)
        finally:
            _current.reset(token)
        flow.task.add_done_callback(self._ended)
        return flow

    def start_errand(self, parent: Flow, work: Coroutine[object, object, object]) -> None:
        parent.errands += 1
        self.start(f"{parent.name}'{parent.errands}", work)

    async def arrive(
        self, flow: Flow, what: str, ready_when: Callable[[], bool] | None = None
    ) -> None:
        if flow.process in self._dead:
            raise Crash
        assert flow.gate is None, f"{flow.name} takes two steps at once"
        if flow.naps:
            flow.naps, seen = False, (self.news, self.hours)
            ready_when = lambda: (self.news, self.hours) != seen  # noqa: E731
        flow.step, flow.ready_when = what, ready_when
        flow.gate = asyncio.get_running_loop().create_future()
        self._stopped()
        await flow.gate

    async def run(self) -> None:
        """Let flows through, one at a time, until all have ended or died."""
        while True:
            await self._still.wait()
            if len(self.taken) == self.path.crash_after and await self._crash():
                return
            ready = [flow for flow in self.flows if flow.ready]
            if ready:
                self._let_through(self._choose(ready), ready)
            elif any(flow.waits for flow in self.flows):
                self.hours += 1
            else:
                break
            assert len(self.taken) + self.hours < _MOST_STEPS, "the flows go round in circles"

    def _choose(self, ready: Sequence[Flow]) -> Flow:
        if len(self.taken) < len(self.path.names):
            wanted = self.path.names[len(self.taken)]
            found = next((flow for flow in ready if flow.name == wanted), None)
            if found is None:
                could = ", ".join(flow.name for flow in ready)
                so_far = "\n".join(f"{each.name} {each.step}" for each in self.taken)
                raise Diverged(
                    f"step {len(self.taken) + 1}: {wanted} cannot go, only {could}; after\n{so_far}"
                )
            return found
        return next((flow for flow in ready if flow is self._last), ready[0])

    def _let_through(self, flow: Flow, ready: Sequence[Flow]) -> None:
        goes_on = next((each.name for each in ready if each is self._last), "")
        others = tuple((each.name, each.step) for each in ready if each is not flow)
        self.taken.append(Taken(flow.name, flow.step, others, goes_on, datetime.now(UTC)))
        self._last = flow
        gate, flow.gate, flow.ready_when = flow.gate, None, None
        assert gate is not None
        self._running += 1
        self._still.clear()
        gate.set_result(None)

    def _stopped(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._still.set()

    def _ended(self, _task: "asyncio.Task[object]") -> None:
        self._stopped()

    async def _crash(self) -> bool:
        """Kill who shall die; True: nobody is left."""
        processes = {flow.process for flow in self.flows}
        self._dead |= {self.path.dies} if self.path.dies else processes
        for flow in self.flows:
            if flow.process in self._dead and flow.gate is not None:
                gate, flow.gate = flow.gate, None
                self._running += 1
                self._still.clear()
                gate.set_exception(Crash())
        await self._still.wait()
        return self._dead >= processes

    async def abandon(self) -> None:
        """Kill whatever is left, after a failure."""
        self.path = Path()
        await self._crash()
        self.errors()  # looked at, so that nobody complains of them

    def errors(self) -> list[tuple[str, BaseException]]:
        """Return how flows failed; those that died with their process did not fail."""
        found = []
        for flow in self.flows:
            assert flow.task is not None
            error = flow.task.exception() if flow.task.done() else None
            if error is not None and not isinstance(error, Crash):
                found.append((flow.name, error))
        return found
