"""Opening orders, and not ordering twice (防重复提交).

`merchant_order_no` is judged first, by a unique constraint: the same fields are the same order
again, other fields are a conflict. Then the fingerprint of the purchase, in a window of seconds,
under an advisory lock on its hash, so that two requests at once cannot both be the first.
"""

import hashlib
from typing import Final

import asyncpg
import msgspec

from gateway.db import ordering, orders
from gateway.errors import DuplicateSubmission, OrderConflict
from gateway.ids import new_checkout_token, new_order_id
from gateway.model import NewOrder, Order
from gateway.objects import checkout_url
from gateway.payments.desk import Desk
from gateway.telemetry import DUPLICATES_PREVENTED

_SEPARATOR: Final = b"\x1f"


async def open_order(desk: Desk, merchant: str, new: NewOrder) -> tuple[Order, bool]:
    """Open an order, or answer the one that has that number; the bool says whether it was opened
    now.

    Raises OrderConflict, and DuplicateSubmission naming the first order and its checkout URL.
    """
    order_id = new_order_id()
    async with desk.pool.acquire() as conn:
        known = await orders.read_by_merchant_no(conn, merchant, new.merchant_order_no)
        if known is None:
            try:
                twin = await ordering.insert(
                    conn,
                    ordering.Row(
                        order_id, merchant, new_checkout_token(), _fingerprint(merchant, new)
                    ),
                    new,
                    desk.settings.duplicate_window_s,
                )
            except asyncpg.UniqueViolationError:
                twin = None  # the same number, at the same moment: theirs is read below
            if twin is not None:
                raise _duplicate(desk, twin)
            known = await orders.read_by_merchant_no(conn, merchant, new.merchant_order_no)
    assert known is not None
    order = known[0]
    if not _same(order, new):
        raise OrderConflict(
            f"merchant_order_no {new.merchant_order_no} is order {order.id} with other fields; "
            "send the same fields, or a new merchant_order_no."
        )
    return order, order.id == order_id


def _duplicate(desk: Desk, twin: ordering.Twin) -> DuplicateSubmission:
    DUPLICATES_PREVENTED.labels(kind="order").inc()
    return DuplicateSubmission(
        f"The same purchase was submitted a moment ago as order {twin.id}. Pay that one, or send "
        '"allow_duplicate": true to buy again.',
        members={
            "order": twin.id,
            "checkout_url": checkout_url(desk.settings.base_url, twin.token),
        },
    )


def _fingerprint(merchant: str, new: NewOrder) -> bytes | None:
    """Hash what makes two purchases look like one; without a buyer nobody can tell, so no guard."""
    if new.buyer_id is None or new.allow_duplicate:
        return None
    what = new.items or new.subject
    core = (merchant, new.buyer_id, str(new.amount), new.currency, what)
    return hashlib.sha256(_SEPARATOR.join(part.encode() for part in core)).digest()


def _same(order: Order, new: NewOrder) -> bool:
    """Do the fields of the request describe the order that is there? (When it expires may
    differ.)
    """
    return (
        order.amount == new.amount
        and order.currency == new.currency
        and order.subject == new.subject
        and order.buyer_id == new.buyer_id
        and order.notify_url == new.notify_url
        and order.return_url == new.return_url
        and _json(order.items) == _json(new.items)
        and _json(order.metadata) == _json(new.metadata)
    )


def _json(text: str | None) -> object:
    return msgspec.json.decode(text) if text is not None else None
