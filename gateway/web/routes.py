"""Every URL of the gateway, in one table that routes it and describes it."""

from typing import Final, assert_never

from aiohttp import web

from gateway.errors import (
    ChannelDown,
    DuplicateSubmission,
    InvalidRequest,
    NotFound,
    OrderAlreadyPaid,
    OrderConflict,
    PayloadTooLarge,
)
from gateway.objects import AttemptObject, OrderObject
from gateway.web import (
    attempts,
    callbacks,
    docs,
    health,
    openapi,
    orders,
    pages,
)
from gateway.web.auth import KEY_RING, KeyRing, merchant_of, operator_of
from gateway.web.bodies import (
    ApplyBody,
    NewOrderBody,
    NothingBody,
    OrdersQuery,
    WaitQuery,
)
from gateway.web.calls import (
    Answer,
    Anyone,
    Buyer,
    Call,
    Handler,
    Merchant,
    MerchantOnce,
    Operator,
    Route,
)
from gateway.web.checkout_routes import CHECKOUT, PAGE, PAYING
from gateway.web.event_routes import EVENTS
from gateway.web.idempotency import call_once
from gateway.web.refund_routes import REFUNDS
from gateway.web.replies import Alive, OrderPage, Readiness, Timeline
from gateway.web.wire import send

ORDERS: Final = (
    Route(
        name="openOrder",
        method="POST",
        path="/v1/orders",
        call=MerchantOnce(orders.open_one),
        tag="Orders",
        summary="Open an order",
        detail="`merchant_order_no` makes it happen once: the same number with the same fields "
        "answers the same order. The same purchase of the same buyer under another number within "
        "seconds is refused as `duplicate_submission`, unless `allow_duplicate` says it is meant.",
        body=NewOrderBody,
        answers={
            201: Answer("The order is open.", OrderObject),
            200: Answer("The order was open already, with the same fields.", OrderObject),
        },
        problems=(OrderConflict, DuplicateSubmission, InvalidRequest),
        example={
            "merchant_order_no": "2026-11-000417",
            "amount": 1234,
            "currency": "CNY",
            "subject": "Jasmine tea",
        },
    ),
    Route(
        name="searchOrders",
        method="GET",
        path="/v1/orders",
        call=Merchant(orders.search),
        tag="Orders",
        summary="Search orders, newest first",
        query=OrdersQuery,
        answers={200: Answer("One page of orders.", OrderPage)},
        problems=(InvalidRequest,),
    ),
    Route(
        name="readOrder",
        method="GET",
        path="/v1/orders/{order}",
        call=Merchant(orders.read_one),
        tag="Orders",
        summary="Read an order, or wait until it changes",
        detail="With `version` and `wait` the answer is held until the order is newer than that "
        "version, or the seconds are over: then it is answered as it is.",
        query=WaitQuery,
        answers={
            200: Answer("The order.", OrderObject),
            304: Answer("`If-None-Match` names the version that it still has.", media=""),
        },
        problems=(NotFound, InvalidRequest),
    ),
    Route(
        name="closeOrder",
        method="POST",
        path="/v1/orders/{order}/close",
        call=MerchantOnce(orders.close_one),
        tag="Orders",
        summary="Close an order",
        detail="The channels are asked first, and close what they have of it. Where one does not "
        "say whether it was paid, nothing changes and the answer is `channel_unavailable`.",
        body=NothingBody,
        answers={200: Answer("The order is closed.", OrderObject)},
        problems=(NotFound, OrderAlreadyPaid, InvalidRequest, ChannelDown),
    ),
    Route(
        name="readTimeline",
        method="GET",
        path="/v1/orders/{order}/events",
        call=Merchant(orders.timeline),
        tag="Orders",
        summary="Read the history of an order",
        answers={200: Answer("Every move of the order and its attempts, oldest first.", Timeline)},
        problems=(NotFound,),
    ),
)

