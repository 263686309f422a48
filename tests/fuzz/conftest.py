"""The world, in a loop that turns only while a step is taken: hypothesis itself knows no loops."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis.internal.conjecture.engine import ConjectureRunner

from gateway.sandbox.keys import SandboxKeys
from tests.fuzz.machine import Machine
from tests.fuzz.world import opened_world
from tests.rig import keys

__all__ = ["keys"]

TALLY: Final = pytest.StashKey[Counter[str]]()


@pytest.fixture
def machine(
    request: pytest.FixtureRequest,
    database_url: str,
    redis_url: str,
    keys: SandboxKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[type[Machine]]:
    """The machine on a world of the test's own; the examples follow one another in it."""
    # Five of six lists would be a variation of the one before; others tell more.
    monkeypatch.setattr(ConjectureRunner, "generate_mutations_from", lambda _self, _data: None)
    opened = opened_world(database_url, redis_url, keys, monkeypatch)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as turning:

        class InThisWorld(Machine):
            world = turning.run(opened.__aenter__())
            runner = turning

        yield InThisWorld
        request.config.stash.setdefault(TALLY, Counter()).update(InThisWorld.world.tally)
        turning.run(opened.__aexit__(None, None, None))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tally = config.stash.get(TALLY, Counter())
    if tally:
        terminalreporter.section("fuzz")
        counts = (f"{count} {what}" for what, count in sorted(tally.items()))
        terminalreporter.write_line(", ".join(counts))
