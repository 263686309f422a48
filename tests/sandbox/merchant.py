"""A merchant of WeChat Pay who trusts nobody: it signs, verifies and decrypts by its own code."""

import asyncio
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.keys import SandboxKeys

Json = dict[str, object]


class Answer(msgspec.Struct, frozen=True):
    """What came back, before anything was believed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body, type=Json)

    @property
    def code(self) -> object:
        return self.json["code"]

    @property
    def message(self) -> object:
        return self.json["message"]


class ReceivedCallback(msgspec.Struct, frozen=True):
    """One send of a callback, as it arrived."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body, type=Json)


class Receiver:
    """The merchant's notify URL: keeps what it gets and answers as it was told to."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 204
        self.answer = b""
        self.received: list[ReceivedCallback] = []
        self._news = asyncio.Condition()
        self.app = web.Application()
        self.app.router.add_post("/notify", self._take)

    async def until(self, count: int) -> list[ReceivedCallback]:
        """Wait for this many sends and answer all that came."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._news:
            self.received.append(ReceivedCallback(dict(request.headers), body))
            self._news.notify_all()
        return web.Response(status=self.status, body=self.answer)


class Merchant:
    """Calls one sandbox, as one merchant with its own keys."""

    def __init__(
        self, session: aiohttp.ClientSession, keys: SandboxKeys, url: str, receiver: Receiver
    ) -> None:
        self.keys = keys
        self.url = url
        self.receiver = receiver
        self.session = session
        self.serial: str | None = keys.public_key_id
        self._key = _private_key(keys.merchant.key)
        self._trusted = {keys.public_key_id: _public_key(keys.public_key)}
        self._trusted |= {one.serial: _certified_key(one.certificate) for one in keys.platform}

    async def call(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        signed_path: str | None = None,
        headers: Mapping[str, str] | None = None,
        drop: tuple[str, ...] = (),
        clock_shift_s: int = 0,
    ) -> Answer:
        """Call `/wechat` + path, signed as documented unless the test changes something."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body) if body else b""
        stamp = int(time.time()) + clock_shift_s
        sent = {
            "Accept": "application/json",
            "User-Agent": "sandbox tests",
            "Authorization": self.authorization(method, signed_path or path, raw, stamp),
            "Content-Type": "application/json",
        }
        if self.serial:
            sent["Wechatpay-Serial"] = self.serial
        sent |= headers or {}
        async with self.session.request(
            method,
            self.url + "/wechat" + path,
            data=raw or None,
            headers={name: value for name, value in sent.items() if name not in drop},
            skip_auto_headers=("User-Agent",),
        ) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    def authorization(self, method: str, path: str, body: bytes, stamp: int) -> str:
        nonce = secrets.token_hex(16)
        message = f"{method}\n{path}\n{stamp}\n{nonce}\n".encode() + body + b"\n"
        signature = self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return (
            f'WECHATPAY2-SHA256-RSA2048 mchid="{self.keys.mchid}",nonce_str="{nonce}",'
            f'signature="{b64encode(signature).decode()}",timestamp="{stamp}",'
            f'serial_no="{self.keys.merchant.serial}"'
        )

    def verified(self, headers: Mapping[str, str], body: bytes) -> bool:
        """True when these headers sign this body with a key of the channel."""
        signer = self._trusted[headers["Wechatpay-Serial"]]
        message = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n"
        try:
            signer.verify(
                b64decode(headers["Wechatpay-Signature"]),
                message.encode() + body + b"\n",
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            return False
        return True

    def decrypted(self, resource: object) -> bytes:
        assert isinstance(resource, dict)
        return AESGCM(self.keys.apiv3_key.encode()).decrypt(
            resource["nonce"].encode(),
            b64decode(resource["ciphertext"]),
            resource["associated_data"].encode(),
        )

    def order(self, number: str, **changes: object) -> Json:
        """The body of a Native order for 12.34 yuan; the changes replace whole fields."""
        body: Json = {
            "appid": self.keys.appid,
            "mchid": self.keys.mchid,
            "description": "一杯咖啡",
            "out_trade_no": number,
            "time_expire": (datetime.now(UTC) + timedelta(minutes=30)).isoformat("T", "seconds"),
            "attach": "attached",
            "notify_url": self.receiver.url,
            "amount": {"total": 1234, "currency": "CNY"},
        }
        body |= changes
        return {name: value for name, value in body.items() if value is not None}

    async def create(self, number: str, product: str = "native", **changes: object) -> Answer:
        path = f"/v3/pay/transactions/{product}"
        return await self.call("POST", path, self.order(number, **changes))

    async def query(self, number: str) -> Answer:
        path = f"/v3/pay/transactions/out-trade-no/{number}?mchid={self.keys.mchid}"
        return await self.call("GET", path)

    async def close(self, number: str) -> Answer:
        path = f"/v3/pay/transactions/out-trade-no/{number}/close"
        return await self.call("POST", path, {"mchid": self.keys.mchid})

    async def refund(self, number: str, refund_number: str, amount: int = 1234) -> Answer:
        body: Json = {
            "out_trade_no": number,
            "out_refund_no": refund_number,
            "reason": "不想要了",
            "notify_url": self.receiver.url,
            "amount": {"refund": amount, "total": 1234, "currency": "CNY"},
        }
        return await self.call("POST", "/v3/refund/domestic/refunds", body)

    async def query_refund(self, refund_number: str) -> Answer:
        return await self.call("GET", f"/v3/refund/domestic/refunds/{refund_number}")

    async def control(self, path: str, body: Json | None = None) -> Answer:
        """A control call: GET without a body, POST with one."""
        method = "GET" if body is None else "POST"
        async with self.session.request(method, f"{self.url}/_control/{path}", json=body) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def pay(self, number: str, **more: object) -> Answer:
        return await self.control("pay", {"channel": "wechat", "number": number, **more})

    async def faults(self, **faults: object) -> Answer:
        return await self.control("faults", {"channel": "wechat", **faults})


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _public_key(pem: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def _certified_key(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key
