"""A merchant of UnionPay who trusts nobody: it signs and verifies by its own code."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.keys import SandboxKeys, unionpay_account
from tests.sandbox.merchant import Answer, Json, Receiver

BEIJING = timedelta(hours=8)
SHAPES = {
    "qr": ("back", "07", "000000", "08"),
    "app": ("app", "01", "000201", "08"),
    "wap": ("front", "01", "000201", "08"),
    "pc": ("front", "01", "000201", "07"),
}
FRONT_URL = "http://127.0.0.1:1/checkout/return"


class Reply(msgspec.Struct, frozen=True):
    """What an address answered."""

    status: int
    raw: str

    @property
    def fields(self) -> dict[str, str]:
        return dict(part.split("=", 1) for part in self.raw.split("&"))

    @property
    def code(self) -> str:
        return self.fields["respCode"]

    @property
    def standing(self) -> str:
        return self.fields["origRespCode"]


class UnionPayMerchant:
    """Calls one sandbox, as the one merchant that it has."""

    def __init__(
        self, session: aiohttp.ClientSession, keys: SandboxKeys, url: str, receiver: Receiver
    ) -> None:
        self.session = session
        self.url = url
        self.receiver = receiver
        self.account = unionpay_account(keys, url + "/unionpay")
        pfx, password = b64decode(self.account["pfx"]), self.account["pfx_password"].encode()
        key, certificate, _ = pkcs12.load_key_and_certificates(pfx, password)
        assert isinstance(key, rsa.RSAPrivateKey)
        assert certificate is not None
        self._key = key
        self._cert_id = str(certificate.serial_number)
        # Worked out once: a payment that is asked for again must be the same payment.
        self.now = beijing(timedelta())
        self.until = beijing(timedelta(minutes=30))

    def signed(self, fields: Mapping[str, str], **changes: str) -> dict[str, str]:
        """All fields of a call, as documented unless the test changes some of them."""
        said = {
            "version": "5.1.0",
            "encoding": "UTF-8",
            "signMethod": "01",
            "certId": self._cert_id,
            "accessType": "0",
            "merId": self.account["mer_id"],
            "txnTime": self.now,
            **fields,
            **changes,
        }
        signature = self._key.sign(hashed(said), padding.PKCS1v15(), hashes.SHA256())
        return {**said, "signature": changes.get("signature", b64encode(signature).decode())}

    def payment(self, product: str, number: str, **changes: str) -> dict[str, str]:
        """A signed request for 12.34 yuan."""
        _, sub_type, biz_type, channel = SHAPES[product]
        front = {"frontUrl": FRONT_URL} if product in ("wap", "pc") else {}
        fields = {
            "txnType": "01",
            "txnSubType": sub_type,
            "bizType": biz_type,
            "channelType": channel,
            "orderId": number,
            "txnAmt": "1234",
            "currencyCode": "156",
            "backUrl": self.receiver.url,
            "payTimeout": self.until,
            **front,
        }
        return self.signed(fields, **changes)

    async def post(self, name: str, fields: Mapping[str, str]) -> Reply:
        """POST to an address: front, app, back or query."""
        path = "queryTrans.do" if name == "query" else f"{name}TransReq.do"
        url = f"{self.account['base_url']}/gateway/api/{path}"
        async with self.session.post(url, data=fields, allow_redirects=False) as answer:
            return Reply(answer.status, await answer.text())

    async def create(self, product: str, number: str, **changes: str) -> Reply:
        return await self.post(SHAPES[product][0], self.payment(product, number, **changes))

    async def query(self, number: str, **changes: str) -> Reply:
        fields = {"txnType": "00", "txnSubType": "00", "bizType": "000000", "orderId": number}
        return await self.post("query", self.signed(fields, **changes))

    async def refund(self, number: str, ref: str, amount: int = 1234, **changes: str) -> Reply:
        """A refund, or with txnType 31 a void."""
        fields = {
            "txnType": "04",
            "txnSubType": "00",
            "bizType": "000000",
            "channelType": "08",
            "orderId": number,
            "txnAmt": str(amount),
            "origQryId": ref,
            "backUrl": self.receiver.url,
        }
        return await self.post("back", self.signed(fields, **changes))

    async def paid(self, number: str, product: str = "qr") -> str:
        """Have a payment paid; returns UnionPay's id of it."""
        await self.create(product, number)
        assert (await self.control("pay", {"channel": "unionpay", "number": number})).status == 200
        return (await self.query(number)).fields["queryId"]

    def verifies(self, fields: Mapping[str, str]) -> bool:
        """True when the certificate that came along signed these fields."""
        key = load_pem_x509_certificate(fields["signPubKeyCert"].encode()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        signature = b64decode(fields["signature"])
        try:
            key.verify(signature, hashed(fields), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def told(self, body: bytes) -> dict[str, str]:
        """A notification's fields, once its signature holds."""
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        assert "" not in fields.values()
        assert self.verifies(fields)
        return fields

    async def faults(self, **fields: object) -> None:
        assert (await self.control("faults", {"channel": "unionpay", **fields})).status == 200

    async def control(self, path: str, body: Json | None = None) -> Answer:
        """A control call: GET without a body, POST with one."""
        method = "GET" if body is None else "POST"
        async with self.session.request(method, f"{self.url}/_control/{path}", json=body) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def numbers(self) -> list[object]:
        data = (await self.control("ledger")).json["data"]
        assert isinstance(data, list)
        return [entry["number"] for entry in data]


def hashed(fields: Mapping[str, str]) -> bytes:
    text = "&".join(f"{k}={v}" for k, v in sorted(fields.items()) if v and k != "signature")
    return hashlib.sha256(text.encode()).hexdigest().encode()


def beijing(ahead: timedelta) -> str:
    return (datetime.now(UTC) + BEIJING + ahead).strftime("%Y%m%d%H%M%S")
