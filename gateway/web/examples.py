"""One order's story in objects, for the reference.

They are built as the real ones are, so no example has a field that the answers do not have.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from gateway.channels.actions import QrAction
from gateway.errors import (
    DuplicateSubmission,
    InvalidRequest,
    Problem,
)
from gateway.ids import AttemptId, EventId, OrderId, RefundId
from gateway.model import AttemptState, OrderState, RefundReason, RefundState, Terminal
from gateway.objects import (
    AttemptObject,
    EventData,
    EventObject,
    OrderObject,
    RefundObject,
    Snapshot,
    SnapshotAttempt,
)
from gateway.web.problems import problem_body

_ORDER: Final = OrderId("ord_01KB2M7T4Y8Z0Q5W3E6R9X1C2V")
_ATTEMPT: Final = AttemptId("att_01KB2M8A5S7D9F1G3H4J6K8M0N")
_OPENED: Final = datetime(2026, 11, 17, 8, 30, tzinfo=UTC)
_TOKEN: Final = "q1W2e3R4t5Y6u7I8o9P0a1S2d3F4g5H6"
_CODE: Final = QrAction("weixin://wxpay/bizpayurl?pr=8Kq2Zx", _OPENED + timedelta(minutes=30))

ATTEMPT: Final = AttemptObject(
    id=_ATTEMPT,
    order=_ORDER,
    number=_ATTEMPT.removeprefix("att_"),
    channel="wechat",
    product="native",
    terminal=Terminal.PC,
    state=AttemptState.PAYING,
    superseded=False,
    next_action=_CODE,
    payment_ref=None,
    amount=1234,
    currency="CNY",
    received_amount=None,
    received_currency=None,
    live_until=_OPENED + timedelta(minutes=40),
    needs_attention=False,
    created_at=_OPENED + timedelta(seconds=5),
    updated_at=_OPENED + timedelta(seconds=5),
)

ORDER: Final = OrderObject(
    id=_ORDER,
    merchant_order_no="2026-11-000417",
    amount=1234,
    currency="CNY",
    subject="Jasmine tea",
    buyer_id=None,
    items=None,
    state=OrderState.OPEN,
    version=1,
    amount_refunded=0,
    paid_attempt=None,
    attempts=[],
    surplus=[],
    expires_at=_OPENED + timedelta(minutes=30),
    created_at=_OPENED,
    paid_at=None,
    closed_at=None,
    close_reason=None,
    checkout_url=f"https://pay.shop.example/checkout/{_TOKEN}",
    notify_url=None,
    return_url=None,
    metadata=None,
)

SNAPSHOT: Final = Snapshot(
    order=_ORDER,
    version=3,
    state=OrderState.OPEN,
    attempt=SnapshotAttempt(_ATTEMPT, "wechat", "native", AttemptState.PAYING, _CODE),
    amount=1234,
    currency="CNY",
    surplus="none",
    in_flight=[],
    expires_at=_OPENED + timedelta(minutes=30),
    return_url=None,
    server_time=_OPENED + timedelta(seconds=9),
)

_PAID_AT: Final = _OPENED + timedelta(seconds=41)
_PAID_ATTEMPT: Final = msgspec.structs.replace(
    ATTEMPT,
    state=AttemptState.CAPTURED,
    next_action=None,
    payment_ref="4200002417202611170123456789",
    received_amount=1234,
    received_currency="CNY",
    updated_at=_PAID_AT,
)

EVENT: Final = EventObject(
    id=EventId("evt_01KB2M9C3V5B7N9M1Q2W4E6R8T"),
    type="order.paid",
    timestamp=_PAID_AT,
    order=_ORDER,
    version=4,
    data=EventData(
        order=msgspec.structs.replace(
            ORDER,
            state=OrderState.PAID,
            version=4,
            paid_attempt=_ATTEMPT,
            attempts=[_PAID_ATTEMPT],
            paid_at=_PAID_AT,
        ),
        attempt=_PAID_ATTEMPT,
    ),
)

_REFUND: Final = RefundId("ref_01KB2MB6P0Q2R4S6T8V0W2X4Y6")
REFUND: Final = RefundObject(
    id=_REFUND,
    order=_ORDER,
    attempt=_ATTEMPT,
    number=_REFUND.removeprefix("ref_") + "R1",
    amount=234,
    currency="CNY",
    reason=RefundReason.MERCHANT,
    state=RefundState.SENT,
    merchant_refund_no="R-417-1",
    note=None,
    asked_by=None,
    reference=None,
    created_at=_PAID_AT + timedelta(hours=2),
    updated_at=_PAID_AT + timedelta(hours=2, seconds=1),
)

_OF_SHAPE: Final[dict[type[msgspec.Struct], msgspec.Struct]] = {
    AttemptObject: ATTEMPT,
    OrderObject: ORDER,
    Snapshot: SNAPSHOT,
    EventObject: EVENT,
    RefundObject: REFUND,
}


def example_of(shape: type[msgspec.Struct]) -> object:
    """Return an example of an answer as plain JSON values, or None where there is none."""
    found = _OF_SHAPE.get(shape)
    return None if found is None else msgspec.to_builtins(found)


def problem_example(kind: type[Problem]) -> object:
    """Return a problem as it is answered."""
    problem: Problem
    if issubclass(kind, InvalidRequest):
        problem = kind("amount", "Expected int, got float. The price in minor units: an integer.")
    elif kind is DuplicateSubmission:
        problem = kind(members={"order": _ORDER, "checkout_url": ORDER.checkout_url})
    else:
        problem = kind()
    return msgspec.json.decode(problem_body(problem, "req_5f0c9a7be214-000000a1"))
