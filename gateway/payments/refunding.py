"""Giving money back: the machine's part, one claimed refund at a time, a step at a time.

`check_at` on the refund is the truth, and says when the machine looks at it next; it is also the
lease of whoever looks. A step is: decide, write, and only then call. So a worker that dies anywhere
leaves a row that is due again, and whoever takes it up finds either that the channel was not called
yet or a number to ask the channel about. A call whose answer is lost is unknown: the number is
queried first, and `refund` is repeated with the same number, which the channel takes for the same
refund, never with another one.
"""

from datetime import timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.channels.base import RefundRequest
from gateway.db import merchants, refunds
from gateway.errors import ChannelRefused, ChannelUnavailable
from gateway.ids import RefundId
from gateway.model import (
    Attempt,
    ChannelReport,
    OrderState,
    Refund,
    RefundReport,
    RefundState,
    Source,
)
from gateway.money import Money
from gateway.payments.accounts import Account
from gateway.payments.calling import call, query
from gateway.payments.desk import Desk
from gateway.payments.refund_rules import (
    RETRIES,
    Standing,
    held,
    over_limit,
    read,
    read_limits,
    renumbered,
    why_held,
    write,
)
from gateway.telemetry import log
from gateway.together import together

# Longer than two queries and a refund with their deadlines: nobody else looks meanwhile.
LEASE_S: Final = 20.0
# A call that was lost on its way has died by then: where the channel has still not heard of the
# number, a refusal of the repeat is a refusal of the refund.
_CALL_IS_DEAD_AFTER: Final = timedelta(minutes=10)
_SURPLUS_EXPLANATION: Final = "重复支付退款 duplicate payment"


async def refund_due(desk: Desk, limit: int) -> int:
    """Carry on with the refunds that are due; returns how many were claimed."""
    async with desk.pool.acquire() as conn:
        claimed = await refunds.claim_due(conn, limit, LEASE_S)
    return await together("refund", (_carry_on(desk, refund_id) for refund_id in claimed))


async def refund_now(desk: Desk, refund_id: RefundId) -> None:
    """Carry on with one refund, if it is due and nobody else does."""
    async with desk.pool.acquire() as conn:
        claimed = await refunds.claim(conn, refund_id, LEASE_S)
    if claimed:
        await _carry_on(desk, refund_id)


async def _carry_on(desk: Desk, refund_id: RefundId) -> None:
    """Take a claimed refund as far as it goes without waiting for anybody."""
    for _ in range(RETRIES):
        async with desk.pool.acquire() as conn:
            was = await read(conn, refund_id)
        assert was is not None
        account = await desk.accounts.of_attempt(was.attempt)
        if account is None:
            log.error("refund_without_usable_account", refund=refund_id, account=was.refund.account)
            return  # the lease ends by itself, and it is looked at again
        if not await _step(desk, account, was):
            return


async def _step(desk: Desk, account: Account, was: Standing) -> bool:
    """Take the next step; True: there is another one to be taken at once."""
    match was.refund.state:
        case RefundState.HELD if not was.refund.waits:
            return await _release(desk, account, was)
        case RefundState.READY:
            return await _send(desk, account, was)
        case RefundState.SENT:
            await _ask(desk, account, was)
            return False
        case RefundState.HELD | RefundState.DONE | RefundState.FAILED | RefundState.REJECTED:
            return False


async def _release(desk: Desk, account: Account, was: Standing) -> bool:
    """Let a surplus refund go (`held -> ready`), or leave it to a person; True: look again."""
    async with desk.pool.acquire() as conn:
        merchant = await merchants.read(conn, was.order.merchant)
    assert merchant is not None
    if not account.adapter.traits.refunds:
        return await _hold(desk, was, "the channel cannot refund: return the money by hand")
    if merchant.surplus_refunds == "held":
        return await _hold(desk, was, "the merchant wants a person to look")
    surplus = was.attempt
    try:
        said = await _query(desk, surplus)
        winner_said = None
        if was.order.state is OrderState.PAID:
            assert was.order.paid_attempt is not None
            winner_said = await _query(desk, was.order.attempt(was.order.paid_attempt))
    except ChannelUnavailable as error:
        log.info("refund_not_released_yet", refund=was.refund.id, error=str(error))
        await _look_later(desk, account, was.refund)
        return False
    why = why_held(was.order, surplus, said, winner_said)
    return await _hold(desk, was, why) if why else await _let_go(desk, was)


async def _query(desk: Desk, attempt: Attempt) -> ChannelReport:
    """Ask the channel about a payment; what it says is settled too, as everything that it says."""
    account = await desk.accounts.of_attempt(attempt)
    if account is None:
        raise ChannelUnavailable(f"account {attempt.account} cannot be used")
    report = await query(account, attempt)
    await desk.settle(report)
    return report


async def _hold(desk: Desk, was: Standing, why: str) -> bool:
    """Leave it to a person; True: it has moved meanwhile, look again."""
    return not await _write(desk, was, held(was.refund, why, was.now))


async def _let_go(desk: Desk, was: Standing) -> bool:
    """Write `held -> ready` within the limits, in turn with others of this merchant and channel."""
    async with desk.pool.acquire() as conn, conn.transaction():
        settings = await refunds.lock_accounts(conn, was.refund.account)
        limits = read_limits(msgspec.json.decode(settings, type=dict[str, str]))
        given = await refunds.released_today(conn, was.refund.account, was.refund.currency)
        above = over_limit(was.refund, limits, given)
        after = held(was.refund, above, was.now) if above else _released(was)
        order = await write(conn, was, after, cause="release", public_url=desk.settings.base_url)
    if order is not None:
        desk.refund_moved(order, after)
    return above is None or order is None


