"""What tests measure and count is told when the run ends, in whichever process they ran."""

from collections.abc import Callable, Iterator

import pytest

Say = Callable[[str], None]
Record = Callable[[str, object], None]  # what `record_property` is


@pytest.fixture
def say(record_property: Record) -> Say:
    """Say what was measured; it is printed when the run ends, also where the test passes."""
    return lambda text: record_property("said", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = [(report.nodeid, text) for report, text in told(terminalreporter, "said")]
    if said:
        terminalreporter.section("measured")
    for nodeid, text in said:
        terminalreporter.write_line(f"{nodeid.rpartition('::')[2]}: {text}")


def told(
    terminalreporter: pytest.TerminalReporter, name: str
) -> Iterator[tuple[pytest.TestReport, str]]:
    """Yield what tests recorded under that name, in whichever process they ran."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "teardown":
                yield from ((report, str(v)) for key, v in report.user_properties if key == name)
