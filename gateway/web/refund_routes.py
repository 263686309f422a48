"""The URLs about refunds, as rows of the route table."""

from typing import Final

from gateway.errors import (
    ChannelDown,
    Forbidden,
    InvalidRequest,
    NotFound,
    OrderNotPaid,
    RefundConflict,
    RefundExceedsCaptured,
    RefundNotSupported,
    SentTwice,
)
from gateway.objects import RefundObject
from gateway.web import refunds
from gateway.web.bodies import DecisionBody, NewRefundBody, RefundsQuery, ReturnedBody
from gateway.web.calls import Answer, Merchant, MerchantOnce, Operator, Route
from gateway.web.replies import RefundPage

REFUNDS: Final = (
    Route(
        name="openRefund",
        method="POST",
        path="/v1/orders/{order}/refunds",
        call=MerchantOnce(refunds.open_one),
        tag="Refunds",
        summary="Refund a paid order, or a part of it",
        detail="All refunds of an order together are never more than was captured, however many "
        "are asked for at once. The same `merchant_refund_no` with the same fields answers the "
        "same refund; left out, it is made of the Idempotency-Key, if there is one. The channel is "
        "called right away, and `refund.done` or `refund.failed` tells how it ended. Surplus money "
        "needs no call: it is given back by itself.",
        body=NewRefundBody,
        answers={
            201: Answer("The refund is under way.", RefundObject),
            200: Answer("The refund with that `merchant_refund_no`, as it stands.", RefundObject),
        },
        problems=(
            NotFound,
            OrderNotPaid,
            RefundExceedsCaptured,
            RefundConflict,
            RefundNotSupported,
            InvalidRequest,
        ),
        example={"amount": 234, "reason": "Out of stock", "merchant_refund_no": "R-417-1"},
    ),
    Route(
        name="readRefund",
        method="GET",
        path="/v1/refunds/{refund}",
        call=Merchant(refunds.read_one),
        tag="Refunds",
        summary="Read a refund",
        answers={200: Answer("The refund.", RefundObject)},
        problems=(NotFound,),
    ),
    Route(
        name="listRefunds",
        method="GET",
        path="/v1/refunds",
        call=Operator(refunds.search),
        tag="Refunds",
        summary="List refunds of every merchant, newest first",
        detail="`state=held` lists those that wait for operators, and those that the machine is "
        "about to look at; `state=failed` those that a channel refused.",
        query=RefundsQuery,
        answers={200: Answer("One page of refunds.", RefundPage)},
        problems=(InvalidRequest,),
    ),
    Route(
        name="approveRefund",
        method="POST",
        path="/v1/refunds/{refund}/approve",
        call=Operator(refunds.approve_one),
        tag="Refunds",
        summary="Approve a held refund",
        detail="It takes two operators: the first one asks (`asked_by`), and when another one "
        "approves too, the refund is sent.",
        body=DecisionBody,
        answers={200: Answer("The refund; `ready` once two have approved.", RefundObject)},
        problems=(
            NotFound,
            Forbidden,
            RefundConflict,
            RefundNotSupported,
            SentTwice,
            InvalidRequest,
        ),
        example={"note": "The buyer was charged twice."},
    ),
    Route(
        name="rejectRefund",
        method="POST",
        path="/v1/refunds/{refund}/reject",
        call=Operator(refunds.reject_one),
        tag="Refunds",
        summary="Decide that a held refund is not sent",
        body=DecisionBody,
        answers={200: Answer("The refund is rejected.", RefundObject)},
        problems=(NotFound, RefundConflict, SentTwice, InvalidRequest),
        example={"note": "The buyer agreed to keep it as credit."},
    ),
    Route(
        name="retryRefund",
        method="POST",
        path="/v1/refunds/{refund}/retry",
        call=Operator(refunds.retry_one),
        tag="Refunds",
        summary="Hold a failed or rejected refund for another try",
        detail="You are the first of its two operators; another one approves. One that failed "
        "gets another number at the channel, once the channel says again that the last failed.",
        body=DecisionBody,
        answers={200: Answer("The refund is held.", RefundObject)},
        problems=(
            NotFound,
            RefundConflict,
            RefundExceedsCaptured,
            SentTwice,
            ChannelDown,
            InvalidRequest,
        ),
        example={"note": "The account is topped up again."},
    ),
    Route(
        name="markRefundReturned",
        method="POST",
        path="/v1/refunds/{refund}/mark-returned",
        call=Operator(refunds.mark_one_returned),
        tag="Refunds",
        summary="Say that a held refund was returned by other means",
        body=ReturnedBody,
        answers={200: Answer("The refund is done.", RefundObject)},
        problems=(NotFound, RefundConflict, SentTwice, InvalidRequest),
        example={"note": "Paid out at the desk.", "reference": "Bank transfer 2026-11-21/88"},
    ),
)
