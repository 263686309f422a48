"""A connection is lost in the middle of a statement: whether it was committed is not known.

Each statement of a purchase is lost once before the server executed it, and once after it had
committed. The caller repeats what it was told to repeat, and in the end there is one order, one
attempt, one payment and one refund, announced, whichever of the two it was.
"""

from typing import Final

import pytest

from gateway.db import attempts, events, idempotency, moves, ordering, refund_moves, refunds
from gateway.model import OrderState, RefundState
from tests.payments.refunds import Owed, must_be_given_back_once, refunds_of
from tests.payments.test_settling import two_attempts
from tests.rig import Rig, StartRig, until
from tests.trouble.judge import judge
from tests.trouble.story import Merchant, buy, hurry_asks, hurry_webhooks
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
SURPLUS: Final = {
    "settle": (moves._SETTLE, 1),
    "let it go": (refund_moves._MOVE + "COMMIT;", 1),
    "sent": (refund_moves._MOVE, 2),
    "done": (refund_moves._MOVE, 3),
}
ASKING: Final = {
    "claim what is overdue": attempts._CLAIM_OVERDUE,
    "settle": moves._SETTLE,
    "say when next": attempts._ASK_NEXT,
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


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("what", list(SURPLUS))
async def test_surplus_is_given_back_once_whatever_answer_of_postgresql_is_lost(
    start_rig: StartRig, database_url: str, what: str, when: When
) -> None:
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        await rig.faults(refund_takes_s=0.0)
        order, winner, surplus = await two_attempts(rig)
        await rig.pay(winner)
        await rig.until_order(order, OrderState.PAID)
        statement, nth = SURPLUS[what]
        wire.lose(statement, when, nth)
        await rig.pay(surplus)

        async def given_back() -> bool:
            await hurry_webhooks(rig)
            return [each.state for each in await refunds_of(rig, order)] == [RefundState.DONE]

        await until(given_back, 30)
        assert wire.lost == 1
        await must_be_given_back_once(rig, Owed(order, winner, surplus))
        await judge(rig)


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("what", [moves._SETTLE, moves._CLOSE_ORDER], ids=["attempt", "order"])
async def test_a_merchant_who_closes_again_closes_once(
    start_rig: StartRig, database_url: str, what: str, when: When
) -> None:
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        merchant = Merchant(rig)
        order = await merchant.open()
        await merchant.apply(order.id)
        wire.lose(what, when)
        closed = await merchant.call("POST", f"/v1/orders/{order.id}/close")
        assert (wire.lost, closed.json["state"]) == (1, "closed")
        assert merchant.told == {"service_unavailable": 1}
        await merchant.until_announced(order.id, "order.closed")
        assert await _count(rig, "SELECT count(*) FROM events") == 1
        assert await _count(rig, "SELECT count(*) FROM attempts WHERE state <> 'closed'") == 0
        await judge(rig)


@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("what", list(ASKING))
async def test_a_payment_nobody_told_of_is_found_whatever_answer_of_postgresql_is_lost(
    start_rig: StartRig, database_url: str, what: str, when: When
) -> None:
    async with wired(database_url) as wire:
        rig = await start_rig(database_url=wire.url, worker=True)
        await rig.faults(drop_callbacks=1)
        merchant = Merchant(rig)
        order = await merchant.open()
        attempt = await merchant.apply(order.id)
        wire.lose(ASKING[what], when)
        await rig.pay(str(attempt.json["number"]))

        async def found() -> bool:
            await hurry_asks(rig)
            return (await merchant.once("GET", f"/v1/orders/{order.id}")).json["state"] == "paid"

        await until(found, 30)
        await merchant.until_announced(order.id)
        assert wire.lost == 1
        await judge(rig)


async def _count(rig: Rig, query: str) -> int:
    return int(await rig.desk.pool.fetchval(query))
