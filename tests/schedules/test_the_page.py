"""docs/never-twice.md names tests, scenes and guards that exist, and leaves no failure out."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.schedules.scenes import SCENES
from tests.schedules.test_guards import CASES

TESTS: Final = Path(__file__).parent.parent
PAGE: Final = (TESTS.parent / "docs" / "never-twice.md").read_text()
# The failures by their numbers, and what shows each.
ROWS: Final = {
    int(number): shown
    for number, shown in re.findall(r"^\| F(\d+) \|.*\| (.*) \|$", PAGE, re.MULTILINE)
}
_, *GUARDS = re.findall(r"^\| ([a-z' ]+) \| .* \| .* \|$", PAGE, re.MULTILINE)


def first_words() -> dict[str, str]:
    """What every test, and every scene, says of itself."""
    said = {scene.name: scene.flows.__doc__ or "" for scene in SCENES}
    for file in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                said[node.name] = ast.get_docstring(node) or ""
    return said


SAID: Final = first_words()
CONDITIONS: Final = {word for scene in SCENES for word in str(scene.conditions).split("-")}


def test_no_failure_is_left_out() -> None:
    assert list(ROWS) == list(range(1, 39))


@pytest.mark.parametrize("number", ROWS)
def test_what_shows_a_failure_exists_and_begins_with_its_number(number: int) -> None:
    names = [name for name in re.findall(r"`(\w+)`", ROWS[number]) if name not in CONDITIONS]
    assert names
    for name in names:
        numbers, colon, _ = SAID[name].partition(":")
        assert colon, name
        assert f"F{number}" in re.split(r", | and ", numbers), name


def test_each_guard_is_taken_away_by_its_name() -> None:
    """Those of the design, with those that were found to stand behind them."""
    taken_away = {case.of for case in CASES}
    assert set(GUARDS) == taken_away
    assert {
        "capture claim",
        "winner index",
        "version guard",
        "order guard after create",
        "closing of losers",
        "refund uniqueness",
        "callback's script",
    } <= taken_away
