"""The scenes of channels with a temper: one that debits only on our call, one that closes nothing,
and one whose slips are paid days later, also when they were cancelled.
"""

from typing import Final

from gateway.model import Attempt
from tests.schedules.exploring import (
    AWAY,
    HOLLOW_AWAY,
    PLAIN,
    STUCK,
    STUCK_AWAY,
    UNANSWERED,
    UNANSWERED_AWAY,
    UNHEARD_AWAY,
    Flows,
    Scene,
)
from tests.schedules.ledger import FirstCapture
from tests.schedules.stage import Stage
from tests.schedules.tills import AT_COUNTER, NATIVE, PURSE_HERE, PURSE_THERE, SLIP

# An application waits no longer for a capture that is so old, and a second call may follow it.
_HALF_A_MINUTE_S: Final = 40.0
# A claim that is so old is given back when the channel says that nothing was debited.
_MORE_THAN_A_MINUTE_S: Final = 70.0


async def capture_and_rival_callback(stage: Stage) -> Flows:
    """F37: an older code is paid as the buyer is debited; whoever claimed may die, and come back
    when the rival has won.
    """
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(NATIVE)
    await stage.applied_before(PURSE_HERE)
    first, second = await stage.attempts()
    return {"B": stage.approve(second.number), "P": stage.pay(first.number)}


async def two_captures_of_one_attempt(stage: Stage) -> Flows:
    """F28: it is captured from the callback, by a poll, and as the buyer comes back."""
    approved = await _approved(stage)
    return {
        "B": stage.approve(approved.number),
        "Q": stage.poll(approved),
        "R": stage.come_back(approved),
    }


async def two_captures_later(stage: Stage) -> Flows:
    """F28: the first call is on its way for longer than it may take, and another one follows."""
    approved = await _approved(stage)
    return {
        "B": stage.approve(approved.number),
        "T": stage.time_passes(_HALF_A_MINUTE_S),
        "Q": stage.poll(approved),
    }


async def capture_and_expiry(stage: Stage) -> Flows:
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    await stage.let_it_expire()
    return {"B": stage.approve(first.number), "E": stage.expire()}


async def capture_and_merchant_close(stage: Stage) -> Flows:
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    return {"B": stage.approve(first.number), "C": stage.close()}


async def capture_and_another_way(stage: Stage) -> Flows:
    """F31: the buyer approves, and has another code made and pays that too."""
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    return {"B": stage.approve(first.number), "A": stage.apply_and_pay(NATIVE)}


async def slow_capture_and_another_way(stage: Stage) -> Flows:
    """F37: the claim is given back while the call is on its way after all, and another code is
    paid.
    """
    approved = await _approved(stage)
    return {
        "B": stage.approve(approved.number),
        "T": stage.time_passes(_MORE_THAN_A_MINUTE_S),
        "Q": stage.poll(approved),
        "A": stage.apply_and_pay(NATIVE),
    }


async def two_captures_of_one_order(stage: Stage) -> Flows:
    """F37: the buyer approves two ways to pay, and nobody waits for the first call any longer."""
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    return {
        "B": stage.approve(first.number),
        "T": stage.time_passes(_HALF_A_MINUTE_S),
        "A": stage.apply_and_pay(PURSE_THERE),
        "Q": stage.poll(first),
    }


async def pending_capture_and_another_way(stage: Stage) -> Flows:
    """The money of a capture is on its way for days, and the buyer does not wait for it."""
    stage.ledger.first_capture = FirstCapture.PENDS
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    await stage.approved_before(first.number)
    stage.patience.let_pass(_MORE_THAN_A_MINUTE_S)
    return {
        "A": stage.apply_and_pay(NATIVE),
        "M": stage.arrive(first.number),
        "Q": stage.poll(first),
    }


async def refused_capture_and_another_approval(stage: Stage) -> Flows:
    """The buyer's bank says no, and the buyer approves again."""
    stage.ledger.first_capture = FirstCapture.IS_REFUSED
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    return {
        "B": stage.approve(first.number),
        "D": stage.approve(first.number),
        "C": stage.close(),
    }


async def unclosable_code_and_another_way(stage: Stage) -> Flows:
    """F13: what cannot be closed is paid while another code is made, and that is paid too."""
    await stage.applied_before(AT_COUNTER)
    [first] = await stage.attempts()
    return {"A": stage.apply_and_pay(NATIVE), "P": stage.pay(first.number)}


async def unclosable_code_and_merchant_close(stage: Stage) -> Flows:
    """F12: the order is closed though a code of it cannot be, and that is paid."""
    await stage.applied_before(AT_COUNTER)
    [first] = await stage.attempts()
    return {"C": stage.close(), "P": stage.pay(first.number), "Q": stage.poll(first)}


async def slip_and_another_way(stage: Stage) -> Flows:
    """F27: a cancelled slip is paid after all, and so is what the buyer chose instead."""
    await stage.applied_before(SLIP)
    [slip] = await stage.attempts()
    return {"A": stage.apply_and_pay(NATIVE), "P": stage.pay(slip.number)}


async def slip_and_merchant_close(stage: Stage) -> Flows:
    """F27: a slip is paid when its order is closed, and no news of it come."""
    await stage.applied_before(SLIP)
    [slip] = await stage.attempts()
    return {"C": stage.close(), "P": stage.pay_unheard(slip.number), "Q": stage.poll(slip)}


async def slip_and_capture(stage: Stage) -> Flows:
    """F27: a slip is paid as the buyer is debited for the same order."""
    await stage.applied_before(SLIP)
    await stage.applied_before(PURSE_HERE)
    slip, second = await stage.attempts()
    return {"B": stage.approve(second.number), "P": stage.pay(slip.number)}


async def _approved(stage: Stage) -> Attempt:
    """What is approved, and the callback that says so is still to come."""
    await stage.applied_before(PURSE_HERE)
    [first] = await stage.attempts()
    stage.ledger.approve(first.number)
    return first


SCENES: Final = [
    Scene(flows, conditions)
    for flows, several in (
        (capture_and_rival_callback, (PLAIN, AWAY, UNANSWERED_AWAY)),
        (two_captures_of_one_attempt, (AWAY, UNHEARD_AWAY, UNANSWERED)),
        (two_captures_later, (AWAY, UNANSWERED_AWAY)),
        (capture_and_expiry, (PLAIN, STUCK_AWAY, HOLLOW_AWAY)),
        (capture_and_merchant_close, (PLAIN, STUCK_AWAY, HOLLOW_AWAY, UNANSWERED_AWAY)),
        (capture_and_another_way, (PLAIN, STUCK_AWAY, HOLLOW_AWAY, UNANSWERED_AWAY)),
        (slow_capture_and_another_way, (STUCK_AWAY, HOLLOW_AWAY)),
        (two_captures_of_one_order, (STUCK, AWAY, HOLLOW_AWAY)),
        (pending_capture_and_another_way, (AWAY,)),
        (refused_capture_and_another_approval, (AWAY,)),
        (unclosable_code_and_another_way, (PLAIN, AWAY)),
        (unclosable_code_and_merchant_close, (PLAIN, AWAY)),
        (slip_and_another_way, (PLAIN, AWAY)),
        (slip_and_merchant_close, (PLAIN, AWAY)),
        (slip_and_capture, (AWAY, UNANSWERED_AWAY)),
    )
    for conditions in several
]
