"""A PayOnce for the shop's tests: it speaks the contract, and lies, stalls or repeats on demand.

It is written from the public contract alone and shares no code with the gateway, so that the shop
is held to what merchants were promised and not to how it happens to be kept.
"""

import asyncio
import datetime as dt
import itertools
from typing import Literal

import aiohttp
import msgspec
from aiohttp import web
from standardwebhooks import Webhook

API_KEY = "key_of_the_demo_merchant"
SECRET = "whsec_c2hvcC1hbmQtZ2F0ZXdheS1zaGFyZS10aGlzLXNlY3JldA=="

Trouble = Literal["lose_request", "lose_answer", "stall", "error", "garbage"]


class NewItem(msgspec.Struct, forbid_unknown_fields=True):
    """A line of POST /v1/orders."""

    name: str
    quantity: int
    unit_amount: int | None = None


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/orders, as strict as the contract."""

    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    buyer_id: str | None = None
    items: list[NewItem] | None = None
    notify_url: str | None = None
    return_url: str | None = None
    allow_duplicate: bool = False


class PayOnceOrder(msgspec.Struct, frozen=True):
    """The order object; a shop reads the fields it needs and must bear the rest."""

    id: str
    merchant_order_no: str
    amount: int
    currency: str
    subject: str
    checkout_url: str
    notify_url: str | None
    return_url: str | None
    state: str = "open"
    version: int = 1
    object: str = "order"
    close_reason: str | None = None


class FakePayOnce:
    """Orders by the shop's number; what happens to them is the test's word."""

    def __init__(self) -> None:
        self.url = ""
        self.orders: dict[str, PayOnceOrder] = {}
        self.bodies: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.trouble: Trouble | None = None
        self.refuses_duplicates = False
        self.is_paid_at_once = False
        self._numbers = itertools.count(1)
        self._open_again = asyncio.Event()

    def app(self) -> web.Application:
        """The server."""
        app = web.Application(middlewares=[self._trouble])
        app.add_routes(
            [
                web.post("/v1/orders", self._create),
                web.get("/v1/orders/{id}", self._show),
                web.get("/checkout/{token}", self._checkout),
            ]
        )
        return app

    def recover(self) -> None:
        """End the trouble and whatever is stalled by it."""
        self.trouble = None
        self._open_again.set()

    def count(self, call: str) -> int:
        """How often this call was made, such as "POST"."""
        return sum(1 for made in self.calls if made.startswith(call))

    def move(self, no: str, state: str, versions: int = 1) -> PayOnceOrder:
        """Let something happen to an order: it has this state from now on."""
        old = self.orders[no]
        self.orders[no] = msgspec.structs.replace(old, state=state, version=old.version + versions)
        return self.orders[no]

    @web.middleware
    async def _trouble(
        self, request: web.Request, handler: aiohttp.typedefs.Handler
    ) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if request.path.startswith("/v1/"):
            assert request.headers["Authorization"] == f"Bearer {API_KEY}"
        match self.trouble:
            case None:
                return await handler(request)
            case "stall":
                await self._open_again.wait()
            case "error":
                return problem(503, "service_unavailable")
            case "garbage":
                return web.Response(text="<html>a proxy's page</html>")
            case "lose_answer":
                await handler(request)
            case "lose_request":
                pass
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.read()
        key = request.headers["Idempotency-Key"]
        if self.bodies.setdefault(key, body) != body:
            return problem(422, "idempotency_mismatch")
        new = msgspec.json.decode(body, type=NewOrder)
        known = self.orders.get(new.merchant_order_no)
        if known is not None:
            return answer(known)
        if self.refuses_duplicates and self.orders and not new.allow_duplicate:
            first = next(iter(self.orders.values()))
            return problem(
                409, "duplicate_submission", order=first.id, checkout_url=first.checkout_url
            )
        number = next(self._numbers)
        order = PayOnceOrder(
            id=f"ord_{number:026}",
            merchant_order_no=new.merchant_order_no,
            amount=new.amount,
            currency=new.currency,
            subject=new.subject,
            checkout_url=f"{self.url}/checkout/token{number}",
            notify_url=new.notify_url,
            return_url=new.return_url,
        )
        self.orders[order.merchant_order_no] = order
        if self.is_paid_at_once:  # the buyer is quick, and the webhook is lost
            self.move(order.merchant_order_no, "paid")
        return answer(order, 201)

    async def _show(self, request: web.Request) -> web.Response:
        for order in self.orders.values():
            if order.id == request.match_info["id"]:
                return answer(order)
        return problem(404, "not_found")

    async def _checkout(self, request: web.Request) -> web.Response:
        return web.Response(text=f"checkout {request.match_info['token']}")


def answer(order: PayOnceOrder, status: int = 200) -> web.Response:
    """The order as JSON."""
    return web.Response(
        body=msgspec.json.encode(order), status=status, content_type="application/json"
    )


def problem(status: int, code: str, **more: str) -> web.Response:
    """An error as RFC 9457 has it."""
    body = {"type": "about:blank", "title": code, "status": status, "code": code, **more}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/problem+json"
    )


def event_body(order: PayOnceOrder, event_id: str, kind: str = "order.paid") -> bytes:
    """The body of a webhook about this order."""
    event = {
        "id": event_id,
        "type": kind,
        "timestamp": dt.datetime.now(dt.UTC).isoformat(),
        "order": order.id,
        "version": order.version,
        "data": {"order": order},
    }
    return msgspec.json.encode(event)


def sign(body: bytes, event_id: str, *, secret: str = SECRET, age_s: float = 0.0) -> dict[str, str]:
    """The headers of a webhook that was signed so many seconds ago."""
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode()),
    }
