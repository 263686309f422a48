"""Alipay's open platform for one application, as it behaves on the wire of `gateway.do`.

Methods, checks, codes and states follow the documents of 当面付, 电脑网站支付, 手机网站支付 and
APP支付. Here is the one address and what a method's name leads to; what the methods mean is in
alipay_trades.py and alipay_refunds.py, who may call in alipay_gate.py, what is told in
alipay_news.py, and the same by newer paths in alipay_rest.py.
"""

from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import urlencode

from aiohttp import web

from gateway.sandbox.alipay_answers import CertificateAnswer
from gateway.sandbox.alipay_bills import FILE, METHOD, AlipayBills
from gateway.sandbox.alipay_bodies import CertificateRequest, kept_of, number_in, read_body
from gateway.sandbox.alipay_errors import AlipayRefusal, worded
from gateway.sandbox.alipay_gate import KIND, PREFIX, AlipayGate, Sent, read_parameters
from gateway.sandbox.alipay_methods import Act, Method
from gateway.sandbox.alipay_news import AlipayNews
from gateway.sandbox.alipay_refunds import AlipayRefunds
from gateway.sandbox.alipay_rest import AlipayRest
from gateway.sandbox.alipay_trades import AlipayTrades
from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Call, Error
from gateway.sandbox.keys import SandboxKeys
from gateway.sandbox.ledger import Payment
from gateway.sandbox.orders_channel import OrdersChannel
from gateway.sandbox.under_way import RefundsUnderWay
from gateway.sandbox.wallet import refuse

CASHIERS = {
    "alipay.trade.page.pay": "page",
    "alipay.trade.wap.pay": "wap",
    "alipay.trade.app.pay": "app",
}
"""Methods that only a buyer's browser calls, with a URL or a form that the merchant signed."""

DOWNLOAD = "alipay.open.app.alipaycert.download"
"""The one method that no fault meets: it is about no order."""

ENDED = ("ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_CLOSE")


class Alipay(OrdersChannel):
    """The channel: its address, and what the wallet may do with its trades."""

    kind = KIND

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._gate = AlipayGate(keys, shared.faults)
        self._news = AlipayNews(keys, shared, self._gate)
        self._refunds = AlipayRefunds(shared, self._news)
        self._trades = AlipayTrades(shared, self._news, self._refunds)
        self._bills = AlipayBills(keys, shared)
        self._methods = self._make_methods()
        self._known = {*self._methods, *CASHIERS, DOWNLOAD, METHOD}
        self._rest = AlipayRest(shared, self._gate, self._methods)
        super().__init__(
            shared,
            self._trades,
            self._news.tell_paid,
            RefundsUnderWay(shared, KIND, self._news.tell_refunded),
        )

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        yield web.get(PREFIX + "/gateway.do", self._serve)
        yield web.post(PREFIX + "/gateway.do", self._serve)
        yield web.get(FILE, self._bills.send_file)
        yield from self._rest.routes()

    def way_back(self, payment: Payment, _wanted: str) -> str:
        """Only where the order itself said: after paying signed, before it the page to quit to."""
        return self._news.return_address(payment) or kept_of(payment).order.quit_url

    def _make_methods(self) -> dict[str, Method]:
        trades, refunds = self._trades, self._refunds
        refund_number = ("out_request_no", "out_trade_no")
        return {
            "alipay.trade.precreate": Method(trades.precreate, "create"),
            "alipay.trade.query": Method(trades.query, "query"),
            "alipay.trade.close": Method(trades.close, "close"),
            "alipay.trade.cancel": Method(trades.cancel, "close"),
            "alipay.trade.refund": Method(
                lambda sent: refunds.ask(sent, trades.find), "refund", refund_number
            ),
            "alipay.trade.fastpay.refund.query": Method(
                lambda sent: refunds.find(sent, trades.find), "query_refund", refund_number
            ),
        }

    async def _serve(self, request: web.Request) -> web.Response:
        """GET or POST /alipay/gateway.do - one method, through the faults and the door"""
        sent = await read_parameters(request)
        name = sent.get("method", "")
        if name in CASHIERS:
            return await self._open_cashier(request, sent)
        method = self._methods.get(name)
        if name == METHOD:
            origin = str(request.url.origin())  # as the merchant's server reaches the sandbox
            method = Method(lambda sent: self._bills.announce(sent, origin), "bill")
        if method is None:
            return self._attempt(sent, self._certificate)
        return await self._shared.faults.answer(
            request,
            method.call(sent, self._shared.ledger),
            act=lambda: self._attempt(sent, method.act),
            fail=lambda error: self._fail(sent, error),
        )

    def _attempt(self, sent: Sent, act: Act) -> web.Response:
        try:
            self._gate.admit(sent, self._known)
            return self._gate.answer(sent, act(sent))
        except AlipayRefusal as refusal:
            return self._gate.refuse(sent, refusal)

    async def _open_cashier(self, request: web.Request, sent: Sent) -> web.Response:
        """Let a browser in: the order begins here, and the wallet is the cashier's page."""
        number = number_in(sent.get("biz_content", ""), "out_trade_no")
        return await self._shared.faults.answer(
            request,
            Call(KIND, "create", number),
            act=lambda: self._show_cashier(request, sent, number),
            fail=lambda error: _broken(error.status),
        )

    def _show_cashier(self, request: web.Request, sent: Sent, number: str) -> web.Response:
        """Send the browser on to the wallet, which also says what became of an order that ended."""
        try:
            self._gate.admit(sent, self._known)
            payment = self._trades.place(CASHIERS[sent["method"]], sent)
        except AlipayRefusal as refusal:
            ended = self._shared.ledger.find(KIND, number)
            if ended is not None and refusal.body.sub_code in ENDED:
                return _to_wallet(ended)
            return refuse(request, refusal.body.sub_code, refusal.body.sub_msg)
        return _to_wallet(payment)

    def _fail(self, sent: Sent, error: Error) -> web.Response:
        """Say what a fault asks for: inside a signed 200 by its code, or as a bare status."""
        if not isinstance(error.code, str):
            return _broken(error.status)
        return self._gate.answer(sent, worded(error.code).body)

    def _certificate(self, sent: Sent) -> CertificateAnswer:
        sn = read_body(sent.get("biz_content", ""), CertificateRequest).alipay_cert_sn
        certificate = self._gate.find_certificate(sn)
        return CertificateAnswer(alipay_cert_content=b64encode(certificate.encode()).decode())


def _to_wallet(payment: Payment) -> web.Response:
    cashier = f"/wallet?{urlencode({'code': payment.tokens[0]})}"
    return web.Response(status=302, headers={"Location": cashier})


def _broken(status: int) -> web.Response:
    """What stands in front of the gateway answers when the gateway does not."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")
