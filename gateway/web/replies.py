"""The shapes of what we answer beside the nouns: pages, the timeline, health, and the problem."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.ids import EventId, OrderId, RefundId
from gateway.objects import EventObject, OrderObject, RefundObject

Standing = Literal["ok", "unreachable", "read_only"]


class OrderPage(Struct, frozen=True):
    """Orders, newest first. `next_cursor` is null on the last page."""

    data: list[OrderObject]
    next_cursor: OrderId | None


class RefundPage(Struct, frozen=True):
    """Refunds, newest first. `next_cursor` is null on the last page."""

    data: list[RefundObject]
    next_cursor: RefundId | None


class EventPage(Struct, frozen=True):
    """Events in the order of their commits. `next_cursor` is null when there are no more now."""

    data: list[EventObject]
    next_cursor: EventId | None


class MoveObject(Struct, frozen=True, rename={"from_state": "from", "to_state": "to"}):
    """One move of an order, an attempt or a refund; `evidence` numbers the callback behind it."""

    at: datetime
    noun: str
    id: str
    from_state: str
    to_state: str
    cause: str
    evidence: int | None


class Timeline(Struct, frozen=True):
    data: list[MoveObject]


class Redelivery(Struct, frozen=True):
    """The webhook of that event is due again."""

    id: EventId
    object: Literal["event"] = "event"
    redelivery: Literal["due"] = "due"


class Alive(Struct, frozen=True):
    status: Literal["ok"] = "ok"


class Readiness(Struct, frozen=True):
    """`degraded`: Redis is away, so answers are slower and pages poll; money is as safe as ever.

    `read_only`: it answers, and takes no writes (a replica, a full disk, no memory left).
    """

    status: Literal["ok", "degraded", "unavailable"]
    postgresql: Standing
    redis: Standing


class ProblemObject(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a call was refused (RFC 9457). `code` is for programs, `detail` says what to do."""

    type: Annotated[str, Meta(examples=["urn:payonce:problem:order_already_paid"])]
    title: str
    status: int
    code: Annotated[str, Meta(examples=["order_already_paid"])]
    detail: str
    request_id: Annotated[str, Meta(examples=["req_5f0c9a7be214-000000a1"])]
    field: Annotated[
        str | None,
        Meta(description="Of `invalid_request`: the field, such as `items[0].quantity`."),
    ] = None
    order: Annotated[
        str | None, Meta(description="Of `duplicate_submission`: the first order.")
    ] = None
    checkout_url: Annotated[
        str | None, Meta(description="Of `duplicate_submission`: where the first order is paid.")
    ] = None
