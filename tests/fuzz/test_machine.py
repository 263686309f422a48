"""Whatever happens, in whatever order: paid at most once, and no money is lost."""

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.machine import Machine

_SAID: Final = os.environ.get("FUZZ")
FUZZ: Final = settings(
    max_examples=int(_SAID or 30),
    stateful_step_count=20,
    # The same lists each time, so that a change which breaks something is what breaks it. Who
    # hunts (FUZZ=10000) wants others each time.
    derandomize=_SAID is None,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if _SAID else 600)
def test_no_list_of_steps_pays_twice_or_loses_money(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=FUZZ)
