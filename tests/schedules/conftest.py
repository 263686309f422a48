"""A stage for each test, and the counts at the end of the run."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
import pytest
import structlog

from tests.conftest import told
from tests.schedules.exploring import Scene, Tally
from tests.schedules.stage import Stage, staged

_COUNTED: Final = "schedules"


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """A gateway whose steps can be held; its log is not read, and would be most of its work."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        async with staged(database_url, redis_url, monkeypatch) as built:
            yield built
    finally:
        structlog.configure(**before)


class Counter:
    """Adds up what was run, by flow; several processes may run the flows."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def add(self, scene: Scene, tally: Tally) -> None:
        self._record(_COUNTED, msgspec.json.encode((scene.name, tally)).decode())


@pytest.fixture
def counter(record_property: Callable[[str, object], None]) -> Counter:
    return Counter(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, list[Tally]] = {}
    for _, text in told(terminalreporter, _COUNTED):
        name, tally = msgspec.json.decode(text, type=tuple[str, Tally])
        counts.setdefault(name, []).append(tally)
    if not counts:
        return
    terminalreporter.section("schedules")
    write = terminalreporter.write_line
    most = max(len(tally.schedules) for tallies in counts.values() for tally in tallies)
    write(_row("preemptions:", *range(most), "left", "crashes", "left", "total"))
    for name, tallies in counts.items():
        by_preemptions = [
            sum(column) for column in zip(*(t.schedules for t in tallies), strict=True)
        ]
        write(
            _row(
                name,
                *by_preemptions,
                sum(t.schedules_left for t in tallies),
                sum(t.crashes for t in tallies),
                sum(t.crashes_left for t in tallies),
                sum(t.total for t in tallies),
            )
        )
    run = sum(tally.total for tallies in counts.values() for tally in tallies)
    is_all = not any(t.schedules_left or t.crashes_left for each in counts.values() for t in each)
    write(f"{run} runs, which is {'all of them' if is_all else 'a sample: SCHEDULES=all for all'}")


def _row(name: str, *cells: int | str) -> str:
    return f"{name:<34}" + "".join(f"{cell:>8}" for cell in cells)
