"""The faults stop, time passes, persons decide: then all money must be where it belongs.

Payments are found by asking first: no callback is delivered until every one has been recorded that
the channel tells of when it is asked.
"""

from typing import Final

from tests.fuzz.judging import (
    faults_of_the_end,
    faults_of_the_moment,
    faults_of_the_money,
    faults_of_the_waiting,
    faults_of_what_is_shown,
    read_books,
    tally,
)
from tests.fuzz.postbox import deliver
from tests.fuzz.world import BY_HAND, Broken, World

# More than anything takes: a refund that failed is asked for again, approved, sent and asked about.
_ROUNDS: Final = 12
_DUE: Final = (
    # What was to be debited long ago, and nobody knows whether it was.
    """
    UPDATE attempts SET capture_claimed_at = capture_claimed_at - interval '2 minutes'
    WHERE state IN ('created', 'paying') AND capture_claimed_at > now() - interval '1 minute'
    """,
    "UPDATE attempts SET ask_at = now(), calling_until = NULL WHERE ask_at IS NOT NULL",
    "UPDATE refunds SET check_at = now() WHERE check_at IS NOT NULL",
    "UPDATE events SET deliver_at = now() WHERE deliver_at IS NOT NULL",
    "UPDATE callbacks SET retry_at = now() WHERE retry_at IS NOT NULL",
)
_LATER: Final = (
    "UPDATE orders SET expires_at = now(), due_at = now() WHERE state = 'open'",
    """
    UPDATE attempts SET pay_by = pay_by - interval '9 days',
        live_until = live_until - interval '9 days' WHERE live_until > now()
    """,
)
_WAITING: Final = """
    SELECT r.id, r.state, a.channel FROM refunds r JOIN attempts a ON a.id = r.attempt_id
    WHERE r.reason = 'surplus' AND r.state IN ('held', 'failed', 'rejected') AND r.check_at IS NULL
    ORDER BY r.id
"""


async def settle_down(world: World) -> None:
    """Let everything settle, and judge it. Raises Broken."""
    await world.calm()
    await _be_due(world)
    await world.sweep()
    for statement in _LATER:
        await world.desk.pool.execute(statement)
    await _sweep_all(world)
    await must_be_whole(await faults_of_the_money(world, though_untold=True))
    for letter in world.postbox.letters:
        if not letter.acknowledged:
            await deliver(world.rig.http, world.rig.url, letter)
    await _sweep_all(world)
    await must_be_whole(await faults_of_the_waiting(world))
    await _decide_all(world)
    await world.read_on()
    await must_be_whole(
        await faults_of_the_moment(world)
        + await faults_of_what_is_shown(world)
        + await faults_of_the_end(world)
    )
    world.tally += tally(await read_books(world))


async def must_be_whole(faults: list[str]) -> None:
    if faults:
        raise Broken("\n".join(faults))


async def _be_due(world: World) -> bool:
    """Whatever will be due some day is due now; is there any?"""
    done = [await world.desk.pool.execute(statement) for statement in _DUE]
    return any(status != "UPDATE 0" for status in done)


async def _sweep_all(world: World) -> None:
    for _ in range(_ROUNDS):
        due = await _be_due(world)
        if not await world.sweep() and not due:
            return


async def _decide_all(world: World) -> None:
    """Two operators let go what waits, and have sent again what was refused."""
    for _ in range(_ROUNDS):
        waiting = await world.desk.pool.fetch(_WAITING)
        if not waiting:
            return
        for refund, state, channel in waiting:
            if state == "held" and channel in BY_HAND:
                await world.return_by_hand(refund)
                continue
            await world.decide(refund, "approve" if state == "held" else "retry", 0)
            await world.decide(refund, "approve", 1)  # and where the second had asked already,
            await world.decide(refund, "approve", 0)  # the first approves
        await _sweep_all(world)
