"""Lists of steps that went wrong once, or nearly did; each by what it shows."""

from collections.abc import Sequence

import pytest

from tests.fuzz.machine import Machine, play
from tests.fuzz.steps import Apply, Decide, Deliver, Fault, Open, Pay, Step

_LOST_REFUND = {"lose_answer": {"verb": "refund", "after_executing": True}}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [
                Open(),
                Apply(way="alipay_pc"),
                Pay(),
                Deliver(),
                Pay(again=True),
                Deliver(),
                Fault("alipay", _LOST_REFUND),
                Decide(verb="approve", operator=0),
                Decide(verb="approve", operator=1),
            ],
            id="the answer to the refund of a second payment under one number is lost",
        ),
        pytest.param(
            [Open(), Apply(key="k"), Apply(way="alipay_wap"), Apply(key="k")],
            id="a key is repeated when its attempt is no longer offered",
        ),
    ],
)
def test_what_went_wrong_once_ends_well(machine: type[Machine], steps: Sequence[Step]) -> None:
    machine.runner.run(play(machine.world, steps))
