"""PayPal as it behaves on the wire: Orders v2, Payments v2, tokens, webhooks, and the page on which
a buyer approves.

An order is debited only when the merchant captures it, and is known by PayPal's id; the merchant's
own number goes along as custom_id.
"""

from collections.abc import Callable, Iterable
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Call, Verb
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Payment
from gateway.sandbox.orders_channel import OrdersChannel
from gateway.sandbox.paypal_bodies import Bodies, kept_of, sent_of
from gateway.sandbox.paypal_gate import KIND, PREFIX, PayPalGate, PayPalRefusal
from gateway.sandbox.paypal_news import PayPalNews
from gateway.sandbox.paypal_orders import PayPalOrders
from gateway.sandbox.paypal_page import PayPalPage
from gateway.sandbox.paypal_refunds import PayPalRefunds

Act = Callable[[], tuple[int, object]]


class PayPal(OrdersChannel):
    """The channel: its addresses, and what the wallet may do with its orders."""

    kind = KIND

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._webhook_id = keys.paypal.webhook_id
        self._gate = PayPalGate(keys, shared.faults)
        self._bodies = Bodies(shared.public_url + PREFIX, keys.paypal.merchant_id)
        self._news = PayPalNews(keys, shared, self._bodies)
        self._orders = PayPalOrders(shared, self._news)
        self._refunds = PayPalRefunds(shared, self._news)
        self._page = PayPalPage(shared, self._orders, self.way_back)
        super().__init__(shared, self._orders, self._news.tell_paid, self._refunds.under_way)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        orders, payments = PREFIX + "/v2/checkout/orders", PREFIX + "/v2/payments"
        yield web.post(PREFIX + "/v1/oauth2/token", self._gate.grant)
        yield web.post(orders, self._create)
        yield web.get(orders + "/{id}", self._show_order)
        yield web.post(orders + "/{id}/capture", self._capture)
        yield web.get(payments + "/captures/{id}", self._show_capture)
        yield web.post(payments + "/captures/{id}/refund", self._refund)
        yield web.get(payments + "/refunds/{id}", self._show_refund)
        notifications = PREFIX + "/v1/notifications"
        yield web.get(notifications + "/certs/{id}", self._news.show_certificate)
        yield web.post(notifications + "/verify-webhook-signature", self._verify)
        yield web.get(notifications + "/webhooks/{id}", self._show_webhook)
        yield web.get(PREFIX + "/checkoutnow", self._page.show)
        yield web.post(PREFIX + "/checkoutnow", self._page.decide)

    def reset(self) -> None:
        super().reset()
        self._orders.forget()

    def way_back(self, payment: Payment, _wanted: str) -> str:
        """To the page for who approved, with the payer's id, or to the one for who did not."""
        context = sent_of(payment).context
        approved = kept_of(payment).approved_at is not None
        url = context.return_url if approved else context.cancel_url
        said = {"token": payment.ref} | ({"PayerID": "SANDBOXPAYER1"} if approved else {})
        return f"{url}{'&' if '?' in url else '?'}{urlencode(said)}"

    async def _create(self, request: web.Request) -> web.Response:
        """POST /v2/checkout/orders -> 201 the order; 200 the one that was made with this id"""
        body = await request.read()

        def act() -> tuple[int, object]:
            payment, is_new = self._orders.place(body, _key(request))
            return _made(is_new), self._bodies.order(payment, minimal=_minimal(request))

        return await self._serve(request, "create", _custom_id(body), act)

    async def _show_order(self, request: web.Request) -> web.Response:
        """GET /v2/checkout/orders/{id} -> the order, its captures and its refunds"""
        ref = request.match_info["id"]
        return await self._serve(
            request,
            "query",
            self._number_of(ref),
            lambda: (200, self._bodies.order(self._orders.find(ref))),
        )

    async def _capture(self, request: web.Request) -> web.Response:
        """POST /v2/checkout/orders/{id}/capture -> 201 the order, debited"""
        ref = request.match_info["id"]

        def act() -> tuple[int, object]:
            payment, is_new = self._orders.capture(ref, _key(request))
            return _made(is_new), self._bodies.order(payment, minimal=_minimal(request))

        return await self._serve(request, "capture", self._number_of(ref), act)

    async def _show_capture(self, request: web.Request) -> web.Response:
        """GET /v2/payments/captures/{id} -> the capture"""
        ref = request.match_info["id"]
        return await self._serve(
            request,
            "query_refund",
            self._number_of(ref),
            lambda: (200, self._bodies.capture(*self._refunds.find_capture(ref))),
        )

    async def _refund(self, request: web.Request) -> web.Response:
        """POST /v2/payments/captures/{id}/refund -> 201 the refund"""
        body, ref = await request.read(), request.match_info["id"]

        def act() -> tuple[int, object]:
            payment, refund, is_new = self._refunds.ask(ref, body, _key(request))
            return _made(is_new), self._bodies.refund(payment, refund)

        return await self._serve(request, "refund", _key(request), act)

    async def _show_refund(self, request: web.Request) -> web.Response:
        """GET /v2/payments/refunds/{id} -> the refund"""
        ref = request.match_info["id"]
        return await self._serve(
            request,
            "query_refund",
            ref,
            lambda: (200, self._bodies.refund(*self._refunds.find(ref))),
        )

    async def _verify(self, request: web.Request) -> web.Response:
        """POST /v1/notifications/verify-webhook-signature -> {verification_status}"""
        kept_out = self._gate.keep_out(request)
        if kept_out is not None:
            return kept_out
        try:
            status = self._news.verify(await request.read())
        except msgspec.DecodeError as error:
            return self._gate.refuse(PayPalRefusal(400, "VALIDATION_ERROR", str(error)))
        return self._gate.answer(200, {"verification_status": status})

    async def _show_webhook(self, request: web.Request) -> web.Response:
        """GET /v1/notifications/webhooks/{id} -> where it calls, which is where all news goes"""
        kept_out = self._gate.keep_out(request)
        if kept_out is not None:
            return kept_out
        named = request.match_info["id"]
        if named != self._webhook_id:
            return self._gate.refuse(PayPalRefusal(404, "INVALID_RESOURCE_ID"))
        told = {"id": named, "url": self._shared.webhooks.get(KIND, "")}
        return self._gate.answer(200, {**told, "event_types": [{"name": "*"}]})

    async def _serve(self, request: web.Request, verb: Verb, number: str, act: Act) -> web.Response:
        kept_out = self._gate.keep_out(request)
        if kept_out is not None:
            return kept_out

        def attempt() -> web.Response:
            try:
                status, body = act()
            except PayPalRefusal as refusal:
                return self._gate.refuse(refusal)
            return self._gate.answer(status, body)

        call = Call(KIND, verb, number)
        return await self._shared.faults.answer(request, call, attempt, self._gate.fail)

    def _number_of(self, ref: str) -> str:
        payment = self._shared.ledger.find_by_ref(KIND, ref)
        return payment.number if payment is not None else ref


def _made(is_new: bool) -> int:
    return 201 if is_new else 200


def _key(request: web.Request) -> str:
    return request.headers.get("PayPal-Request-Id", "")


def _minimal(request: web.Request) -> bool:
    return request.headers.get("Prefer") != "return=representation"


class _Named(msgspec.Struct):
    custom_id: str = ""


class _About(msgspec.Struct):
    purchase_units: tuple[_Named, ...] = ()


def _custom_id(body: bytes) -> str:
    """The merchant's number, for the count of calls, whatever else the body says."""
    try:
        units = msgspec.json.decode(body, type=_About).purchase_units
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return units[0].custom_id if units else ""
