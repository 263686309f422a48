"""A second PayPal, small and obstinate, written from the protocol's description alone.

The sandbox is the first. An adapter that satisfies both has not been written around the mistakes of
one; so nothing here is taken from the sandbox or the adapter. It runs in the test's own process and
is driven by method calls. Faults are given per verb and hit the next calls of that verb.

Where the description leaves room, it differs from the sandbox: a replay is answered as the first
call was, byte for byte; the buyer's link is called `approve`; an order whose card was declined
stays approved; a refund is done at once; a capture names its order only by its link.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
from aiohttp import encode_basic_auth, web

from tests.fakes.paypal_crypto import CLIENT_ID, CLIENT_SECRET, MERCHANT_ID, PayPalSide

Json = dict[str, object]
Handler = Callable[[web.Request], Awaitable[web.Response]]
TOKEN = "A21AAFEpH4PsADK7qSS7pSRsgz"
CERTIFICATE = "/certs/CERT-360caa42-fca2a594"


class Refused(Exception):
    def __init__(self, status: int, issue: str) -> None:
        super().__init__(issue)
        self.status = status
        self.issue = issue


class AskedAmount(msgspec.Struct, forbid_unknown_fields=True):
    currency_code: str
    value: str


class AskedUnit(msgspec.Struct):
    reference_id: str
    custom_id: str
    invoice_id: str
    description: str
    amount: AskedAmount


class AskedContext(msgspec.Struct):
    return_url: str
    cancel_url: str


class AskedWallet(msgspec.Struct):
    experience_context: AskedContext


class AskedSource(msgspec.Struct):
    paypal: AskedWallet


class AskedOrder(msgspec.Struct):
    intent: str
    purchase_units: tuple[AskedUnit]
    payment_source: AskedSource


class AskedRefund(msgspec.Struct):
    amount: AskedAmount
    invoice_id: str
    custom_id: str


@dataclass
class Capture:
    id: str
    status: str
    value: str


@dataclass
class Refund:
    id: str
    number: str
    value: str
    status: str = "COMPLETED"


@dataclass
class Order:
    id: str
    unit: AskedUnit
    status: str = "CREATED"
    instrument: str = "good"
    value: str = ""  # what a capture takes, in the place of the price
    captures: list[Capture] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)

    @property
    def number(self) -> str:
        return self.unit.custom_id

    def amount(self, value: str) -> Json:
        return {"currency_code": self.unit.amount.currency_code, "value": value}


@dataclass(frozen=True)
class Fault:
    """What happens to one call: carried out or not, then answered with `said` (a status and an
    issue) or cut off.
    """

    executes: bool
    said: tuple[int, str] | None


@dataclass
class PayPalStub:
    """The channel."""

    side: PayPalSide
    orders: dict[str, Order] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)  # answers, by request id
    seen: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    raw: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # given as it is
    chain: str = ""  # served as the certificate; empty: PayPal's
    token: str = TOKEN  # the one that is good
    expires_in: int = 32400
    spoilt: int = 0  # how many answers are cut short
    refunds_fail: bool = False
    verdict: str = "SUCCESS"  # what is said to who asks about a webhook
    questions: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/oauth2/token", self._grant)
        app.router.add_get(CERTIFICATE, self._show_chain)
        app.router.add_post("/v1/notifications/verify-webhook-signature", self._verify)
        orders = "/v2/checkout/orders"
        app.router.add_post(orders, self._serve("create", self._create))
        app.router.add_get(orders + "/{id}", self._serve("query", self._query))
        app.router.add_post(orders + "/{id}/capture", self._serve("capture", self._capture))
        captures = "/v2/payments/captures/{id}"
        app.router.add_get(captures, self._serve("query_refund", self._query_capture))
        app.router.add_post(captures + "/refund", self._serve("refund", self._refund))
        return app

    # What the buyer does.

    def approve(self, number: str, value: str = "", instrument: str = "good") -> None:
        order = self.of(number)
        assert order.status in ("CREATED", "APPROVED")
        order.status, order.value, order.instrument = "APPROVED", value, instrument

    def of(self, number: str) -> Order:
        return next(order for order in self.orders.values() if order.number == number)

    def refund_of(self, number: str) -> tuple[Order, Refund]:
        return next(
            (order, refund)
            for order in self.orders.values()
            for refund in order.refunds
            if refund.number == number
        )

    def end_refund(self, number: str) -> None:
        self.refund_of(number)[1].status = "FAILED" if self.refunds_fail else "COMPLETED"

    # What it tells of its own accord.

    def captured_event(self, number: str) -> Json:
        order = self.of(number)
        capture = self._capture_body(order, order.captures[-1])
        return event("PAYMENT.CAPTURE.COMPLETED", "capture", capture)

    def approved_event(self, number: str) -> Json:
        return event("CHECKOUT.ORDER.APPROVED", "checkout-order", self._body(self.of(number)))

    def refund_event(self, number: str) -> Json:
        order, refund = self.refund_of(number)
        failed = refund.status == "FAILED"
        kind = "PAYMENT.REFUND.FAILED" if failed else "PAYMENT.CAPTURE.REFUNDED"
        return event(kind, "refund", self._refund_body(order, refund))

    # The calls.

    def _create(self, _id: str, body: bytes, request_id: str) -> Json:
        asked = msgspec.json.decode(body, type=AskedOrder)
        context = asked.payment_source.paypal.experience_context
        assert asked.intent == "CAPTURE"
        assert context.return_url.startswith("http")
        assert context.cancel_url.startswith("http")
        assert request_id
        order = Order(f"5O190127TN36471{len(self.orders):02}", asked.purchase_units[0])
        self.orders[order.id] = order
        return self._body(order)

    def _query(self, id_: str, _body: bytes, _request_id: str) -> Json:
        return self._body(self._known(id_))

    def _capture(self, id_: str, body: bytes, request_id: str) -> Json:
        assert body == b"{}"
        assert request_id
        order = self._known(id_)
        if order.status == "COMPLETED":
            raise Refused(422, "ORDER_ALREADY_CAPTURED")
        if order.status != "APPROVED":
            raise Refused(422, "ORDER_NOT_APPROVED")
        if order.instrument == "declined":
            raise Refused(422, "INSTRUMENT_DECLINED")
        order.status = "COMPLETED"
        ref = f"3C679366HH90899{len(self.orders):02}"
        status = "PENDING" if order.instrument == "slow" else "COMPLETED"
        order.captures.append(Capture(ref, status, order.value or order.unit.amount.value))
        return self._body(order)

    def _query_capture(self, id_: str, _body: bytes, _request_id: str) -> Json:
        return self._capture_body(*self._captured(id_))

    def _refund(self, id_: str, body: bytes, request_id: str) -> Json:
        asked = msgspec.json.decode(body, type=AskedRefund)
        assert request_id == asked.invoice_id == asked.custom_id
        order, capture = self._captured(id_)
        gone = sum(float(refund.value) for refund in order.refunds)
        if gone + float(asked.amount.value) > float(capture.value):
            raise Refused(422, "REFUND_AMOUNT_EXCEEDED")
        status = "PENDING" if self.refunds_fail else "COMPLETED"
        number = len(self.orders) * 10 + len(order.refunds)
        refund = Refund(f"1JU08902781{number:06}", request_id, asked.amount.value, status)
        order.refunds.append(refund)
        capture.status = "PARTIALLY_REFUNDED"
        return self._refund_body(order, refund)

    # How things look.

    def _body(self, order: Order) -> Json:
        shown: Json = {
            "reference_id": "default",
            "amount": order.amount(order.unit.amount.value),
            "payee": {"merchant_id": MERCHANT_ID},
            "custom_id": order.number,
            "invoice_id": order.unit.invoice_id,
        }
        if order.captures:
            shown["payments"] = {
                "captures": [self._capture_body(order, one) for one in order.captures],
                "refunds": [self._refund_body(order, one) for one in order.refunds],
            }
        links = [{"href": f"https://www.paypal.com/checkoutnow?token={order.id}", "rel": "approve"}]
        return {
            "id": order.id,
            "intent": "CAPTURE",
            "status": order.status,
            "purchase_units": [shown],
            "links": links if order.status == "CREATED" else [],
        }

    def _capture_body(self, order: Order, capture: Capture) -> Json:
        above = f"https://api-m.paypal.com/v2/checkout/orders/{order.id}"
        links = [{"href": above, "rel": "up", "method": "GET"}]
        return {
            "id": capture.id,
            "status": capture.status,
            "amount": order.amount(capture.value),
            "custom_id": order.number,
            "final_capture": True,
            "links": links,
        }

    def _refund_body(self, order: Order, refund: Refund) -> Json:
        return {
            "id": refund.id,
            "status": refund.status,
            "amount": order.amount(refund.value),
            "custom_id": refund.number,
        }

    def _known(self, id_: str) -> Order:
        if id_ not in self.orders:
            raise Refused(404, "INVALID_RESOURCE_ID")
        return self.orders[id_]

    def _captured(self, id_: str) -> tuple[Order, Capture]:
        for order in self.orders.values():
            for capture in order.captures:
                if capture.id == id_:
                    return order, capture
        raise Refused(404, "INVALID_RESOURCE_ID")

    # The door.

    async def _grant(self, request: web.Request) -> web.Response:
        self.calls["token"] += 1
        await self.gate.wait()
        if "token" in self.raw:
            status, text = self.raw.pop("token")
            return web.Response(status=status, body=text)
        if request.headers["Authorization"] != encode_basic_auth(CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        assert (await request.post())["grant_type"] == "client_credentials"
        granted = {"access_token": self.token, "token_type": "Bearer"}
        return web.json_response({**granted, "expires_in": self.expires_in})

    async def _show_chain(self, _request: web.Request) -> web.Response:
        self.calls["certificate"] += 1
        return web.Response(text=self.chain or self.side.chain)

    async def _verify(self, request: web.Request) -> web.Response:
        self.questions.append(await request.read())
        self._let_in(request)
        return web.json_response({"verification_status": self.verdict})

    def _serve(self, verb: str, act: Callable[[str, bytes, str], Json]) -> Handler:
        async def serve(request: web.Request) -> web.Response:
            self.calls[verb] += 1
            await self.gate.wait()
            if not self._let_in(request):
                return web.json_response({"error": "invalid_token"}, status=401)
            if verb in self.raw:
                status, text = self.raw.pop(verb)
                return web.Response(status=status, body=text)
            body = await request.read()
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.seen.append((verb, body, headers))
            faults = self.faults.get(verb)
            fault = faults.pop() if faults else None
            if fault is not None and not fault.executes:
                return self._failed(request, fault)
            answer = self._answer(request, verb, act, body)
            return answer if fault is None else self._failed(request, fault)

        return serve

    def _answer(
        self,
        request: web.Request,
        verb: str,
        act: Callable[[str, bytes, str], Json],
        body: bytes,
    ) -> web.Response:
        request_id = request.headers.get("PayPal-Request-Id", "")
        key, asks = f"{verb} {request_id}", request.method == "GET"
        if not asks and key in self.stored:
            return web.Response(text=self.stored[key], content_type="application/json")
        try:
            text = json.dumps(act(request.match_info.get("id", ""), body, request_id))
        except Refused as refusal:
            return refused(refusal.status, refusal.issue)
        if not asks:
            self.stored[key] = text
        if self.spoilt:
            self.spoilt -= 1
            text = text[: len(text) // 2]
        status = 200 if asks else 201
        return web.Response(status=status, text=text, content_type="application/json")

    def _failed(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.said is not None:
            return refused(*fault.said)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _let_in(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.token}"


def event(kind: str, resource_type: str, resource: Json) -> Json:
    return {
        "id": f"WH-2WR32451HC0233532-{abs(hash(resource['id'])) % 10**12}",
        "event_version": "1.0",
        "resource_type": resource_type,
        "event_type": kind,
        "resource": resource,
    }


def refused(status: int, issue: str) -> web.Response:
    body = {
        "name": "UNPROCESSABLE_ENTITY" if status == 422 else issue,
        "message": "See the description.",
        "debug_id": "90957fca61718",
        "details": [{"issue": issue, "description": "As it says."}],
    }
    return web.json_response(body, status=status)
