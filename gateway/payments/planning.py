"""What comes next for an order that somebody wants to pay. Pure, so it can be tested alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from gateway.channels.base import BuyerDetails, CreateRequest, PostalAddress
from gateway.errors import InvalidRequest
from gateway.ids import AttemptId, new_attempt_id, number_of
from gateway.model import Attempt, AttemptState, Order, Terminal
from gateway.objects import encode
from gateway.payments.accounts import Account

# A little more than the deadline of the call that it covers.
CALL_LEASE: Final = timedelta(seconds=6)
# While a capture is on its way, the order is about to be paid; after that long, others may go on.
_CAPTURE_WAIT: Final = timedelta(seconds=30)


class Named(Struct, frozen=True):
    """What is said of the person who pays, as far as it is known: personal data, never logged."""

    name: str = ""
    email: str = ""
    tax_id: str = ""
    address: PostalAddress | None = None

    def details(self, product: str) -> BuyerDetails:
        """Return all that a slip names. Raises InvalidRequest for what is not known."""
        for field in ("name", "email", "tax_id", "address"):
            if not getattr(self, field):
                raise InvalidRequest(
                    f"buyer.{field}", f"`{product}` names the buyer; send `buyer.{field}`."
                )
        assert self.address is not None
        return BuyerDetails(self.name, self.email, self.tax_id, self.address)


class Wish(Struct, frozen=True):
    """How the buyer wants to pay."""

    channel: str
    terminal: Terminal
    product: str | None = None
    openid: str = ""
    client_ip: str = ""
    user_agent: str = ""
    buyer: Named = Named()


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
    tax_id: str = ""  # whose slip it is to be; empty: whoever's there is

    def made(self, attempt: Attempt) -> bool:
        """Is the attempt the same thing to the buyer, at the same account?

        A slip is its payer's: with another tax id it is another one. A name or an address that is
        spelt in another way makes no second slip, for both could be paid.
        """
        channel = self.account.adapter.traits.channel
        wanted = (self.account.id, channel, self.product, self.payer)
        if wanted != (attempt.account, attempt.channel, attempt.product, attempt.payer):
            return False
        return not self.tax_id or self.tax_id == _tax_id_on(attempt)

    @property
    def names_buyer(self) -> bool:
        return self.product in self.account.adapter.traits.needs_buyer

    def may_repeat(self, attempt: Attempt, now: datetime) -> bool:
        """Would the channel still know a repeat of `create` as one?"""
        window = self.account.adapter.traits.repeat_window
        until = attempt.pay_by if window is None else attempt.created_at + window
        return now < until


class _Slip(Struct, frozen=True):
    """What of the stored parameters says whose slip it is."""

    buyer: BuyerDetails | None = None


_read_slip: Final = msgspec.json.Decoder(_Slip).decode


def _tax_id_on(attempt: Attempt) -> str | None:
    buyer = _read_slip(attempt.parameters).buyer
    return buyer.tax_id if buyer else None


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
    if traits.voucher is not None:
        pay_by = traits.voucher.ends(now)
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
        buyer=wish.buyer.details(taker.product) if taker.names_buyer else None,
        voucher_days=traits.voucher.days if traits.voucher else 0,
        order=order.id,
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
