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
    row = "{:<30} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}".format
    write = terminalreporter.write_line
    write(row("preemptions:", "0", "1", "2", "3", "crashes", "total"))
    total = 0
    for name, tallies in counts.items():
        by_preemptions = [
            sum(column) for column in zip(*(t.schedules for t in tallies), strict=True)
        ]
        crashes, all_of_them = sum(t.crashes for t in tallies), sum(t.total for t in tallies)
        total += all_of_them
        write(row(name, *by_preemptions, crashes, all_of_them))
    left = sum(tally.left for tallies in counts.values() for tally in tallies)
    more = f"; at least {left} more with SCHEDULES=all" if left else ", which is all of them"
    write(f"{total} schedules{more}")
