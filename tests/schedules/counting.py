"""How many schedules were run, by flow; several processes may run the flows."""

from typing import Final

import msgspec
import pytest

from tests.schedules.exploring import Scene, Tally
from tests.telling import Record, told

_COUNTED: Final = "schedules"


class Counter:
    def __init__(self, record: Record) -> None:
        self._record = record

    def add(self, scene: Scene, tally: Tally) -> None:
        self._record(_COUNTED, msgspec.json.encode((scene.name, tally)).decode())


@pytest.fixture
def counter(record_property: Record) -> Counter:
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
    tallies = [tally for each in counts.values() for tally in each]
    schedules = sum(sum(tally.schedules) for tally in tallies)
    crashes = sum(tally.crashes for tally in tallies)
    is_all = not any(tally.schedules_left or tally.crashes_left for tally in tallies)
    which = "all of them" if is_all else "a sample: SCHEDULES=all for all"
    write(f"{schedules} schedules, and {crashes} with a crash: {which}")


def _row(name: str, *cells: int | str) -> str:
    return f"{name:<34}" + "".join(f"{cell:>8}" for cell in cells)
