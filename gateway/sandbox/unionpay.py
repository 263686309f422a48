"""UnionPay as it behaves on the wire: ACP 5.1.0, signed with certificates.

Four addresses take signed forms: one for browsers, which are shown the cashier, and three for
servers, which are answered in text. Nothing here closes a payment; only time does.
"""

from collections.abc import Callable, Iterable
from urllib.parse import urlencode

from aiohttp import web

from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Call, Error, Verb
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Payment
from gateway.sandbox.orders_channel import OrdersChannel
from gateway.sandbox.unionpay_bills import FILE_FIELDS, UnionPayBills
from gateway.sandbox.unionpay_gate import (
    KIND,
    PREFIX,
    Sent,
    UnionPayGate,
    UnionPayRefusal,
    respond,
)
from gateway.sandbox.unionpay_news import UnionPayNews
from gateway.sandbox.unionpay_numbers import find_refund
from gateway.sandbox.unionpay_refunds import REFUND_FIELDS, UnionPayRefunds, standing
from gateway.sandbox.unionpay_trades import PAYMENT_FIELDS, UnionPayTrades, fields_of
from gateway.sandbox.wallet import refuse, show_page

Act = Callable[[Sent], dict[str, str]]

PAY, REFUND, VOID = "01", "04", "31"


class UnionPay(OrdersChannel):
    """The channel: its addresses, and what the wallet may do with its payments."""

    kind = KIND

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._gate = UnionPayGate(keys, shared.faults)
        self._news = UnionPayNews(shared, self._gate)
        self._refunds = UnionPayRefunds(shared, self._news)
        self._trades = UnionPayTrades(shared, self._news)
        self._bills = UnionPayBills(shared, self._gate)
        super().__init__(shared, self._trades, self._news.tell_paid, self._refunds.under_way)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        api = PREFIX + "/gateway/api"
        yield web.post(api + "/frontTransReq.do", self._open_cashier)
        yield web.post(api + "/appTransReq.do", self._serve_app)
        yield web.post(api + "/backTransReq.do", self._serve_back)
        yield web.post(api + "/queryTrans.do", self._serve_query)
        yield web.post(PREFIX + "/file/", self._serve_file)
        yield web.get(PREFIX + "/front/{token}", self._show_way_back)

    def way_back(self, payment: Payment, _wanted: str) -> str:
        """After paying, a page of ours with a form to post; before it, the merchant's page."""
        front_url = fields_of(payment).get("frontUrl", "")
        if front_url and payment.captures:
            return f"{self._shared.public_url}{PREFIX}/front/{payment.tokens[0]}"
        return front_url

    async def _serve_app(self, request: web.Request) -> web.Response:
        """POST appTransReq.do - a payment for an app, answered with its tn"""
        return await self._serve(request, "create", PAYMENT_FIELDS, self._make_for_app)

    async def _serve_back(self, request: web.Request) -> web.Response:
        """POST backTransReq.do - a code to show, a refund or a void"""
        kind = (await _form(request)).get("txnType", "")
        if kind in (REFUND, VOID):
            return await self._serve(request, "refund", REFUND_FIELDS, self._refund)
        return await self._serve(request, "create", PAYMENT_FIELDS, self._make_code)

    async def _serve_query(self, request: web.Request) -> web.Response:
        """POST queryTrans.do - what became of a payment, a refund or a void"""
        number = (await _form(request)).get("orderId", "")
        refund = self._shared.ledger.find_refund(KIND, number)
        return await self._serve(request, "query_refund" if refund else "query", (), self._query)

    async def _serve_file(self, request: web.Request) -> web.Response:
        """POST https://filedownload... - the bill of a settlement day"""
        return await self._serve(request, "bill", FILE_FIELDS, self._bills.make)

    async def _serve(
        self, request: web.Request, verb: Verb, wanted: Iterable[str], act: Act
    ) -> web.Response:
        sent = await _form(request)
        admit = self._gate.admit_any if verb == "bill" else self._gate.admit

        def attempt() -> web.Response:
            try:
                admit(sent, wanted)
                return self._gate.answer(sent, act(sent))
            except UnionPayRefusal as refusal:
                return self._gate.answer(sent, respond(refusal.code, refusal.about))

        def fail(error: Error) -> web.Response:
            if isinstance(error.code, str):
                return self._gate.answer(sent, respond(error.code))
            return web.Response(status=error.status, text="")

        call = Call(KIND, verb, sent.get("orderId", ""))
        return await self._shared.faults.answer(request, call, attempt, fail)

    async def _open_cashier(self, request: web.Request) -> web.Response:
        """POST frontTransReq.do - a browser comes with a form, and is shown the cashier"""
        sent = await _form(request)
        return await self._shared.faults.answer(
            request,
            Call(KIND, "create", sent.get("orderId", "")),
            act=lambda: self._show_cashier(request, sent),
            fail=lambda error: web.Response(status=error.status, text=""),
        )

    def _show_cashier(self, request: web.Request, sent: Sent) -> web.Response:
        """Send the browser on to the wallet, which also says what became of one that ended."""
        try:
            self._gate.admit(sent, (*PAYMENT_FIELDS, "frontUrl"))
            known = self._trades.find(sent)
            if known is None or not known.captures:
                known = self._trades.place(sent, "pc", "wap")
        except UnionPayRefusal as refusal:
            return refuse(request, refusal.code, respond(refusal.code, refusal.about)["respMsg"])
        cashier = f"/wallet?{urlencode({'code': known.tokens[0]})}"
        return web.Response(status=302, headers={"Location": cashier})

    async def _show_way_back(self, request: web.Request) -> web.Response:
        """GET /unionpay/front/{token} - the page from which a buyer who paid goes back"""
        payment = self._shared.ledger.find_by_token(request.match_info["token"])
        if payment is None or payment.channel != KIND or not payment.captures:
            raise web.HTTPNotFound
        context = {
            "url": fields_of(payment)["frontUrl"],
            "fields": self._news.front_form(payment),
        }
        return show_page(request, "unionpay_front.html", context)

    def _make_for_app(self, sent: Sent) -> dict[str, str]:
        return {**respond("00"), "tn": self._trades.place(sent, "app").tokens[0]}

    def _make_code(self, sent: Sent) -> dict[str, str]:
        return {**respond("00"), "qrCode": self._trades.place(sent, "qr").tokens[0]}

    def _refund(self, sent: Sent) -> dict[str, str]:
        return {
            **self._news.about_refund(self._refunds.ask(sent, self._trades.find)),
            **_about_call(sent),
        }

    def _query(self, sent: Sent) -> dict[str, str]:
        refund = find_refund(self._shared.ledger, sent)
        if refund is not None:
            said = self._news.about_refund(refund)
            return {**said, **_found(standing(refund)), **_about_call(sent)}
        payment = self._trades.find(sent)
        if payment is None:
            raise UnionPayRefusal("34")
        found = _found(self._trades.standing(payment))
        if payment.captures:
            found = {**self._news.about_payment(payment, payment.captures[0]), **found}
        return {**found, **_about_call(sent)}


def _about_call(sent: Sent) -> dict[str, str]:
    return {**respond("00"), "orderId": sent["orderId"], "txnTime": sent["txnTime"]}


def _found(code: str) -> dict[str, str]:
    said = respond(code)
    return {"origRespCode": said["respCode"], "origRespMsg": said["respMsg"]}


async def _form(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {name: value for name, value in form.items() if isinstance(value, str)}
