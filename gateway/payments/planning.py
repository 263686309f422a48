"""What comes next for an order that somebody wants to pay. Pure, so it can be tested alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

from gateway.channels.base import CreateRequest
from gateway.ids import AttemptId, new_attempt_id, number_of
from gateway.model import Attempt, AttemptState, Order, Terminal
from gateway.objects import encode
from gateway.payments.accounts import Account

# A little more than the deadline of the call that it covers.
CALL_LEASE: Final = timedelta(seconds=6)
# While a capture is on its way, the order is about to be paid; after that long, others may go on.
_CAPTURE_WAIT: Final = timedelta(seconds=30)


class Wish(Struct, frozen=True):
    """How the buyer wants to pay."""

    channel: str
    terminal: Terminal
    product: str | None = None
    openid: str = ""
    client_ip: str = ""
    user_agent: str = ""


class Step(StrEnum):
    """What the order as it was read asks for next."""

    ANSWER = "answer"
    WAIT = "wait"
    REPEAT = "repeat"
    OFFER_AGAIN = "offer_again"
    CLOSE_OLD = "close_old"
    SUPERSEDE = "supersede"


class Taker(Struct, frozen=True):
    """The account that takes the payment, as which product, for which payer."""

    account: Account
    product: str
    payer: str

    def made(self, attempt: Attempt) -> bool:
        """Is the attempt the same thing to the buyer, at the same account?"""
        channel = self.account.adapter.traits.channel
        wanted = (self.account.id, channel, self.product, self.payer)
        return wanted == (attempt.account, attempt.channel, attempt.product, attempt.payer)

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Would the channel still know a repeat of `create` as one?"""
        window = self.account.adapter.traits.repeat_window
        until = attempt.pay_by if window is None else attempt.created_at + window
        return now < until


def choose(order: Order, takers: Sequence[Taker], spent: frozenset[AttemptId]) -> Taker:
    """Choose of those that could take the payment, the preferred first. Pure.

    Whoever has begun the same payment goes on with it: preferring another account meanwhile would
    let the buyer pay at both. An account that takes no more payments is not among the takers.
    """
    live = [each for each in order.attempts if each.state.live and each.id not in spent]
    live.sort(key=lambda attempt: not attempt.offered)
    begun = (taker for attempt in live for taker in takers if taker.made(attempt))
    return next(begun, takers[0])


def plan(
    order: Order, taker: Taker, now: datetime, spent: frozenset[AttemptId] = frozenset()
) -> tuple[Step, Attempt] | None:
    """Say what comes next for an open order; None: open a new attempt. Pure.

    An attempt whose answer was lost is repeated under the same number; one of another kind is
    closed at its channel before a new one is opened. `spent` are those whose number the channel
    refuses to repeat.
    """
    busy = _in_call(order, now)
    if busy is not None:
        return Step.WAIT, busy
    offered = order.offered
    if offered is not None:
        if not taker.made(offered):
            return Step.CLOSE_OLD, offered
        usable = offered.next_action_until is not None and now < offered.next_action_until
        if offered.state is AttemptState.PAYING and usable:
            return Step.ANSWER, offered
        return (Step.REPEAT if taker.may_repeat(offered, now) else Step.SUPERSEDE), offered
    for attempt in order.attempts:
        again = attempt.state.live and taker.made(attempt) and attempt.id not in spent
        if again and taker.may_repeat(attempt, now):
            return Step.OFFER_AGAIN, attempt
    return None


def _in_call(order: Order, now: datetime) -> Attempt | None:
    """The attempt whose channel is being called: to create it, or to debit it."""
    for attempt in order.attempts:
        until, claimed_at = attempt.calling_until, attempt.capture_claimed_at
        if attempt.offered and until is not None and now < until:
            return attempt
        if attempt.state.live and claimed_at is not None and now < claimed_at + _CAPTURE_WAIT:
            return attempt
    return None


def new_attempt(order: Order, taker: Taker, wish: Wish, now: datetime, base_url: str) -> Attempt:
    """The attempt as it is committed before the channel hears of it."""
    traits = taker.account.adapter.traits
    attempt_id = new_attempt_id()
    pay_by = max(order.expires_at, now + traits.shortest_window)
    parameters = CreateRequest(
        number=number_of(attempt_id),
        product=taker.product,
        money=order.money,
        subject=order.subject,
        pay_by=pay_by,
        notify_url=f"{base_url}/callbacks/{taker.account.id}",
        return_url=f"{base_url}/checkout/{order.token}/return/{attempt_id}",
        payer=taker.payer,
        client_ip=wish.client_ip,
        user_agent=wish.user_agent,
    )
    return Attempt(
        id=attempt_id,
        order_id=order.id,
        number=parameters.number,
        account=taker.account.id,
        channel=traits.channel,
        product=taker.product,
        terminal=wish.terminal,
        payer=taker.payer,
        state=AttemptState.CREATED,
        superseded=False,
        amount=order.amount,
        currency=order.currency,
        received_amount=None,
        received_currency=None,
        payment_ref=None,
        parameters=encode(parameters).decode(),
        next_action=None,
        next_action_until=None,
        pay_by=pay_by,
        live_until=pay_by + traits.late_margin,
        calling_until=now + CALL_LEASE,
        ask_at=now + timedelta(seconds=taker.account.next_ask_s(0)),
        asks=0,
        needs_attention=False,
        created_at=now,
        updated_at=now,
        refund_state=None,
    )
