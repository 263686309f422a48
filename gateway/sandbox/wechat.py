"""WeChat Pay API v3 for a direct merchant, as it behaves on the wire.

Paths, fields, checks, sentences and states follow the merchant documents of "JSAPI / H5 / Native /
APP支付", "退款" and "平台证书". Here are the routes; what they mean is in wechat_orders.py and
wechat_refunds.py, who may call in wechat_gate.py, and what is told in wechat_news.py.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.channel import Shared
from gateway.sandbox.faults import Call, Verb
from gateway.sandbox.keys import CertifiedKey, SandboxKeys
from gateway.sandbox.ledger import Payment
from gateway.sandbox.orders_channel import OrdersChannel
from gateway.sandbox.wechat_answers import (
    CertificateEntry,
    CertificatesAnswer,
    H5Answer,
    NativeAnswer,
    PrepayAnswer,
    in_beijing,
    refund_answer,
    transaction,
)
from gateway.sandbox.wechat_bills import FILE, WechatBills, file_response
from gateway.sandbox.wechat_bodies import (
    REFUND_FIELDS,
    RefundRequest,
    missing,
    number_in,
    read_body,
)
from gateway.sandbox.wechat_crypto import encrypt
from gateway.sandbox.wechat_errors import WechatRefusal, broken
from gateway.sandbox.wechat_gate import KIND, PREFIX, WechatGate
from gateway.sandbox.wechat_news import WechatNews
from gateway.sandbox.wechat_oauth import WechatOAuth
from gateway.sandbox.wechat_orders import WechatOrders
from gateway.sandbox.wechat_refunds import WechatRefunds

ORDERS = PREFIX + "/v3/pay/transactions"
REFUNDS = PREFIX + "/v3/refund/domestic/refunds"
H5_PAGE = PREFIX + "/h5"

Act = Callable[[bytes], msgspec.Struct | None]
"""What a call does with its body: an answer to sign, or None for 204; raises WechatRefusal."""


class Wechat(OrdersChannel):
    """The channel: its routes, and what the wallet may do with its orders."""

    kind = KIND

    def __init__(self, keys: SandboxKeys, shared: Shared) -> None:
        self._keys = keys
        self._gate = WechatGate(keys, shared.faults)
        self._news = WechatNews(keys, shared, self._gate)
        self._orders = WechatOrders(keys, shared, self._news)
        self._refunds = WechatRefunds(shared, self._news)
        self._bills = WechatBills(keys, shared)
        self._oauth = WechatOAuth(keys, shared)
        super().__init__(shared, self._orders, self._news.tell_paid, self._refunds.under_way)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        table = (
            ("POST", ORDERS + "/{product:native|jsapi|h5|app}", self._create),
            ("GET", ORDERS + "/out-trade-no/{number}", self._query),
            ("GET", ORDERS + "/id/{transaction_id}", self._query_by_id),
            ("POST", ORDERS + "/out-trade-no/{number}/close", self._close),
            ("POST", REFUNDS, self._refund),
            ("GET", REFUNDS + "/{number}", self._query_refund),
            ("GET", PREFIX + "/v3/certificates", self._certificates),
            ("GET", PREFIX + "/v3/bill/tradebill", self._announce_bill),
            ("GET", FILE, self._send_file),
        )
        for method, path, answer in table:
            yield web.route(method, path, answer)
            yield web.route("*", path, _method_not_allowed)
        yield web.route("*", PREFIX + "/v3/{unknown:.*}", _not_found)
        yield from self._oauth.routes()

    def way_back(self, _payment: Payment, wanted: str) -> str:
        return wanted

    async def _create(self, request: web.Request) -> web.Response:
        product = request.match_info["product"]
        number = number_in(await request.read(), "out_trade_no")
        return await self._serve(
            request,
            "create",
            number,
            lambda body: self._prepaid(self._orders.place(product, body)),
        )

    async def _query(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]

        def query(_body: bytes) -> msgspec.Struct:
            self._check_merchant_in_query(request)
            return transaction(self._orders.find(number), self._now())

        return await self._serve(request, "query", number, query)

    async def _query_by_id(self, request: web.Request) -> web.Response:
        transaction_id = request.match_info["transaction_id"]
        known = self._shared.ledger.find_by_ref(KIND, transaction_id)

        def query(_body: bytes) -> msgspec.Struct:
            self._check_merchant_in_query(request)
            payment, capture = self._orders.find_paid(transaction_id)
            return transaction(payment, self._now(), capture)

        return await self._serve(request, "query", known.number if known else "", query)

    async def _close(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        return await self._serve(
            request, "close", number, lambda body: self._orders.close(number, body)
        )

    async def _refund(self, request: web.Request) -> web.Response:
        def refund(body: bytes) -> msgspec.Struct:
            return refund_answer(*self._refunds.ask(read_body(body, REFUND_FIELDS, RefundRequest)))

        number = number_in(await request.read(), "out_refund_no")
        return await self._serve(request, "refund", number, refund)

    async def _query_refund(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        return await self._serve(
            request,
            "query_refund",
            number,
            lambda _body: refund_answer(*self._refunds.find(number)),
        )

    async def _certificates(self, request: web.Request) -> web.Response:
        """The platform certificates, encrypted; both of them once a rotation has begun."""
        rotated = self._shared.faults.of(KIND).rotate_certificate
        listed = self._keys.platform if rotated else self._keys.platform[:1]
        answer = CertificatesAnswer(tuple(self._certificate_entry(one) for one in listed))
        return self._attempt(request, await request.read(), lambda _body: answer)

    async def _announce_bill(self, request: web.Request) -> web.Response:
        origin = str(request.url.origin())  # as the merchant's server reaches the sandbox
        return await self._serve(
            request, "bill", "", lambda _body: self._bills.announce(request.query, origin)
        )

    async def _send_file(self, request: web.Request) -> web.Response:
        try:
            self._gate.admit(request, await request.read())
            return file_response(self._bills.file(request.query.get("token", "")))
        except WechatRefusal as refusal:
            return refusal.response()

    async def _serve(self, request: web.Request, verb: Verb, number: str, act: Act) -> web.Response:
        """Let one call through the faults and the door; the answer is signed, a refusal is not."""
        body = await request.read()
        return await self._shared.faults.answer(
            request,
            Call(KIND, verb, number),
            act=lambda: self._attempt(request, body, act),
            fail=lambda error: broken(error.status).response(),
        )

    def _attempt(self, request: web.Request, body: bytes, act: Act) -> web.Response:
        try:
            self._gate.admit(request, body)
            return self._gate.answer(request, act(body))
        except WechatRefusal as refusal:
            return refusal.response()

    def _prepaid(self, payment: Payment) -> msgspec.Struct:
        match payment.product:
            case "native":
                return NativeAnswer(payment.tokens[0])
            case "h5":
                return H5Answer(self._h5_url(payment.tokens[0]))
            case _:
                return PrepayAnswer(payment.tokens[0])

    def _h5_url(self, prepay_id: str) -> str:
        """A page of the sandbox; `package` says when the link was made, for it lives 5 minutes."""
        made_at = int(self._now().timestamp())
        query = urlencode({"prepay_id": prepay_id, "package": made_at})
        return f"{self._shared.public_url}{H5_PAGE}?{query}"

    def _certificate_entry(self, one: CertifiedKey) -> CertificateEntry:
        certificate = load_pem_x509_certificate(one.certificate.encode())
        return CertificateEntry(
            serial_no=one.serial,
            effective_time=in_beijing(certificate.not_valid_before_utc),
            expire_time=in_beijing(certificate.not_valid_after_utc),
            encrypt_certificate=encrypt(
                self._keys.apiv3_key, one.certificate.encode(), aad="certificate"
            ),
        )

    def _check_merchant_in_query(self, request: web.Request) -> None:
        mchid = request.query.get("mchid")
        if not mchid:
            raise missing("query", "mchid", "直连商户号")
        self._orders.check_merchant(mchid)

    def _now(self) -> datetime:
        return self._shared.faults.now(KIND)


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404)


async def _method_not_allowed(_request: web.Request) -> web.Response:
    return web.Response(status=405)
