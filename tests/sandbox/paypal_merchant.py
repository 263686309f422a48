"""A merchant of PayPal who trusts nobody: it verifies webhooks by its own code."""

from base64 import b64decode
from zlib import crc32

import aiohttp
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from gateway.sandbox.keys import SandboxKeys, paypal_account
from tests.sandbox.merchant import Answer, Json, ReceivedCallback, Receiver

CONTEXT = {"return_url": "https://shop.example/back", "cancel_url": "https://shop.example/cancel"}


class PayPalMerchant:
    """Calls one sandbox, as the one merchant that it has."""

    def __init__(
        self, session: aiohttp.ClientSession, keys: SandboxKeys, url: str, receiver: Receiver
    ) -> None:
        self.session = session
        self.url = url
        self.receiver = receiver
        self.account = paypal_account(keys, url + "/paypal")
        self.token = ""

    async def log_in(self) -> None:
        said = aiohttp.encode_basic_auth(self.account["client_id"], self.account["client_secret"])
        answer = await self.send(
            "POST", "/v1/oauth2/token", said, data={"grant_type": "client_credentials"}
        )
        self.token = str(answer.json["access_token"])

    async def call(self, method: str, path: str, request_id: str = "", **body: object) -> Answer:
        """A call with the token; keywords are the body."""
        headers = {"PayPal-Request-Id": request_id} if request_id else {}
        headers["Prefer"] = "return=representation"
        token = f"Bearer {self.token}"
        json = body if method == "POST" else None
        return await self.send(method, path, token, json=json, headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        authorization: str,
        *,
        data: object = None,
        json: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": authorization, **(headers or {})}
        url = self.account["base_url"] + path
        async with self.session.request(method, url, data=data, json=json, headers=sent) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def create(
        self, number: str, request_id: str = "", changes: Json | None = None
    ) -> Answer:
        unit = {"custom_id": number, "amount": {"currency_code": "USD", "value": "12.34"}}
        source = {"paypal": {"experience_context": CONTEXT}}
        body = {"intent": "CAPTURE", "purchase_units": [unit], "payment_source": source}
        return await self.call(
            "POST", "/v2/checkout/orders", request_id or number, **body | (changes or {})
        )

    async def capture(self, order: str, request_id: str = "C1") -> Answer:
        return await self.call("POST", f"/v2/checkout/orders/{order}/capture", order + request_id)

    async def status_of(self, order: str) -> object:
        answer = await self.call("GET", f"/v2/checkout/orders/{order}")
        return answer.json["status"] if answer.status == 200 else answer.status

    async def control(self, call: str, **said: object) -> Answer:
        url = f"{self.url}/_control/{call}"
        async with self.session.post(url, json=said) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def pay(self, number: str, **said: object) -> Answer:
        return await self.control("pay", channel="paypal", number=number, **said)

    async def faults(self, **said: object) -> None:
        assert (await self.control("faults", channel="paypal", **said)).status == 200

    async def captured(self, number: str) -> int:
        """A payment of the price, whole; returns what the ledger says of it."""
        async with self.session.get(f"{self.url}/_control/ledger") as answer:
            entries = msgspec.json.decode(await answer.read(), type=dict[str, list[Json]])["data"]
        entry = next(entry for entry in entries if entry["number"] == number)
        assert isinstance(entry["captured"], int)
        return entry["captured"]

    async def believes(self, webhook: ReceivedCallback) -> bool:
        """Fetch the certificate that a webhook names, and check the whole chain and signature."""
        said = {name.lower(): value for name, value in webhook.headers.items()}
        async with self.session.get(said["paypal-cert-url"]) as answer:
            leaf, middle = load_pem_x509_certificates(await answer.read())
        root = load_pem_x509_certificate(self.account["webhook_root_certs"].encode())
        parts = (
            said["paypal-transmission-id"],
            said["paypal-transmission-time"],
            self.account["webhook_id"],
            str(crc32(webhook.body)),
        )
        key = leaf.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        try:
            middle.verify_directly_issued_by(root)
            leaf.verify_directly_issued_by(middle)
            signature = b64decode(said["paypal-transmission-sig"])
            key.verify(signature, "|".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True

    async def asks(self, webhook: ReceivedCallback, **changes: str) -> object:
        """Ask PayPal whether a webhook is its own."""
        said = {name.lower(): value for name, value in webhook.headers.items()}
        question = {
            "auth_algo": said["paypal-auth-algo"],
            "cert_url": said["paypal-cert-url"],
            "transmission_id": said["paypal-transmission-id"],
            "transmission_sig": said["paypal-transmission-sig"],
            "transmission_time": said["paypal-transmission-time"],
            "webhook_id": self.account["webhook_id"],
            **changes,
        }
        body = msgspec.json.encode(question)[:-1] + b',"webhook_event":' + webhook.body + b"}"
        path = "/v1/notifications/verify-webhook-signature"
        answer = await self.send("POST", path, f"Bearer {self.token}", data=body)
        return answer.json.get("verification_status", answer.status)
