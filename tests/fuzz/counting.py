"""What the lists of steps were made of, over all processes that ran some."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import pytest

from tests.telling import Record, told

_COUNTED: Final = "fuzz"
Count = Callable[[Mapping[str, int]], None]


@pytest.fixture
def count(record_property: Record) -> Count:
    return lambda tally: record_property(_COUNTED, msgspec.json.encode(tally).decode())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tally = Counter[str]()
    for _, text in told(terminalreporter, _COUNTED):
        tally.update(msgspec.json.decode(text, type=dict[str, int]))
    if tally:
        terminalreporter.section("fuzz")
        counts = (f"{count} {what}" for what, count in sorted(tally.items()))
        terminalreporter.write_line(", ".join(counts))
