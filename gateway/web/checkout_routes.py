"""The URLs of the buyer's side, as rows of the route table."""

from typing import Final

from gateway.errors import (
    ApplyInProgress,
    ChannelDown,
    ChannelNotConfigured,
    ChannelRefusal,
    Forbidden,
    InvalidRequest,
    NotFound,
    OrderAlreadyPaid,
    OrderClosed,
    Problem,
    RateLimited,
)
from gateway.objects import AttemptObject, Snapshot
from gateway.web import checkout, identify
from gateway.web.bodies import WaitQuery
from gateway.web.calls import Answer, Buyer, Route

PAYING: Final[tuple[type[Problem], ...]] = (
    NotFound,
    OrderAlreadyPaid,
    OrderClosed,
    ApplyInProgress,
    InvalidRequest,
    ChannelNotConfigured,
    ChannelRefusal,
    RateLimited,
    ChannelDown,
)
PAGE: Final = Answer("The page, complete.", media="text/html")

CHECKOUT: Final = (
    Route(
        name="checkoutPage",
        method="GET",
        path="/checkout/{token}",
        call=Buyer(checkout.page),
        tag="Checkout",
        summary="The page on which the buyer pays",
        answers={200: PAGE},
        problems=(NotFound,),
    ),
    Route(
        name="scanCode",
        method="GET",
        path="/q/{token}",
        call=Buyer(checkout.q),
        tag="Checkout",
        summary="What the one code for all wallets points to",
        detail="The wallet that scanned decides the channel; nothing is made before the page that "
        "it leads to is seen there.",
        answers={303: Answer("`Location` is the page.", media="")},
        problems=(NotFound,),
    ),
    Route(
        name="identifyBuyer",
        method="GET",
        path="/checkout/{token}/identify",
        call=Buyer(identify.identify),
        tag="Checkout",
        summary="Where a page inside a wallet sends the buyer to be recognised",
        detail="For payments that are made for one person (`jsapi`). Elsewhere it leads back to "
        "the page.",
        answers={303: Answer("`Location` is the wallet's own page, or ours.", media="")},
        problems=(NotFound,),
    ),
    Route(
        name="buyerIdentified",
        method="GET",
        path="/checkout/{token}/identified",
        call=Buyer(identify.identified),
        tag="Checkout",
        summary="Where the wallet sends the buyer back to",
        detail="With `code` and `state`, which counts only for the browser that was sent.",
        answers={303: Answer("`Location` is the page.", media="")},
        problems=(NotFound,),
    ),
    Route(
        name="applyAsBuyer",
        method="POST",
        path="/checkout/{token}/attempts",
        call=Buyer(checkout.apply),
        tag="Checkout",
        summary="Apply for payment, as the buyer",
        answers={
            201: Answer("A new attempt.", AttemptObject),
            200: Answer("The attempt that there is already.", AttemptObject),
        },
        problems=(*PAYING, Forbidden),
    ),
    Route(
        name="askWhoPays",
        method="GET",
        path="/checkout/{token}/details/{channel}",
        call=Buyer(checkout.details),
        tag="Checkout",
        summary="The form for channels that name who pays (`boleto`)",
        detail="Looking at it makes nothing. It is posted to `/checkout/{token}/attempts`.",
        answers={200: PAGE},
        problems=(NotFound,),
    ),
    Route(
        name="readSnapshot",
        method="GET",
        path="/checkout/{token}/status",
        call=Buyer(checkout.status),
        tag="Checkout",
        summary="Where the order stands, or wait until that changes",
        query=WaitQuery,
        answers={
            200: Answer(
                "The snapshot; of two, the one with the higher version is right.", Snapshot
            ),
            304: Answer("`If-None-Match` names what it still is.", media=""),
        },
        problems=(NotFound, InvalidRequest, RateLimited),
    ),
    Route(
        name="checkoutFragment",
        method="GET",
        path="/checkout/{token}/fragment",
        call=Buyer(checkout.fragment),
        tag="Checkout",
        summary="The part of the page that changes",
        answers={200: Answer("HTML to put in its place.", media="text/html")},
        problems=(NotFound,),
    ),
    Route(
        name="returnFromChannel",
        method="GET",
        path="/checkout/{token}/return/{attempt}",
        call=Buyer(checkout.returned),
        tag="Checkout",
        summary="Where channels send the buyer back to",
        detail="The channel is asked once; a buyer's return is never taken for a payment.",
        answers={200: PAGE},
        problems=(NotFound,),
    ),
    Route(
        name="returnFromChannelByForm",
        method="POST",
        path="/checkout/{token}/return/{attempt}",
        call=Buyer(checkout.returned_by_form),
        tag="Checkout",
        summary="Where channels send the buyer back to with a form",
        detail="The form is not read; the browser is sent on to the same address.",
        answers={303: Answer("`Location` is the same address, to be read.", media="")},
        problems=(NotFound,),
    ),
    Route(
        name="watchOrder",
        method="GET",
        path="/checkout/{token}/ws",
        call=Buyer(checkout.ws),
        tag="Checkout",
        summary="A WebSocket: the snapshot at once, then at every change",
        answers={101: Answer("The socket is open; it sends snapshots.", Snapshot)},
        problems=(NotFound, Forbidden, RateLimited),
    ),
)
