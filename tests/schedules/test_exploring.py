"""What is explored is all there is: no order of steps and no crash is left out."""

import pytest

from tests.schedules import exploring, scenes
from tests.schedules.exploring import AWAY, Explorer, Scene, play
from tests.schedules.scheduler import Path
from tests.schedules.stage import Stage
from tests.schedules.traces import READS

TWO_CLICKS = Scene(scenes.two_applies_of_one_kind, AWAY)


@pytest.mark.timeout(600)
async def test_before_each_step_everything_dies_and_the_process_that_was_to_go_on_dies(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the step before only read: dying a step earlier has left the same behind."""
    played = []

    async def noted(stage: Stage, scene: Scene, path: Path) -> object:
        played.append(path)
        return await play(stage, scene, path)

    monkeypatch.setattr(exploring, "play", noted)
    tally = await Explorer(stage, TWO_CLICKS, preemptions=0).run()
    assert (tally.schedules_left, tally.crashes_left) == (0, 0)
    taken = await play(stage, TWO_CLICKS, Path())
    names = tuple(each.name for each in taken)
    crashes = {(path.names, path.dies) for path in played if path.crash_after is not None}
    read_last = dict.fromkeys({name.partition("'")[0] for name in names}, False)
    anybody_read = False
    for at, each in enumerate(taken):
        process = each.name.partition("'")[0]
        assert ((names[:at], "") in crashes) != anybody_read
        assert not each.others or read_last[process] or (names[:at], process) in crashes
        anybody_read = read_last[process] = each.step.startswith(READS)
