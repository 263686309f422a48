"""The world, in a loop that turns only while a step is taken: hypothesis itself knows no loops."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis.internal.conjecture.engine import ConjectureRunner

from gateway.sandbox.keys import SandboxKeys
from tests.fuzz.counting import Count
from tests.fuzz.machine import Machine
from tests.fuzz.world import opened_world
from tests.rig import keys

__all__ = ["keys"]


@pytest.fixture
def machine(
    database_url: str,
    redis_url: str,
    keys: SandboxKeys,
    monkeypatch: pytest.MonkeyPatch,
    count: Count,
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
        count(InThisWorld.world.tally)
        turning.run(opened.__aexit__(None, None, None))
