"""The URLs about events, as rows of the route table."""

from typing import Final

from gateway.errors import InvalidRequest, NotFound, RateLimited
from gateway.objects import EventObject
from gateway.web import events, feed
from gateway.web.bodies import EventsQuery, FeedQuery, NothingBody
from gateway.web.calls import Answer, Merchant, MerchantOnce, Route
from gateway.web.replies import EventPage, Redelivery

EVENTS: Final = (
    Route(
        name="readEvents",
        method="GET",
        path="/v1/events",
        call=Merchant(events.page),
        tag="Events",
        summary="Page through what happened",
        detail="The same events as the webhooks, in the order of their commits and without gaps: "
        "keep the id of the last one that you handled, and ask for those `after` it.",
        query=EventsQuery,
        answers={200: Answer("One page of events.", EventPage)},
        problems=(NotFound, InvalidRequest),
    ),
    Route(
        name="followEvents",
        method="GET",
        path="/v1/feed",
        call=Merchant(feed.follow),
        tag="Events",
        summary="A WebSocket: every event, as it happens",
        detail="The same log, read along: each message is the JSON of one event, in the order of "
        "the commits, without gaps. When the socket ends, come back `after` the last event that "
        "you have. Answer its pings; who does not read is let go.",
        query=FeedQuery,
        answers={101: Answer("The socket is open; it sends events.", EventObject)},
        problems=(NotFound, InvalidRequest, RateLimited),
    ),
    Route(
        name="redeliverEvent",
        method="POST",
        path="/v1/events/{event}/redeliver",
        call=MerchantOnce(events.redeliver),
        tag="Events",
        summary="Have a webhook sent again",
        body=NothingBody,
        answers={202: Answer("The webhook is due again.", Redelivery)},
        problems=(NotFound, InvalidRequest),
    ),
)
