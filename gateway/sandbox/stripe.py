"""Stripe as it behaves on the wire: cards through Checkout, and Boleto, of one merchant.

Forms with brackets come in, JSON goes out, and a call that comes again with its Idempotency-Key is
answered again. Beside the API there are the pages that buyers see.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from aiohttp import web

from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Call, Verb
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Payment
from gateway.sandbox.stripe_errors import StripeRefusal
from gateway.sandbox.stripe_forms import Form, read_form, text_in, texts_in
from gateway.sandbox.stripe_gate import Said, StripeGate
from gateway.sandbox.stripe_news import StripeNews
from gateway.sandbox.stripe_objects import Json, list_object
from gateway.sandbox.stripe_pages import StripePages
from gateway.sandbox.stripe_payments import StripePayments
from gateway.sandbox.stripe_refunds import StripeRefunds
from gateway.sandbox.stripe_state import BOLETO, CARD, state_of

PREFIX = "/stripe"
SEARCHED = ("metadata['number']:'", 'metadata["number"]:"')
"""What a search begins with; no other is known here."""

Act = Callable[[Form], Said]


class Stripe:
    """The API, and the pages."""

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self.shared = shared
        news = StripeNews(keys, shared)
        self.payments = StripePayments(shared, news)
        self.refunds = StripeRefunds(shared, news, self.payments)
        self.gate = StripeGate(keys, shared.faults)
        self._pages = StripePages(keys.merchant_name, shared, self.payments)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        intents, sessions = f"{PREFIX}/v1/payment_intents", f"{PREFIX}/v1/checkout/sessions"
        yield web.post(sessions, self._make_session)
        yield web.get(sessions + "/{session}", self._show_session)
        yield web.post(sessions + "/{session}/expire", self._expire_session)
        yield web.post(intents, self._make_intent)
        yield web.get(intents + "/search", self._search)
        yield web.get(intents + "/{intent}", self._show_intent)
        yield web.post(intents + "/{intent}/capture", self._capture)
        yield web.post(intents + "/{intent}/cancel", self._cancel)
        yield web.post(f"{PREFIX}/v1/refunds", self._refund)
        yield web.get(f"{PREFIX}/v1/refunds", self._list_refunds)
        yield web.get(PREFIX + "/v1/refunds/{refund}", self._show_refund)
        yield from self._pages.routes(PREFIX)

    async def _make_session(self, request: web.Request) -> web.Response:
        """POST /v1/checkout/sessions"""
        return await self._serve(request, "create", self.payments.make_session, CARD)

    async def _make_intent(self, request: web.Request) -> web.Response:
        """POST /v1/payment_intents"""
        return await self._serve(request, "create", self.payments.make_slip, BOLETO)

    async def _show_session(self, request: web.Request) -> web.Response:
        """GET /v1/checkout/sessions/{id}?expand[]=payment_intent"""
        session = request.match_info["session"]

        def show(form: Form) -> Json:
            return self.payments.show_session(session, texts_in(form, "expand"))

        return await self._serve(request, "query", show, CARD, self._of_session(session))

    async def _expire_session(self, request: web.Request) -> web.Response:
        """POST /v1/checkout/sessions/{id}/expire"""
        session = request.match_info["session"]

        def expire(_form: Form) -> Json:
            return self.payments.expire_session(session)

        return await self._serve(request, "close", expire, CARD, self._of_session(session))

    async def _show_intent(self, request: web.Request) -> web.Response:
        """GET /v1/payment_intents/{id}?expand[]=latest_charge"""
        intent = request.match_info["intent"]

        def show(form: Form) -> Json:
            payment = self.payments.intent(intent)
            return self.payments.show(payment, intent, texts_in(form, "expand"))

        return await self._serve(request, "query", show, *self._of_intent(intent))

    async def _search(self, request: web.Request) -> web.Response:
        """GET /v1/payment_intents/search?query=metadata['number']:'...'"""
        number = _searched(request.query.get("query", ""))
        found = self.payments.found(number)

        def search(form: Form) -> Json:
            if not number:
                raise StripeRefusal("This sandbox finds metadata['number'] alone.", param="query")
            deeper = [path.removeprefix("data.") for path in texts_in(form, "expand")]
            shown = [self.payments.show(*each, deeper) for each in found]
            url = "/v1/payment_intents/search"
            return list_object(url, shown, more=False, kind="search_result")

        channel = found[0][0].channel if found else BOLETO
        return await self._serve(request, "query", search, channel, number)

    async def _capture(self, request: web.Request) -> web.Response:
        """POST /v1/payment_intents/{id}/capture"""
        intent = request.match_info["intent"]

        def capture(form: Form) -> Json:
            return self.payments.capture(intent, form, texts_in(form, "expand"))

        return await self._serve(request, "capture", capture, *self._of_intent(intent))

    async def _cancel(self, request: web.Request) -> web.Response:
        """POST /v1/payment_intents/{id}/cancel"""
        intent = request.match_info["intent"]

        def cancel(form: Form) -> Json:
            return self.payments.cancel(intent, form)

        return await self._serve(request, "close", cancel, *self._of_intent(intent))

    async def _refund(self, request: web.Request) -> web.Response:
        """POST /v1/refunds"""
        return await self._serve(request, "refund", self.refunds.ask, CARD)

    async def _list_refunds(self, request: web.Request) -> web.Response:
        """GET /v1/refunds?payment_intent="""
        about = self._of_intent(request.query.get("payment_intent", ""))
        return await self._serve(request, "query_refund", self.refunds.list_of, *about)

    async def _show_refund(self, request: web.Request) -> web.Response:
        """GET /v1/refunds/{id}"""
        refund = request.match_info["refund"]

        def show(_form: Form) -> Json:
            return self.refunds.show(refund)

        return await self._serve(request, "query_refund", show, CARD, refund)

    async def _serve(
        self, request: web.Request, verb: Verb, act: Act, channel: str, number: str = ""
    ) -> web.Response:
        text = await request.text() if request.method == "POST" else request.query_string
        number = number or _number_in(text)

        def do() -> Said:
            return act(read_form(text))

        said = f"{request.method} {request.path} {text}"
        return await self.gate.serve(request, Call(channel, verb, number), said, do)

    def _of_session(self, session: str) -> str:
        """The number that a call about a session is about."""
        try:
            return self.payments.session(session).number
        except StripeRefusal:
            return session

    def _of_intent(self, intent: str) -> tuple[str, str]:
        """The channel and the number that a call about a PaymentIntent is about."""
        try:
            payment = self.payments.intent(intent)
        except StripeRefusal:
            return CARD, intent
        return payment.channel, payment.number


class Card:
    """Cards, to the control calls: paying is confirming on Stripe's page."""

    kind = CARD

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe
        self._payments = stripe.payments

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return self._stripe.routes()

    def resume(self) -> None:
        self._payments.resume(CARD)
        for payment in self._stripe.shared.ledger:
            if payment.channel == CARD:
                self._stripe.refunds.under_way.resume(payment)

    def reset(self) -> None:
        self._stripe.refunds.under_way.reset()
        self._stripe.gate.forget()

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        return self._payments.hold(number, amount, at, again=again)

    def scan(self, number: str) -> Payment:
        return self._payments.scan(CARD, number)

    def decline(self, number: str) -> Payment:
        return self._payments.decline(CARD, number)

    def way_back(self, payment: Payment, _wanted: str) -> str:
        return state_of(payment).success_url


class Boleto:
    """Slips, to the control calls: paying is done at a bank."""

    kind = BOLETO

    def __init__(self, stripe: Stripe) -> None:
        self._payments = stripe.payments

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return ()

    def resume(self) -> None:
        self._payments.resume(BOLETO)

    def reset(self) -> None:
        self._payments.reset()

    def pay(self, number: str, *, amount: int | None, at: datetime | None, again: bool) -> Payment:
        return self._payments.pay_slip(number, amount, at, again=again)

    def scan(self, number: str) -> Payment:
        return self._payments.scan(BOLETO, number)

    def decline(self, number: str) -> Payment:
        return self._payments.decline(BOLETO, number)

    def way_back(self, _payment: Payment, _wanted: str) -> str:
        return ""


def _number_in(text: str) -> str:
    """The number in a form's metadata, for the count of calls; nothing where it is none."""
    try:
        form = read_form(text)
    except StripeRefusal:
        return ""
    return text_in(form, "metadata", "number")


def _searched(query: str) -> str:
    for beginning in SEARCHED:
        if query.startswith(beginning) and query.endswith(beginning[-1]):
            return query.removeprefix(beginning)[:-1]
    return ""
