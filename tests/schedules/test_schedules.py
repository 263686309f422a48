"""Whatever the order of steps, and whoever dies when: paid at most once, and no money is lost."""

import os
from typing import Final

import pytest

from tests.schedules.counting import Counter
from tests.schedules.exploring import Explorer, Scene, play, told
from tests.schedules.scenes import SCENES
from tests.schedules.scheduler import read_path
from tests.schedules.stage import Stage

PREEMPTIONS: Final = int(os.environ.get("PREEMPTIONS", "3"))
# How many of each scene, `all` of them, or one that is named.
_SAID: Final = os.environ.get("SCHEDULES", "110")
_LIMIT: Final = None if _SAID == "all" else int(_SAID)
_ONE: Final = os.environ.get("SCHEDULE")


@pytest.mark.timeout(0 if _LIMIT is None else 600)
@pytest.mark.parametrize("scene", SCENES, ids=str)
async def test_no_schedule_pays_twice_or_loses_money(
    stage: Stage, scene: Scene, counter: Counter
) -> None:
    if _ONE is not None:
        print(*told(await play(stage, scene, read_path(_ONE))), sep="\n")  # noqa: T201
        return
    counter.add(scene, await Explorer(stage, scene, PREEMPTIONS).run(_LIMIT))


@pytest.mark.timeout(600)
async def test_the_same_list_gives_the_same_run(stage: Stage) -> None:
    """What a failure prints would be worth nothing otherwise."""
    for scene in SCENES:
        first = await play(stage, scene, read_path(""))
        names = " ".join(each.name for each in first)
        again = await play(stage, scene, read_path(names))
        assert told(again) == told(first)