def _released(was: Standing) -> Refund:
    return replace(
        was.refund,
        state=RefundState.READY,
        released_at=was.now,
        check_at=was.now + timedelta(seconds=LEASE_S),
        checks=0,
        updated_at=was.now,
    )


async def _send(desk: Desk, account: Account, was: Standing) -> bool:
    """Write `ready -> sent`, then call the channel with the number; True: look again."""
    sent = replace(
        was.refund,
        state=RefundState.SENT,
        sent_at=was.now,
        check_at=was.now + timedelta(seconds=LEASE_S),
        checks=0,
        updated_at=was.now,
    )
    if not await _write(desk, was, sent):
        return True
    try:
        report = await _call_refund(desk, account, replace(was, refund=sent))
    except ChannelRefused as refusal:
        if refusal.number_spent:
            await _look_later(desk, account, sent)  # money may have gone back: a query decides
        else:
            # Nobody called with this number before, so the refusal is of the refund itself.
            await _fail(desk, sent, str(refusal))
    except ChannelUnavailable as error:
        log.info("refund_unknown", refund=sent.id, error=str(error))
        await _look_later(desk, account, sent)
    else:
        await _settle(desk, account, sent, report)
    return False


async def _ask(desk: Desk, account: Account, was: Standing) -> None:
    """Ask what became of a refund; where the channel has never heard of it, call again."""
    refund = was.refund
    assert refund.sent_at is not None
    try:
        report = await query_refund(account, was)
        if report is None:
            window = account.adapter.traits.refund_repeat_window
            if window is not None and was.now - refund.sent_at >= window:
                await _give_up(desk, refund)
                return
            report = await _repeat(desk, account, was)
    except ChannelUnavailable as error:
        log.info("refund_unknown", refund=refund.id, error=str(error))
        report = None
    if report is None:
        await _look_later(desk, account, refund)
    else:
        await _settle(desk, account, refund, report)


async def _repeat(desk: Desk, account: Account, was: Standing) -> RefundReport | None:
    """Call `refund` again with the same number; None: nothing is known yet.

    A refusal of a repeat says nothing of the call that it repeats, so a query decides.
    """
    refund = was.refund
    assert refund.sent_at is not None
    try:
        return await _call_refund(desk, account, was)
    except ChannelRefused as refusal:
        found = await query_refund(account, was)
        if found is None and was.now - refund.sent_at >= _CALL_IS_DEAD_AFTER:
            await _fail(desk, refund, str(refusal))
        return found


async def query_refund(account: Account, was: Standing) -> RefundReport | None:
    """Ask the channel about a refund by its number now. Raises ChannelUnavailable."""
    refund, attempt = was.refund, was.attempt
    asked = account.adapter.query_refund(
        refund.number, attempt.number, attempt.payment_ref or "", refund.sent_at
    )
    return await call(account, "query_refund", asked)


async def _call_refund(desk: Desk, account: Account, was: Standing) -> RefundReport:
    """Call the channel; the same refund says the same, however often."""
    refund, attempt = was.refund, was.attempt
    assert refund.sent_at is not None
    assert attempt.payment_ref is not None
    assert attempt.received_amount is not None
    assert attempt.received_currency is not None
    request = RefundRequest(
        number=refund.number,
        attempt_number=attempt.number,
        payment_ref=attempt.payment_ref,
        money=refund.money,
        total=Money(attempt.received_amount, attempt.received_currency),
        reason=refund.explanation or _SURPLUS_EXPLANATION,
        notify_url=f"{desk.settings.base_url}/callbacks/{account.id}",
        sent_at=refund.sent_at,
    )
    return await call(account, "refund", account.adapter.refund(request))


async def _settle(desk: Desk, account: Account, refund: Refund, report: RefundReport) -> None:
    settled = await desk.settle_refund(report)
    if settled.refund.state is RefundState.SENT:
        await _look_later(desk, account, refund)


async def _fail(desk: Desk, refund: Refund, why: str) -> None:
    report = RefundReport(refund.account, refund.number, RefundState.FAILED, Source.CREATE)
    await desk.settle_refund(report, note=why)


async def _give_up(desk: Desk, refund: Refund) -> None:
    """End a number that the channel may no longer recognise; another one waits for two persons."""
    await _fail(desk, refund, "no answer while the channel would recognise a repeat")
    async with desk.pool.acquire() as conn:
        was = await read(conn, refund.id)
    if was is not None and was.refund.state is RefundState.FAILED:
        note = "no answer to the last try: look at the channel before it is sent again"
        await _write(desk, was, renumbered(was.refund, note, was.now))


async def _look_later(desk: Desk, account: Account, refund: Refund) -> None:
    async with desk.pool.acquire() as conn:
        await refunds.check_later(conn, refund, account.next_ask_s(refund.checks))


async def _write(desk: Desk, was: Standing, after: Refund) -> bool:
    """Write a move of the machine; False: it has moved meanwhile."""
    async with desk.pool.acquire() as conn:
        order = await write(conn, was, after, cause="refund", public_url=desk.settings.base_url)
    if order is not None:
        desk.refund_moved(order, after)
    return order is not None
