"""The scenes in which money goes back: surplus by the machine, the rest because somebody asks."""

from typing import Final

from gateway.db import refunds
from gateway.ids import OperatorId
from gateway.model import Attempt, Evidence, NewRefund, Refund, RefundState, Source
from gateway.payments.refund_requests import approve, open_refund, reject, retry
from gateway.payments.refunding import refund_due
from tests.schedules.exploring import (
    AWAY,
    PLAIN,
    UNANSWERED,
    UNANSWERED_AWAY,
    UNHEARD,
    UNHEARD_AWAY,
    Flows,
    Scene,
)
from tests.schedules.scheduler import step
from tests.schedules.stage import MERCHANT, PRICE, Stage
from tests.schedules.tills import ACCOUNT, H5, NATIVE

_BATCH: Final = 50
_MOST: Final = PRICE * 6 // 10  # of which only one fits into what was captured
_LEASES_END: Final = """
    UPDATE refunds SET check_at = now() WHERE order_id = $1 AND check_at IS NOT NULL
"""


async def payment_heard_twice_and_refunded(stage: Stage) -> Flows:
    """F21: surplus is born, heard of from two sides, and refunded in between."""
    _, second = await _one_paid_of_two(stage)
    return {"P": stage.pay(second.number), "Q": stage.poll(second), "R": _sweep_later(stage)}


async def surplus_beside_a_refund(stage: Stage) -> Flows:
    """F35: of a closed order one payment is on its way back when another one arrives."""
    first, second = await _two_codes(stage)
    await stage.close_before()
    await stage.paid_before(first.number)
    return {"P": stage.pay(second.number), "R": _sweep(stage), "S": _sweep_later(stage)}


async def two_sweeps(stage: Stage) -> Flows:
    """F18: the lease of the one ends while it is at work, and the other takes the refund over."""
    await _surplus(stage)
    return {"R": _sweep(stage), "S": _sweep_later(stage)}


async def refund_callback_and_query(stage: Stage) -> Flows:
    """F21: the channel says that the money is back while it is asked about it."""
    stage.ledger.first_refund = RefundState.SENT
    await _surplus(stage)
    await refund_due(stage.raw, _BATCH)
    await stage.errands_are_done()
    refund = await _only_refund(stage)
    return {
        "P": _call_back(stage, refund),
        "Q": _call_back(stage, refund),
        "R": _sweep_later(stage),
    }


async def two_merchant_refunds(stage: Stage) -> Flows:
    """F20: together they are more than was captured."""
    await _paid(stage)
    return {"A": _refund(stage, _MOST), "B": _refund(stage, _MOST)}


async def one_merchant_refund_clicked_twice(stage: Stage) -> Flows:
    """F20: it is one refund."""
    await _paid(stage)
    return {"A": _refund(stage, _MOST, "r-1"), "B": _refund(stage, _MOST, "r-1")}


async def merchant_refund_and_late_surplus(stage: Stage) -> Flows:
    """The winner goes back as the merchant wants it, and what came too much as it must."""
    _, second = await _one_paid_of_two(stage)
    return {"A": _refund(stage, None), "P": stage.pay(second.number), "R": _sweep_later(stage)}


async def approval_and_rejection(stage: Stage) -> Flows:
    """One operator wants it sent, as another one did before, and a third one does not."""
    refund = await _held(stage)
    first, second, third = stage.operators[:3]
    await approve(stage.raw, refund.id, first, "send it")
    return {"A": _approve(stage, refund, second), "B": _reject(stage, refund, third)}


async def two_approvals_and_a_sweep(stage: Stage) -> Flows:
    """Two operators want it sent at once, and the sweep comes by."""
    refund = await _held(stage)
    first, second = stage.operators[:2]
    return {
        "A": _approve(stage, refund, first),
        "B": _approve(stage, refund, second),
        "R": _sweep_later(stage),
    }


