"""A connection is lost in the middle of a statement: whether it was committed is not known.

Each statement of a purchase is lost once before the server executed it, and once after it had
committed. The caller repeats what it was told to repeat, and in the end there is one order, one
attempt, one payment and one refund, announced, whichever of the two it was.
"""

from typing import Final

import pytest

from gateway.db import events, idempotency, moves, ordering, refund_moves, refunds
from tests.rig import StartRig
from tests.trouble.judge import judge
from tests.trouble.story import buy
from tests.trouble.wire import When, wired

# Who hears of it: a caller, who repeats; or nobody, and the channel or the sweep does.
STATEMENTS: Final = {
    "claim a key": idempotency._CLAIM,
    "keep an answer": idempotency._KEEP,
    "open an order": ordering._INSERT,
    "open an attempt": moves._OPEN_ATTEMPT,
    "accept an attempt": moves._ACCEPT,
    "settle": moves._SETTLE,
    "deliver an event": events._DELIVERED,
    "open a refund": refund_moves._OPEN,
    "claim a refund": refunds._CLAIM,
    "move a refund": refund_moves._MOVE,
}


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("what", list(STATEMENTS))
async def test_a_lost_answer_of_postgresql_does_nothing_twice_and_loses_nothing(
    start_rig: StartRig, database_url: str, what: str, when: When
) -> None:
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        wire.lose(STATEMENTS[what], when)
        await buy(rig)
        assert wire.lost == 1
        (row,) = await rig.ledger()
        assert (row["captured"], row["refunded"]) == (100, 30)
        async with rig.desk.pool.acquire() as conn:
            for noun in ("orders", "attempts", "refunds"):
                assert await conn.fetchval(f"SELECT count(*) FROM {noun}") == 1
        await judge(rig)
        paid = [each for each in rig.receiver.received if each.type == "order.paid"]
        assert len({each.id for each in paid}) == 1
