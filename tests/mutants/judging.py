"""Run the tests that judge a mutant until one of them fails, for each mutant, in one process."""

from collections.abc import Callable, Sequence
from typing import Final

import pytest
from msgspec import Struct

from tests.mutants.mutants import Mutant, in_place

_OPTIONS: Final = (
    *("-p", "no:terminal", "-p", "no:valkey"),
    *("-o", "addopts=", "--import-mode=importlib", "--timeout=30"),
)


class Judged(Struct, frozen=True):
    """A mutant, and the test that missed what it lacks; None: it survived."""

    mutant: Mutant
    missed_by: str | None


class Court:
    """A pytest plugin whose run is one verdict for each mutant."""

    def __init__(self, mutants: Sequence[Mutant], tell: Callable[[Judged], None]) -> None:
        self.judged: list[Judged] = []
        self.done = False
        self._mutants = mutants
        self._tell = tell
        self._failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        judges = list(session.items)
        self._must_all_pass(judges, session)
        for mutant in self._mutants:
            able = [each for each in judges if each.nodeid.startswith(mutant.judges)]
            with in_place(mutant):
                missed = self._first_to_fail(able, session)
            if missed:  # it is likely to miss the next one as well
                judges.remove(missed)
                judges.insert(0, missed)
            self.judged.append(Judged(mutant, missed.name if missed else None))
            self._tell(self.judged[-1])
        self._must_all_pass(judges, session)  # no mutant has left anything broken behind
        self.done = True
        return True

    def _must_all_pass(self, judges: Sequence[pytest.Item], session: pytest.Session) -> None:
        if failed := self._first_to_fail(judges, session):
            raise pytest.UsageError(f"{failed.nodeid} fails without any mutant")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    def _first_to_fail(
        self, judges: Sequence[pytest.Item], session: pytest.Session
    ) -> pytest.Item | None:
        for judge in judges:
            self._failed = False
            # What comes next is not known: all is taken down but what belongs to the session.
            judge.ihook.pytest_runtest_protocol(item=judge, nextitem=session)
            if self._failed:
                return judge
        return None


def judge(mutants: Sequence[Mutant], tell: Callable[[Judged], None]) -> list[Judged]:
    """Judge the mutants; `tell` hears of each as soon as it is judged."""
    court = Court(mutants, tell)
    paths = sorted({path for mutant in mutants for path in mutant.judges})
    status = pytest.main([*_OPTIONS, *paths], plugins=[court])
    if not court.done:
        raise SystemExit(f"The tests cannot judge: pytest ended with {status}.")
    return court.judged
