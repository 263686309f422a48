"""The pages that buyers see at Stripe: where a card is entered, where its bank asks, and the slip.

No card's number is asked for: buttons stand for the cards that Stripe has for tests.
"""

from collections.abc import Iterable

from aiohttp import web

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import NotPayable, Payment
from gateway.sandbox.stripe_payments import StripePayments
from gateway.sandbox.stripe_slips import SAO_PAULO, pdf_of, shown_line, stripes
from gateway.sandbox.stripe_state import BOLETO, CARD, session_status, state_of
from gateway.sandbox.wallet import price_of, show_page


class StripePages:
    def __init__(self, payee: str, shared: Shared, payments: StripePayments) -> None:
        self._payee = payee
        self._shared = shared
        self._payments = payments

    def routes(self, prefix: str) -> Iterable[web.AbstractRouteDef]:
        yield web.get(prefix + "/c/pay/{session}", self._show_checkout)
        yield web.post(prefix + "/c/pay/{session}", self._confirm)
        yield web.get(prefix + "/c/secure/{session}", self._show_bank)
        yield web.get(prefix + "/v/{intent}", self._show_slip)
        yield web.get(prefix + "/v/{intent}/pdf", self._send_slip)

    async def _show_checkout(self, request: web.Request) -> web.Response:
        """GET /c/pay/{session} - the page that takes a card"""
        return self._page(request, "stripe_checkout.html", declined="declined" in request.query)

    async def _show_bank(self, request: web.Request) -> web.Response:
        """GET /c/secure/{session} - the card's bank asks whether it is its owner (3-D Secure)"""
        return self._page(request, "stripe_secure.html", declined=False)

    async def _confirm(self, request: web.Request) -> web.Response:
        """POST /c/pay/{session} card=good|secure|declined - then back to the shop, or try again"""
        payment = self._card(request)
        card = (await request.post()).get("card")
        here = f"/stripe/c/pay/{payment.tokens[0]}"
        if card == "secure":
            raise web.HTTPSeeOther(f"/stripe/c/secure/{payment.tokens[0]}")
        try:
            if card != "good":
                self._payments.decline(CARD, payment.number)
                raise web.HTTPSeeOther(here + "?declined=1")
            self._payments.hold(payment.number, None, None, again=False)
        except NotPayable:
            raise web.HTTPSeeOther(here) from None  # the page that follows says what it is
        raise web.HTTPSeeOther(state_of(payment).success_url)

    async def _show_slip(self, request: web.Request) -> web.Response:
        """GET /v/{intent} - the slip, which a bank takes"""
        payment = self._slip(request)
        state = state_of(payment)
        context = {
            "payee": self._payee,
            "price": price_of(payment.amount, payment.currency),
            "subject": payment.subject,
            "line": payment.tokens[0],
            "shown_line": shown_line(payment.tokens[0]),
            "stripes": stripes(state.barcode),
            "payer": state.payer,
            "due": payment.payable_until.astimezone(SAO_PAULO).strftime("%d/%m/%Y"),
            "state": payment.state,
            "pdf": f"{request.path}/pdf",
        }
        return show_page(request, "stripe_slip.html", context)

    async def _send_slip(self, request: web.Request) -> web.Response:
        """GET /v/{intent}/pdf - the same on paper"""
        payment = self._slip(request)
        due = payment.payable_until.astimezone(SAO_PAULO).strftime("%d/%m/%Y")
        lines = [
            "BOLETO (sandbox: no real money)",
            "",
            shown_line(payment.tokens[0]),
            "",
            f"Valor       {price_of(payment.amount, payment.currency)}",
            f"Vencimento  {due}",
            f"Pagador     {state_of(payment).payer}",
            f"Numero      {payment.number}",
        ]
        return web.Response(body=pdf_of(lines), content_type="application/pdf")

    def _page(self, request: web.Request, template: str, *, declined: bool) -> web.Response:
        payment = self._card(request)
        self._payments.scan(CARD, payment.number)
        state = state_of(payment)
        context = {
            "payee": self._payee,
            "price": price_of(payment.amount, payment.currency),
            "subject": payment.subject,
            "number": payment.number,
            "session": payment.tokens[0],
            "status": session_status(payment, self._shared.faults.now(CARD)),
            "success_url": state.success_url,
            "cancel_url": state.cancel_url or state.success_url,
            "declined": declined,
        }
        return show_page(request, template, context)

    def _card(self, request: web.Request) -> Payment:
        session = request.match_info["session"]
        ledger = self._shared.ledger
        payment = ledger.find_by_token(session) or ledger.find_by_ref(CARD, session)
        if payment is None or payment.channel != CARD:
            raise web.HTTPNotFound
        return payment

    def _slip(self, request: web.Request) -> Payment:
        payment = self._shared.ledger.find_by_ref(BOLETO, request.match_info["intent"])
        if payment is None:
            raise web.HTTPNotFound
        return payment
