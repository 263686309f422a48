"""That the mutants are what docs/mutants.md says. `make mutants` sees that a test misses each."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from gateway.model import AttemptState, Outcome
from gateway.payments.settle import decide
from tests.factories import NOW, a_report, an_attempt, an_order
from tests.locks.scripts import TEXTS
from tests.mutants import lua
from tests.mutants.mutants import Mutant, in_place, mutants

PAGE: Final = Path(__file__).parents[2] / "docs" / "mutants.md"
_COUNTED: Final = re.compile(r"^\| `(?P<where>[\w.]+)` \| (?P<mutants>\d+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def every_mutant() -> list[Mutant]:
    return mutants()


def test_the_page_counts_the_mutants_that_there_are(every_mutant: list[Mutant]) -> None:
    """Code that changes brings other mutants: `make mutants` has to be run, and says what to
    write.
    """
    counted = {row["where"]: int(row["mutants"]) for row in _COUNTED.finditer(PAGE.read_text())}
    there = Counter(mutant.where for mutant in every_mutant)
    scripts = Counter({f"locks.{name}.lua": len(lua.edits(text)) for name, text in TEXTS.items()})
    assert counted == there | scripts


async def test_a_changed_statement_is_a_statement(
    pool: asyncpg.Pool, every_mutant: list[Mutant]
) -> None:
    """So no test misses a mutant only because PostgreSQL cannot read it."""
    changed = [each for each in every_mutant if each.is_sql]
    assert len(changed) > 100
    async with pool.acquire() as conn:
        for mutant in changed:
            await conn.prepare(mutant.edit.made_in(mutant.text))


def test_a_mutant_stands_where_the_code_does_and_then_the_code_again(
    every_mutant: list[Mutant],
) -> None:
    was, becomes = "case Outcome.CLOSED if live:", "case Outcome.CLOSED if False:"
    (mutant,) = (each for each in every_mutant if each.shown == (was, becomes))
    attempt = an_attempt()
    told = an_order(attempt), attempt, a_report(attempt, Outcome.CLOSED), NOW
    with in_place(mutant):
        assert decide(*told).attempt is AttemptState.PAYING
    assert decide(*told).attempt is AttemptState.CLOSED
