"""The calls about refunds: the merchant's, and the operators' decisions."""

from hashlib import sha256
from typing import Final

from aiohttp import web

from gateway.db import orders
from gateway.db import refunds as rows
from gateway.ids import OperatorId
from gateway.locks.once import once
from gateway.model import NewRefund, Refund
from gateway.objects import encode, refund_object
from gateway.payments.refund_requests import (
    approve,
    mark_returned,
    open_refund,
    reject,
    retry,
)
from gateway.web.bodies import DecisionBody, NewRefundBody, RefundsQuery, ReturnedBody
from gateway.web.calls import Reply
from gateway.web.idempotency import HEADER
from gateway.web.keys import DESK
from gateway.web.replies import RefundPage
from gateway.web.wire import Shape, connection, no_such, order_id, read_json, refund_id, send

_NEW_REFUND: Final = Shape(NewRefundBody)
_DECISION: Final = Shape(DecisionBody)
_RETURNED: Final = Shape(ReturnedBody)
_REFUNDS: Final = Shape(RefundsQuery)


async def open_one(request: web.Request, merchant: str) -> Reply:
    """POST /v1/orders/{order}/refunds"""
    body = _NEW_REFUND.from_json(await read_json(request))
    number = body.merchant_refund_no or _number_by_key(request)
    new = NewRefund(body.amount, body.reason, number)
    refund, fresh = await open_refund(request.app[DESK], order_id(request), merchant, new)
    return Reply(201 if fresh else 200, encode(refund_object(refund)))


def _number_by_key(request: web.Request) -> str | None:
    """Make the refund's number of the Idempotency-Key.

    So a repeat finds the refund also where PostgreSQL went away before the key could keep the
    answer; otherwise it would be a second refund.
    """
    key = request.headers.get(HEADER)
    return None if key is None else f"key-{sha256(key.encode()).hexdigest()[:32]}"


async def read_one(request: web.Request, merchant: str) -> web.Response:
    """GET /v1/refunds/{refund}"""
    wanted = refund_id(request)
    async with connection(request) as conn:
        reading = await orders.read_by_refund(conn, wanted)
        if reading is None or reading[0].merchant != merchant:
            raise no_such("refund")
        known = await rows.of_order(conn, reading[0].id)
    return _answer(next(refund for refund in known if refund.id == wanted))


async def search(request: web.Request, _operator: OperatorId) -> web.Response:
    """GET /v1/refunds"""
    query = _REFUNDS.from_query(request)
    async with connection(request) as conn:
        # The one too many says whether there is a next page.
        found = await rows.search(conn, query.state, query.cursor, query.limit + 1)
    shown = found[: query.limit]
    page = RefundPage(
        data=[refund_object(refund) for refund in shown],
        next_cursor=shown[-1].id if len(found) > len(shown) else None,
    )
    return send(Reply(200, encode(page)))


@once("refund", "note")
async def approve_one(request: web.Request, operator: OperatorId) -> web.Response:
    """POST /v1/refunds/{refund}/approve"""
    body = _DECISION.from_json(await read_json(request))
    return _answer(await approve(request.app[DESK], refund_id(request), operator, body.note))


@once("refund", "note")
async def reject_one(request: web.Request, operator: OperatorId) -> web.Response:
    """POST /v1/refunds/{refund}/reject"""
    body = _DECISION.from_json(await read_json(request))
    return _answer(await reject(request.app[DESK], refund_id(request), operator, body.note))


@once("refund", "note")
async def retry_one(request: web.Request, operator: OperatorId) -> web.Response:
    """POST /v1/refunds/{refund}/retry"""
    body = _DECISION.from_json(await read_json(request))
    return _answer(await retry(request.app[DESK], refund_id(request), operator, body.note))


@once("refund", "note", "reference")
async def mark_one_returned(request: web.Request, operator: OperatorId) -> web.Response:
    """POST /v1/refunds/{refund}/mark-returned"""
    body = _RETURNED.from_json(await read_json(request))
    refund = await mark_returned(
        request.app[DESK], refund_id(request), operator, body.note, body.reference
    )
    return _answer(refund)


def _answer(refund: Refund) -> web.Response:
    return send(Reply(200, encode(refund_object(refund))))
