"""What we tell the order service: topics and payloads, rendered from the order as the move leaves
it.

The bytes are made once, before the commit, and stored with the fact. A webhook, the message queue
and the event log all carry those bytes, so a repeat is a repeat to the letter.
"""

from datetime import datetime
from enum import StrEnum

from msgspec.structs import replace

from gateway.db.moves import NewEvent
from gateway.ids import new_event_id
from gateway.model import Attempt, Order, OrderState, Refund, RefundState
from gateway.objects import (
    EventData,
    EventObject,
    attempt_object,
    encode,
    order_object,
    refund_object,
)


class EventType(StrEnum):
    ORDER_PAID = "order.paid"
    ORDER_CLOSED = "order.closed"
    ATTEMPT_SURPLUS = "attempt.surplus"
    REFUND_DONE = "refund.done"
    REFUND_FAILED = "refund.failed"
    REFUND_HELD = "refund.held"
    REFUND_REJECTED = "refund.rejected"


def event_of(refund: Refund) -> EventType | None:
    """Which event says how the refund stands now; None: it is under way."""
    match refund.state:
        case RefundState.DONE:
            return EventType.REFUND_DONE
        case RefundState.FAILED:
            return EventType.REFUND_FAILED
        case RefundState.REJECTED:
            return EventType.REFUND_REJECTED
        case RefundState.HELD:
            return EventType.REFUND_HELD if refund.waits else None
        case RefundState.READY | RefundState.SENT:
            return None


def new_event(
    event_type: EventType,
    order: Order,
    attempt: Attempt | None,
    public_url: str,
    now: datetime,
    refund: Refund | None = None,
) -> NewEvent:
    """Make the outbox row for a move; `order` and `refund` are as they are after it."""
    event_id = new_event_id()
    payable = order.state is OrderState.OPEN
    body = EventObject(
        id=event_id,
        type=event_type,
        timestamp=now,
        order=order.id,
        version=order.version,
        data=EventData(
            order=order_object(order, public_url),
            attempt=attempt_object(attempt, payable=payable) if attempt else None,
            refund=refund_object(refund) if refund else None,
        ),
    )
    return NewEvent(event_id, event_type, attempt.id if attempt else None, encode(body).decode())


def closed(order: Order, reason: str, now: datetime) -> Order:
    """The order as closing it will leave it."""
    return replace(
        order,
        state=OrderState.CLOSED,
        version=order.version + 1,
        close_reason=reason,
        closed_at=now,
        attempts=tuple(
            replace(attempt, superseded=True, ask_at=now, updated_at=now)
            if attempt.state.live
            else attempt
            for attempt in order.attempts
        ),
    )
