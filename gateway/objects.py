"""The JSON objects that merchants and pages hold in their hands: order, attempt, event, snapshot.

Field names are the contract. Times are RFC 3339 UTC, money is integer minor units. These Structs
are also where the OpenAPI schemas come from, so what is documented is what is sent.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.channels.actions import NextAction
from gateway.ids import AttemptId, EventId, OperatorId, OrderId, RefundId
from gateway.model import (
    Attempt,
    AttemptState,
    Order,
    OrderState,
    Refund,
    RefundReason,
    RefundState,
    Terminal,
)

Surplus = Literal["none", "returning", "returned", "held"]

encode = msgspec.json.Encoder().encode
_next_action = msgspec.json.Decoder(NextAction)


class AttemptObject(Struct, frozen=True, kw_only=True):
    id: AttemptId
    object: Literal["attempt"] = "attempt"
    order: OrderId
    number: str
    channel: str
    product: str
    terminal: Terminal
    state: AttemptState
    superseded: bool
    next_action: NextAction | None
    payment_ref: str | None
    amount: int
    currency: str
    received_amount: int | None
    received_currency: str | None
    live_until: datetime
    needs_attention: bool
    created_at: datetime
    updated_at: datetime


class SurplusObject(Struct, frozen=True):
    """Money that arrived and does not pay the order, and how far its return is."""

    attempt: AttemptId
    amount: int
    currency: str
    refund_state: RefundState | None


class OrderObject(Struct, frozen=True, kw_only=True):
    id: OrderId
    object: Literal["order"] = "order"
    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    buyer_id: str | None
    items: list[dict[str, str | int]] | msgspec.Raw | None
    state: OrderState
    version: int
    amount_refunded: int
    paid_attempt: AttemptId | None
    attempts: list[AttemptObject]
    surplus: list[SurplusObject]
    expires_at: datetime
    created_at: datetime
    paid_at: datetime | None
    closed_at: datetime | None
    close_reason: str | None
    checkout_url: str
    notify_url: str | None
    return_url: str | None
    metadata: dict[str, str] | msgspec.Raw | None


class RefundObject(Struct, frozen=True, kw_only=True):
    """Money on its way back. `note` says why it is where it is, `asked_by` which operator asked
    that it be sent; `reference` is of the transfer, when it was returned by hand.
    """

    id: RefundId
    object: Literal["refund"] = "refund"
    order: OrderId
    attempt: AttemptId
    number: str
    amount: int
    currency: str
    reason: RefundReason
    state: RefundState
    merchant_refund_no: str | None
    note: str | None
    asked_by: OperatorId | None
    reference: str | None
    created_at: datetime
    updated_at: datetime


class EventData(Struct, frozen=True, omit_defaults=True):
    order: OrderObject
    attempt: AttemptObject | None = None
    refund: RefundObject | None = None


class EventObject(Struct, frozen=True):
    """The envelope of a webhook, of a queue message and of the event log: all the same bytes."""

    id: EventId
    type: str
    timestamp: datetime
    order: OrderId
    version: int
    data: EventData


class SnapshotAttempt(Struct, frozen=True):
    id: AttemptId
    channel: str
    product: str
    state: AttemptState
    next_action: NextAction | None


class InFlight(Struct, frozen=True):
    """An attempt that the buyer is no longer offered and that may still be paid."""

    channel: str
    until: datetime
    refundable: bool


class Snapshot(Struct, frozen=True, kw_only=True):
    """All that the buyer's page shows. The newest version wins; repeats and reorders are
    harmless.
    """

    type: Literal["order"] = "order"
    order: OrderId
    version: int
    state: OrderState
    attempt: SnapshotAttempt | None
    amount: int
    currency: str
    surplus: Surplus
    in_flight: list[InFlight]
    expires_at: datetime
    return_url: str | None
    server_time: datetime


def checkout_url(public_url: str, token: str) -> str:
    return f"{public_url}/checkout/{token}"


def attempt_object(attempt: Attempt, *, payable: bool) -> AttemptObject:
    """Show an attempt. `payable`: the order is open, so what the buyer does next may leave us."""
    shown = payable and attempt.state is AttemptState.PAYING and not attempt.superseded
    return AttemptObject(
        id=attempt.id,
        order=attempt.order_id,
        number=attempt.number,
        channel=attempt.channel,
        product=attempt.product,
        terminal=attempt.terminal,
        state=attempt.state,
        superseded=attempt.superseded,
        next_action=_shown_action(attempt) if shown else None,
        payment_ref=attempt.payment_ref,
        amount=attempt.amount,
        currency=attempt.currency,
        received_amount=attempt.received_amount,
        received_currency=attempt.received_currency,
        live_until=attempt.live_until.astimezone(UTC),
        needs_attention=attempt.needs_attention,
        created_at=attempt.created_at.astimezone(UTC),
        updated_at=attempt.updated_at.astimezone(UTC),
    )


def order_object(order: Order, public_url: str) -> OrderObject:
    """Show an order with its attempts, and what money arrived that does not pay it."""
    payable = order.state is OrderState.OPEN
    return OrderObject(
        id=order.id,
        merchant_order_no=order.merchant_order_no,
        amount=order.amount,
        currency=order.currency,
        subject=order.subject,
        buyer_id=order.buyer_id,
        items=_raw(order.items),
        state=order.state,
        version=order.version,
        amount_refunded=order.amount_refunded,
        paid_attempt=order.paid_attempt,
        attempts=[attempt_object(attempt, payable=payable) for attempt in order.attempts],
        surplus=[
            SurplusObject(
                attempt.id,
                attempt.received_amount or 0,
                attempt.received_currency or attempt.currency,
                attempt.refund_state,
            )
            for attempt in order.attempts
            if attempt.state is AttemptState.SURPLUS
        ],
        expires_at=order.expires_at,
        created_at=order.created_at,
        paid_at=order.paid_at,
        closed_at=order.closed_at,
        close_reason=order.close_reason,
        checkout_url=checkout_url(public_url, order.token),
        notify_url=order.notify_url,
        return_url=order.return_url,
        metadata=_raw(order.metadata),
    )


def refund_object(refund: Refund) -> RefundObject:
    return RefundObject(
        id=refund.id,
        order=refund.order_id,
        attempt=refund.attempt,
        number=refund.number,
        amount=refund.amount,
        currency=refund.currency,
        reason=refund.reason,
        state=refund.state,
        merchant_refund_no=refund.merchant_refund_no,
        note=refund.note,
        asked_by=refund.asked_by,
        reference=refund.reference,
        created_at=refund.created_at.astimezone(UTC),
        updated_at=refund.updated_at.astimezone(UTC),
    )


def snapshot(order: Order, now: datetime, refundable: frozenset[str]) -> Snapshot:
    """Show the buyer where the order stands; `refundable` are the channels that can give money
    back.

    An expired order shows nothing to pay with.
    """
    payable = order.state is OrderState.OPEN and now < order.expires_at
    offered = order.offered if payable else None
    return Snapshot(
        order=order.id,
        version=order.version,
        state=order.state,
        attempt=SnapshotAttempt(
            offered.id,
            offered.channel,
            offered.product,
            offered.state,
            _usable_action(offered, now),
        )
        if offered
        else None,
        amount=order.amount,
        currency=order.currency,
        surplus=surplus_of(order),
        in_flight=[
            InFlight(attempt.channel, attempt.live_until, attempt.channel in refundable)
            for attempt in order.attempts
            if attempt.state.live and attempt.superseded and now < attempt.live_until
        ],
        expires_at=order.expires_at,
        return_url=order.return_url,
        server_time=now,
    )


def surplus_of(order: Order) -> Surplus:
    """Sum up what is owed back; `held`: some of it goes no further without a person."""
    surplus = [attempt for attempt in order.attempts if attempt.state is AttemptState.SURPLUS]
    if not surplus:
        return "none"
    if all(attempt.refund_state is RefundState.DONE for attempt in surplus):
        return "returned"
    held = any(attempt.refund_waits or attempt.refund_state is None for attempt in surplus)
    return "held" if held else "returning"


def _shown_action(attempt: Attempt) -> NextAction | None:
    return _next_action.decode(attempt.next_action) if attempt.next_action else None


def _usable_action(attempt: Attempt, now: datetime) -> NextAction | None:
    if attempt.next_action_until is None or now >= attempt.next_action_until:
        return None
    return _shown_action(attempt)


def _raw(text: str | None) -> msgspec.Raw | None:
    return msgspec.Raw(text.encode()) if text is not None else None