async def two_retries(stage: Stage) -> Flows:
    """F36: it failed at the channel, and two operators want another number for it."""
    stage.ledger.first_refund = RefundState.FAILED
    await _surplus(stage)
    await refund_due(stage.raw, _BATCH)
    await stage.errands_are_done()
    refund = await _only_refund(stage)
    first, second = stage.operators[:2]
    return {"A": _retry(stage, refund, first), "B": _retry(stage, refund, second)}


# What was there before.


async def _two_codes(stage: Stage) -> tuple[Attempt, ...]:
    stage.ledger.misbehave(unclosable=True)
    await stage.applied_before(NATIVE)
    await stage.applied_before(H5)
    return await stage.attempts()


async def _one_paid_of_two(stage: Stage) -> tuple[Attempt, ...]:
    first, second = await _two_codes(stage)
    await stage.paid_before(first.number)
    return first, second


async def _paid(stage: Stage) -> None:
    await stage.applied_before(NATIVE)
    [first] = await stage.attempts()
    await stage.paid_before(first.number)


async def _surplus(stage: Stage) -> None:
    _, second = await _one_paid_of_two(stage)
    await stage.paid_before(second.number)


async def _held(stage: Stage) -> Refund:
    """Surplus at which a person has to look."""
    await _surplus(stage)
    await stage.pool.execute("UPDATE merchants SET surplus_refunds = 'held'")
    await refund_due(stage.raw, _BATCH)
    await stage.errands_are_done()
    await stage.pool.execute("UPDATE merchants SET surplus_refunds = 'auto'")
    return await _only_refund(stage)


async def _only_refund(stage: Stage) -> Refund:
    async with stage.pool.acquire() as conn:
        [refund] = await refunds.of_order(conn, stage.order)
    return refund


# Who acts.


async def _sweep(stage: Stage) -> None:
    await refund_due(stage.desk, _BATCH)


async def _sweep_later(stage: Stage) -> None:
    """Sweep when leases have ended."""
    await step("db leases end")
    await stage.pool.execute(_LEASES_END, stage.order)
    await _sweep(stage)


async def _call_back(stage: Stage, refund: Refund) -> None:
    await step("channel gives the money back")
    stage.ledger.end_refunds()
    report = stage.ledger.refund_report(refund.number, Source.CALLBACK)
    body = refund.number.encode()
    evidence = Evidence(ACCOUNT, f"news-{refund.number}", refund.number, "{}", body)
    await stage.desk.settle_refund(report, evidence)


async def _refund(stage: Stage, amount: int | None, number: str | None = None) -> None:
    await open_refund(stage.desk, stage.order, MERCHANT, NewRefund(amount, None, number))


async def _approve(stage: Stage, refund: Refund, operator: OperatorId) -> None:
    await approve(stage.desk, refund.id, operator, "send it")


async def _reject(stage: Stage, refund: Refund, operator: OperatorId) -> None:
    await reject(stage.desk, refund.id, operator, "keep it")


async def _retry(stage: Stage, refund: Refund, operator: OperatorId) -> None:
    await retry(stage.desk, refund.id, operator, "again")


SCENES: Final = [
    Scene(flows, conditions)
    for flows, several in (
        (payment_heard_twice_and_refunded, (PLAIN, AWAY, UNHEARD_AWAY, UNANSWERED_AWAY)),
        (surplus_beside_a_refund, (AWAY, UNANSWERED_AWAY)),
        (two_sweeps, (PLAIN, AWAY, UNHEARD, UNANSWERED)),
        (refund_callback_and_query, (PLAIN, AWAY)),
        (two_merchant_refunds, (PLAIN, AWAY, UNHEARD_AWAY, UNANSWERED_AWAY)),
        (one_merchant_refund_clicked_twice, (PLAIN, AWAY, UNANSWERED_AWAY)),
        (merchant_refund_and_late_surplus, (PLAIN, AWAY, UNANSWERED_AWAY)),
        (approval_and_rejection, (PLAIN, AWAY)),
        (two_approvals_and_a_sweep, (AWAY, UNANSWERED_AWAY)),
        (two_retries, (PLAIN, AWAY)),
    )
    for conditions in several
]
