"""A merchant of Alipay who trusts nobody: it signs and verifies by its own code."""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import aiohttp
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.sandbox.keys import SandboxKeys, alipay_account
from tests.sandbox.merchant import Answer, Json, Receiver

BEIJING = timedelta(hours=8)
ENVELOPE = re.compile(rb'\{"(\w+_response)":(\{.*\})(?:,"alipay_cert_sn":"(\w+)")?,"sign":"(.*)"\}')


class Reply(msgspec.Struct, frozen=True):
    """What `gateway.do` answered; `signed` is None when no signature came along."""

    status: int
    content_type: str
    raw: bytes
    name: str
    body: dict[str, str]
    signed: bool | None

    @property
    def code(self) -> str:
        """The sub-code of a refusal, else the code."""
        return self.body.get("sub_code") or self.body["code"]


class AlipayMerchant:
    """Calls one sandbox, as one application with its own key."""

    def __init__(
        self, session: aiohttp.ClientSession, keys: SandboxKeys, url: str, receiver: Receiver
    ) -> None:
        self.session = session
        self.url = url
        self.receiver = receiver
        self.account = alipay_account(keys, url + "/alipay")
        self._key = private_key(self.account["app_key"])
        # Worked out once: an order that is sent again must be the same order.
        self._until = beijing(timedelta(minutes=30))
        self.trusted = public_key(self.account["alipay_public_key"])

    @property
    def gateway(self) -> str:
        return self.account["base_url"] + "/gateway.do"

    def signed(
        self, method: str, biz: Mapping[str, object] | str, /, **more: str
    ) -> dict[str, str]:
        """All parameters of a call, as documented unless the test changes some of them."""
        parameters = {
            "app_id": self.account["app_id"],
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": beijing(timedelta()),
            "version": "1.0",
            "biz_content": biz if isinstance(biz, str) else msgspec.json.encode(biz).decode(),
        } | more
        kept = {name: value for name, value in parameters.items() if value}
        return {**kept, "sign": self.sign(kept)} if "sign" not in kept else kept

    def sign(self, parameters: Mapping[str, str]) -> str:
        return self.sign_text(
            "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        )

    def sign_text(self, text: str) -> str:
        made = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return b64encode(made).decode()

    async def call(self, method: str, biz: Mapping[str, object] | str, /, **more: str) -> Reply:
        """POST with everything in the form."""
        return await self.send(self.signed(method, biz, **more))

    async def send(self, parameters: Mapping[str, str]) -> Reply:
        async with self.session.post(self.gateway, data=parameters) as answer:
            raw = await answer.read()
            return self.read(answer.status, answer.headers["Content-Type"], raw)

    def read(self, status: int, content_type: str, raw: bytes) -> Reply:
        """Take an answer apart, as text: what was signed is what stands there."""
        found = ENVELOPE.fullmatch(raw)
        if found is None:
            ((name, body),) = msgspec.json.decode(raw, type=dict[str, dict[str, str]]).items()
            return Reply(status, content_type, raw, name, body, None)
        fields = msgspec.json.decode(found[2], type=dict[str, object])
        body = {name: value for name, value in fields.items() if isinstance(value, str)}
        signed = verifies(self.trusted, found[2], found[4].decode())
        return Reply(status, content_type, raw, found[1].decode(), body, signed)

    def order(self, number: str, **changes: str | None) -> Json:
        """An order for 12.34 yuan; None leaves a field out."""
        body: Json = {
            "out_trade_no": number,
            "total_amount": "12.34",
            "subject": "一杯咖啡",
            "time_expire": self._until,
        }
        body |= changes
        return {name: value for name, value in body.items() if value is not None}

    async def precreate(self, number: str, **changes: str | None) -> Reply:
        order = self.order(number, **changes)
        return await self.call("alipay.trade.precreate", order, notify_url=self.receiver.url)

    def link(self, method: str, number: str, return_url: str = "", **changes: str | None) -> str:
        """The URL that a browser is sent to; `method` is page, wap or app."""
        codes = {
            "page": "FAST_INSTANT_TRADE_PAY",
            "wap": "QUICK_WAP_WAY",
            "app": "QUICK_MSECURITY_PAY",
        }
        order = self.order(number, product_code=codes[method]) | changes
        return f"{self.gateway}?{self.words(f'alipay.trade.{method}.pay', order, return_url)}"

    def words(self, method: str, order: Mapping[str, object], return_url: str = "") -> str:
        urls = {"notify_url": self.receiver.url, "return_url": return_url}
        return urlencode(self.signed(method, order, **urls))

    async def query(self, number: str) -> Reply:
        return await self.call("alipay.trade.query", {"out_trade_no": number})

    async def close(self, number: str) -> Reply:
        return await self.call("alipay.trade.close", {"out_trade_no": number})

    async def cancel(self, number: str) -> Reply:
        return await self.call("alipay.trade.cancel", {"out_trade_no": number})

    async def refund(self, number: str, request_number: str = "", amount: str = "12.34") -> Reply:
        body: Json = {"out_trade_no": number, "refund_amount": amount}
        if request_number:
            body["out_request_no"] = request_number
        return await self.call("alipay.trade.refund", body)

    async def query_refund(self, number: str, request_number: str) -> Reply:
        body: Json = {"out_trade_no": number, "out_request_no": request_number}
        return await self.call("alipay.trade.fastpay.refund.query", body)

    def told(self, body: bytes) -> dict[str, str]:
        """A notification's words, once its signature holds."""
        words = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        assert "" not in words.values()
        assert self.notified(words)
        return words

    def notified(self, words: Mapping[str, str]) -> bool:
        """True when Alipay signed these words; `sign_type` is not part of them."""
        rest = {name: value for name, value in words.items() if name not in ("sign", "sign_type")}
        text = "&".join(f"{name}={value}" for name, value in sorted(rest.items()))
        return verifies(self.trusted, text.encode(), words["sign"])

    async def control(self, path: str, body: Json | None = None) -> Answer:
        """A control call: GET without a body, POST with one."""
        method = "GET" if body is None else "POST"
        async with self.session.request(method, f"{self.url}/_control/{path}", json=body) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def scan(self, number: str) -> Answer:
        return await self.control("scan", {"channel": "alipay", "number": number})

    async def pay(self, number: str, **more: object) -> Answer:
        return await self.control("pay", {"channel": "alipay", "number": number, **more})

    async def faults(self, **faults: object) -> Answer:
        return await self.control("faults", {"channel": "alipay", **faults})

    async def captured(self) -> list[tuple[object, object, object]]:
        """(captured, refunded, state) of every order in the ledger."""
        data = (await self.control("ledger")).json["data"]
        assert isinstance(data, list)
        return [(one["captured"], one["refunded"], one["state"]) for one in data]


def beijing(later: timedelta) -> str:
    return (datetime.now(UTC) + BEIJING + later).strftime("%Y-%m-%d %H:%M:%S")


def verifies(key: rsa.RSAPublicKey, text: bytes, signature: str) -> bool:
    try:
        key.verify(b64decode(signature), text, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def private_key(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def public_key(pem: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key
