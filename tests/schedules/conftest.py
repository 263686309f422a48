"""A stage for each test, and the counts at the end of the run."""

import logging
from collections.abc import AsyncIterator
from typing import Final

import pytest
import structlog

from tests.schedules.exploring import Scene, Tally
from tests.schedules.stage import Stage, staged

COUNTS: Final = pytest.StashKey[dict[str, list[Tally]]]()


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
    """Adds up what was run, by flow."""

    def __init__(self, counts: dict[str, list[Tally]]) -> None:
        self._counts = counts

    def add(self, scene: Scene, tally: Tally) -> None:
        self._counts.setdefault(scene.name, []).append(tally)


@pytest.fixture
def counter(request: pytest.FixtureRequest) -> Counter:
    return Counter(request.config.stash.setdefault(COUNTS, {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash.get(COUNTS, {})
    if not counts:
        return
    terminalreporter.section("schedules")
    write = terminalreporter.write_line
    most = max(len(tally.schedules) for tallies in counts.values() for tally in tallies)
    write(_row("preemptions:", *range(most), "crashes", "total"))
    for name, tallies in counts.items():
        by_preemptions = [
            sum(column) for column in zip(*(t.schedules for t in tallies), strict=True)
        ]
        crashes, in_all = sum(t.crashes for t in tallies), sum(t.total for t in tallies)
        write(_row(name, *by_preemptions, crashes, in_all))
    run = sum(tally.total for tallies in counts.values() for tally in tallies)
    left = sum(tally.left for tallies in counts.values() for tally in tallies)
    more = f"; at least {left} more with SCHEDULES=all" if left else ", which is all of them"
    write(f"{run} schedules{more}")


def _row(name: str, *cells: int | str) -> str:
    return f"{name:<30}" + "".join(f"{cell:>9}" for cell in cells)
