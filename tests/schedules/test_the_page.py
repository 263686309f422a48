"""docs/never-twice.md names tests and scenes that exist, and leaves no failure out."""

import re
from pathlib import Path
from typing import Final

from tests.schedules.scenes import SCENES

TESTS: Final = Path(__file__).parent.parent
ROWS: Final = re.findall(
    r"^\| F(\d+) \|.*\| (.*) \|$",
    (TESTS.parent / "docs" / "never-twice.md").read_text(),
    re.MULTILINE,
)


def test_what_the_page_names_exists() -> None:
    defined = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)
    known = {name for file in TESTS.rglob("*.py") for name in defined.findall(file.read_text())}
    known |= {scene.name for scene in SCENES}
    conditions = {word for scene in SCENES for word in str(scene.conditions).split("-")}
    named = {name for _, shown in ROWS for name in re.findall(r"`(\w+)`", shown)}
    assert named - known - conditions == set()


def test_each_failure_is_shown_or_said_to_come_with_its_channel() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 39))
    assert all("`" in shown or "comes with" in shown for _, shown in ROWS)