ATTEMPTS: Final = (
    Route(
        name="applyForPayment",
        method="POST",
        path="/v1/orders/{order}/attempts",
        call=MerchantOnce(attempts.apply, replay=attempts.answer_anew),
        tag="Attempts",
        summary="Apply for payment",
        detail="Whoever asks for the same channel, product and payer gets the same attempt. "
        "Another channel first closes the attempt before it, so that an order is never paid twice. "
        "A repeated Idempotency-Key is answered as things stand: never a code for what is paid.",
        body=ApplyBody,
        answers={
            201: Answer("A new attempt; `next_action` is what the buyer does next.", AttemptObject),
            200: Answer("The attempt that there is already.", AttemptObject),
        },
        problems=PAYING,
        example={"channel": "wechat", "terminal": "pc"},
    ),
    Route(
        name="readAttempt",
        method="GET",
        path="/v1/attempts/{attempt}",
        call=Merchant(attempts.read_one),
        tag="Attempts",
        summary="Read an attempt",
        answers={200: Answer("The attempt.", AttemptObject)},
        problems=(NotFound,),
    ),
)

CALLBACKS: Final = (
    Route(
        name="receiveCallback",
        method="POST",
        path="/callbacks/{account:[A-Za-z0-9._-]{1,64}}",
        call=Anyone(callbacks.receive),
        tag="Callbacks",
        summary="Where a channel reports",
        detail="The channel's own protocol, signature and acknowledgement.",
        answers={200: Answer("The channel's acknowledgement: what it said is committed.")},
        problems=(NotFound, PayloadTooLarge),
    ),
)

OPERATION: Final = (
    Route(
        name="readRoot",
        method="GET",
        path="/",
        call=Anyone(docs.root),
        tag="Operation",
        summary="Where to begin",
        answers={303: Answer("This description, for people.", media="")},
    ),
    Route(
        name="readOpenapi",
        method="GET",
        path="/openapi.json",
        call=Anyone(openapi.document),
        tag="Operation",
        summary="This description, for programs",
        answers={200: Answer("An OpenAPI 3.1 document.")},
    ),
    Route(
        name="readDocs",
        method="GET",
        path="/docs",
        call=Anyone(docs.page),
        tag="Operation",
        summary="This description, for people",
        answers={200: PAGE},
    ),
    Route(
        name="readStaticFile",
        method="GET",
        path="/static/{name:.+}",
        call=Anyone(pages.static_file),
        tag="Operation",
        summary="Styles, scripts and pictures of the pages",
        answers={200: Answer("The file.", media="")},
        problems=(NotFound,),
    ),
    Route(
        name="isAlive",
        method="GET",
        path="/health/live",
        call=Anyone(health.live),
        tag="Operation",
        summary="Does the process run?",
        answers={200: Answer("It runs.", Alive)},
    ),
    Route(
        name="isReady",
        method="GET",
        path="/health/ready",
        call=Anyone(health.ready),
        tag="Operation",
        summary="Can it serve?",
        detail="PostgreSQL is needed; without Redis the gateway is slower and says `degraded`.",
        answers={
            200: Answer("It can.", Readiness),
            503: Answer("It cannot: PostgreSQL is not there.", Readiness),
        },
    ),
    Route(
        name="readMetrics",
        method="GET",
        path="/metrics",
        call=Anyone(health.metrics),
        tag="Operation",
        summary="Numbers for Prometheus",
        answers={200: Answer("The text format of Prometheus.", media="text/plain")},
    ),
)

ROUTES: Final = (*ORDERS, *ATTEMPTS, *REFUNDS, *EVENTS, *CHECKOUT, *CALLBACKS, *OPERATION)


def add_routes(app: web.Application) -> None:
    """Route every URL. What reads may be asked by HEAD too, except for the socket."""
    app[KEY_RING] = KeyRing()
    app[openapi.DOCUMENT] = openapi.describe(ROUTES)
    for route in ROUTES:
        handler = _answering(route.call)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET" and 101 not in route.answers:
            app.router.add_route("HEAD", route.path, handler)


def _answering(call: Call) -> Handler:
    """Return what aiohttp calls: the handler behind the proof of who is calling."""
    match call:
        case Anyone(handler=handler) | Buyer(handler=handler):
            return handler
        case Merchant(handler=handler_of_merchant):

            async def for_merchant(request: web.Request) -> web.StreamResponse:
                return await handler_of_merchant(request, await merchant_of(request))

            return for_merchant
        case MerchantOnce():

            async def once(request: web.Request) -> web.StreamResponse:
                return send(await call_once(call, request, await merchant_of(request)))

            return once
        case Operator(handler=handler_of_operator):

            async def for_operator(request: web.Request) -> web.StreamResponse:
                return await handler_of_operator(request, await operator_of(request))

            return for_operator
        case _:
            assert_never(call)
