"""Refunds that people ask for: the merchant's, and operators' decisions about those that wait.

A merchant refunds what was captured, never more: the sum is checked on the order as it was read,
and every write about its refunds raises the order's version. What is held goes only when two
operators want it: the first one asks, another one approves.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg
from msgspec.structs import replace

from gateway.db import orders, refund_moves, refunds
from gateway.errors import (
    ChannelDown,
    ChannelUnavailable,
    Forbidden,
    NotFound,
    OrderNotPaid,
    RefundConflict,
    RefundExceedsCaptured,
    RefundNotSupported,
    ServiceUnavailable,
)
from gateway.ids import OperatorId, OrderId, RefundId, new_refund_id
from gateway.model import Attempt, NewRefund, Order, Refund, RefundReason, RefundState
from gateway.payments.desk import Desk
from gateway.payments.refund_rules import (
    RETRIES,
    Standing,
    ended,
    held,
    left_of,
    read,
    renumbered,
    write,
)
from gateway.payments.refunding import query_refund, refund_now

Decision = Callable[[Standing], Refund]


async def open_refund(
    desk: Desk, order_id: OrderId, merchant: str, new: NewRefund
) -> tuple[Refund, bool]:
    """Open a merchant's refund of a paid order, and begin to send it; True: it is a new one.

    The same `merchant_refund_no` with the same fields answers the same refund again. Raises
    NotFound, OrderNotPaid, RefundExceedsCaptured, RefundNotSupported, RefundConflict.
    """
    for _ in range(RETRIES):
        async with desk.pool.acquire() as conn:
            reading = await orders.read(conn, order_id)
            known = await refunds.of_order(conn, order_id)
        if reading is None or reading[0].merchant != merchant:
            raise NotFound(f"There is no order {order_id}.")
        same = _same(known, new)
        if same is not None:
            return same, False
        order, now = reading
        refund = _new_refund(order, known, new, now)
        if not await _can_refund(desk, order.attempt(refund.attempt)):
            raise RefundNotSupported("The channel cannot refund; return the money by hand.")
        if await _insert(desk, order, refund):
            desk.errands.run(refund_now(desk, refund.id))
            return refund, True
    raise ServiceUnavailable("The order is being changed by many at once; try again in a moment.")


async def approve(desk: Desk, refund_id: RefundId, operator: OperatorId, note: str) -> Refund:
    """Ask that a held refund be sent, or, where another operator has asked, let it go.

    Raises NotFound, Forbidden for who asked already, RefundConflict, RefundNotSupported.
    """
    for _ in range(RETRIES):
        was = await _read(desk, refund_id)
        refund = was.refund
        if refund.approved_by == operator:
            return refund  # a repeat of what let it go
        if refund.state is not RefundState.HELD:
            raise RefundConflict(f"The refund is {refund.state}; only what is held is approved.")
        if refund.asked_by == operator:
            raise Forbidden("You asked that it be sent; another operator has to approve.")
        if not await _can_refund(desk, was.attempt):
            raise RefundNotSupported("The channel cannot refund; return the money by hand.")
        if refund.asked_by is None:
            async with desk.pool.acquire() as conn:
                if await refunds.ask(conn, refund.id, operator, note):
                    return replace(refund, asked_by=operator, note=note, updated_at=was.now)
            continue
        ready = replace(
            refund,
            state=RefundState.READY,
            approved_by=operator,
            check_at=was.now,
            checks=0,
            note=note,
            updated_at=was.now,
        )
        if await _write(desk, was, ready, operator):
            desk.errands.run(refund_now(desk, refund.id))
            return ready
    raise ServiceUnavailable("The refund is being changed by many at once; try again in a moment.")


async def reject(desk: Desk, refund_id: RefundId, operator: OperatorId, note: str) -> Refund:
    """Decide that a held refund is not sent. Raises NotFound, RefundConflict."""

    def decision(was: Standing) -> Refund:
        if was.refund.state is RefundState.REJECTED:
            return was.refund
        _must_be_held(was.refund)
        return ended(was.refund, RefundState.REJECTED, note, was.now)

    return await _decide(desk, refund_id, operator, decision)


async def mark_returned(
    desk: Desk, refund_id: RefundId, operator: OperatorId, note: str, reference: str
) -> Refund:
    """Write that a person returned a held refund's money by other means, and by which transfer.

    Raises NotFound, RefundConflict.
    """

    def decision(was: Standing) -> Refund:
        if was.refund.state is RefundState.DONE and was.refund.reference == reference:
            return was.refund
        _must_be_held(was.refund)
        done = ended(was.refund, RefundState.DONE, note, was.now)
        return replace(done, reference=reference)

    return await _decide(desk, refund_id, operator, decision)


async def retry(desk: Desk, refund_id: RefundId, operator: OperatorId, note: str) -> Refund:
    """Hold a failed or rejected refund for another try; the operator is the first of the two.

    A failed one gets another number, once its channel says again that the last one failed. Raises
    NotFound, RefundConflict, RefundExceedsCaptured; ChannelDown where the channel does not answer.
    """
    standing = await _read(desk, refund_id)
    last = standing.refund
    if last.state is RefundState.FAILED:
        await _must_have_failed(desk, standing)

    def decision(was: Standing) -> Refund:
        refund = was.refund
        if refund.state is RefundState.HELD and refund.asked_by == operator:
            return refund
        if refund.state.counts or refund.number != last.number:
            raise RefundConflict(f"The refund is {refund.state}, not failed or rejected.")
        of_merchant = refund.reason is RefundReason.MERCHANT
        if of_merchant and refund.amount > left_of(was.order, was.refunds):
            raise RefundExceedsCaptured("What was captured is given back, or on its way, already.")
        failed = refund.state is RefundState.FAILED
        again = renumbered(refund, note, was.now) if failed else held(refund, note, was.now)
        return replace(again, asked_by=operator)

    return await _decide(desk, refund_id, operator, decision)


async def _must_have_failed(desk: Desk, was: Standing) -> None:
    """Ask the channel about the number that failed, before there is another; settle other news.

    Raises ChannelDown where the channel does not answer, and RefundConflict where it answers that
    the refund was taken after all.
    """
    account = await desk.accounts.of_attempt(was.attempt)
    try:
        if account is None:
            raise ChannelUnavailable(f"account {was.refund.account} cannot be used")
        report = await query_refund(account, was)
    except ChannelUnavailable as error:
        raise ChannelDown("The channel does not say how the last try ended; try again.") from error
    if report is not None and report.state is not RefundState.FAILED:
        await desk.settle_refund(report)
        raise RefundConflict(f"The channel answers that the last try is {report.state} after all.")


async def _decide(
    desk: Desk, refund_id: RefundId, operator: OperatorId, decision: Decision
) -> Refund:
    """Write what an operator decides about the refund as it is; unchanged, it is answered again."""
    for _ in range(RETRIES):
        was = await _read(desk, refund_id)
        after = decision(was)
        if after is was.refund or await _write(desk, was, after, operator):
            return after
    raise ServiceUnavailable("The refund is being changed by many at once; try again in a moment.")


async def _read(desk: Desk, refund_id: RefundId) -> Standing:
    async with desk.pool.acquire() as conn:
        was = await read(conn, refund_id)
    if was is None:
        raise NotFound(f"There is no refund {refund_id}.")
    return was


async def _write(desk: Desk, was: Standing, after: Refund, operator: OperatorId) -> bool:
    async with desk.pool.acquire() as conn:
        order = await write(conn, was, after, cause=operator, public_url=desk.settings.base_url)
    if order is not None:
        desk.refund_moved(order, after)
    return order is not None


async def _can_refund(desk: Desk, attempt: Attempt) -> bool:
    account = await desk.accounts.of_attempt(attempt)
    if account is None:
        raise ServiceUnavailable("The channel account of this refund is set up wrongly.")
    return account.adapter.traits.refunds


async def _insert(desk: Desk, order: Order, refund: Refund) -> bool:
    """Insert it while the order is as it was read; False: it is not, or its number is taken."""
    try:
        async with desk.pool.acquire() as conn:
            return await refund_moves.open_refund(conn, order, refund)
    except asyncpg.UniqueViolationError:
        return False  # the same request, at the same moment: it is read and answered


def _must_be_held(refund: Refund) -> None:
    if refund.state is not RefundState.HELD:
        raise RefundConflict(f"The refund is {refund.state}; that is decided while it is held.")


def _same(known: Sequence[Refund], new: NewRefund) -> Refund | None:
    """Return the refund with the merchant's number. Raises RefundConflict for other fields."""
    if new.merchant_refund_no is None:
        return None
    numbers = (each for each in known if each.merchant_refund_no == new.merchant_refund_no)
    same = next(numbers, None)
    if same is None:
        return None
    if new.amount not in (None, same.amount) or new.explanation != same.explanation:
        raise RefundConflict(
            f"merchant_refund_no was used for refund {same.id} of {same.amount}, with other fields."
        )
    return same


def _new_refund(order: Order, known: Sequence[Refund], new: NewRefund, now: datetime) -> Refund:
    """Spell the request out. Raises OrderNotPaid, RefundExceedsCaptured."""
    if order.paid_attempt is None:
        raise OrderNotPaid(f"The order is {order.state}; only what was paid is refunded.")
    left = left_of(order, known)
    amount = left if new.amount is None else new.amount
    if amount > left or left == 0:
        raise RefundExceedsCaptured(
            f"Of {order.amount} that was captured {left} can still be refunded."
        )
    refund_id = new_refund_id()
    attempt = order.attempt(order.paid_attempt)
    return Refund(
        id=refund_id,
        order_id=order.id,
        attempt=attempt.id,
        account=attempt.account,
        reason=RefundReason.MERCHANT,
        # Of one attempt there may be many, so the number is its own and not the attempt's.
        number=refund_id.removeprefix("ref_") + "R1",
        tries=1,
        amount=amount,
        currency=order.currency,
        state=RefundState.READY,
        created_at=now,
        updated_at=now,
        check_at=now,
        merchant_refund_no=new.merchant_refund_no,
        explanation=new.explanation,
    )
