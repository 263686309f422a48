"""The page on which a buyer approves: logged in, it says what it pays with, or goes back."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway.sandbox.channel import Shared
from gateway.sandbox.ledger import NotPayable, Payment
from gateway.sandbox.paypal_bodies import amount, kept_of, status_of
from gateway.sandbox.paypal_gate import KIND
from gateway.sandbox.paypal_orders import INSTRUMENTS, PayPalOrders
from gateway.sandbox.wallet import PAYEE, show_page

BUYER = "buyer@example.com"


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows; `state` is payable, approved, paid or expired."""

    state: str
    token: str
    payee: str
    subject: str
    price: str
    buyer: str
    declined: bool
    way_back: str


class PayPalPage:
    def __init__(
        self, shared: Shared, orders: PayPalOrders, way_back: Callable[[Payment, str], str]
    ) -> None:
        self._shared = shared
        self._orders = orders
        self._way_back = way_back

    async def show(self, request: web.Request) -> web.Response:
        """GET /paypal/checkoutnow?token= - log in, look, agree or go back"""
        payment = self._find(request.query.get("token", ""))
        if payment is None:
            return show_page(
                request, "wallet_notice.html", {"notice": "unknown", "link": ""}, status=404
            )
        sheet = Sheet(
            state=self._state(payment),
            token=payment.ref,
            payee=request.app[PAYEE],
            subject=payment.subject,
            price=_price(payment),
            buyer=BUYER,
            declined=payment.declines > 0,
            way_back=self._way_back(payment, ""),
        )
        return show_page(request, "paypal_page.html", {"sheet": sheet})

    async def decide(self, request: web.Request) -> web.Response:
        """POST /paypal/checkoutnow token=&action=approve|cancel&instrument= -> back to the shop"""
        form = await request.post()
        payment = self._find(str(form.get("token", "")))
        if payment is None:
            raise web.HTTPNotFound
        instrument = str(form.get("instrument", ""))
        if form.get("action") == "approve" and instrument in INSTRUMENTS:
            try:
                payment = self._orders.approve(payment, instrument)
            except NotPayable:
                raise web.HTTPSeeOther(f"/paypal/checkoutnow?token={payment.ref}") from None
        raise web.HTTPSeeOther(self._way_back(payment, ""))

    def _find(self, token: str) -> Payment | None:
        payment = self._shared.ledger.find_by_token(token)
        return payment if payment is not None and payment.channel == KIND else None

    def _state(self, payment: Payment) -> str:
        if status_of(payment) == "COMPLETED":
            return "paid"
        if self._shared.faults.now(KIND) > payment.payable_until:
            return "expired"
        return "approved" if kept_of(payment).approved_at is not None else "payable"


def _price(payment: Payment) -> str:
    written = amount(payment.amount, payment.currency)
    return f"{written['value']} {written['currency_code']}"
