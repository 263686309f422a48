"""FCM HTTP v1 and Google's token endpoint, on one local server."""

import json
import time
from functools import cache
from itertools import count

import jwt
import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from tests.fakes.platforms import FakePlatform, Shown

PROJECT = "shop-417"
EMAIL = f"push@{PROJECT}.iam.gserviceaccount.com"
_KEY_ID = "3a1f"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class Words(Struct, forbid_unknown_fields=True):
    title: str
    body: str


class AndroidWords(Struct, forbid_unknown_fields=True):
    tag: str


class Android(Struct, forbid_unknown_fields=True):
    collapse_key: str
    ttl: str
    priority: str
    notification: AndroidWords


class Aps(Struct, forbid_unknown_fields=True, rename="kebab"):
    sound: str
    thread_id: str


class ApnsPayload(Struct, forbid_unknown_fields=True):
    aps: Aps


class ApnsConfig(Struct, forbid_unknown_fields=True):
    headers: dict[str, str]
    payload: ApnsPayload


class Message(Struct, forbid_unknown_fields=True):
    token: str
    data: dict[str, str]
    notification: Words
    android: Android
    apns: ApnsConfig


class SendRequest(Struct, forbid_unknown_fields=True):
    message: Message


@cache
def _private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FakeFcm(FakePlatform):
    def __init__(self) -> None:
        super().__init__()
        self.access_tokens: list[str] = []
        self.good_for_s = 3599
        self._names = count(1)
        self.app = web.Application()
        self.app.router.add_post("/token", self._sign_in)
        self.app.router.add_post(f"/v1/projects/{PROJECT}/messages:send", self._send)

    def key_file(self) -> str:
        """The service account's key file, with all that Google writes into one."""
        pem = _private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return json.dumps(
            {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key_id": _KEY_ID,
                "private_key": pem.decode(),
                "client_email": EMAIL,
                "client_id": "104857600000000000000",
                "auth_uri": "https://accounts.example/o/oauth2/auth",
                "token_uri": f"{self.url}/token",
            }
        )

    def revoke(self) -> None:
        """Access tokens that were given out are good no more."""
        self.access_tokens.append("nobody has this one")

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        assertion = str(form["assertion"])
        try:
            assert form["grant_type"] == _JWT_GRANT, "grant_type"
            assert jwt.get_unverified_header(assertion)["kid"] == _KEY_ID, "kid"
            public = _private_key().public_key()
            audience = f"{self.url}/token"
            claims = jwt.decode(
                assertion, public, algorithms=["RS256"], audience=audience, issuer=EMAIL
            )
            assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
            assert claims["exp"] - claims["iat"] <= 3600, "exp"
        except (AssertionError, jwt.PyJWTError) as error:
            self.refused.append(repr(error))
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.access_tokens.append(f"ya29.{len(self.access_tokens)}")
        return web.json_response(
            {
                "access_token": self.access_tokens[-1],
                "expires_in": self.good_for_s,
                "token_type": "Bearer",
            }
        )

    async def _send(self, request: web.Request) -> web.Response:
        mood = self.mood()
        if mood is not None and mood.instead == "stall":
            await self.stand_still()
        elif mood is not None and mood.instead == "answer":
            return web.Response(status=mood.status, body=mood.body, headers=mood.headers)
        bearer = f"Bearer {self.access_tokens[-1]}" if self.access_tokens else ""
        if request.headers.get("Authorization") != bearer:
            return _error(401, "UNAUTHENTICATED")
        try:
            message = msgspec.json.decode(await request.read(), type=SendRequest).message
            assert 0 < int(message.android.ttl.removesuffix("s")) <= 2_419_200, "ttl"
            assert int(message.apns.headers["apns-expiration"]) > time.time(), "expiration"
        except (msgspec.ValidationError, ValueError, AssertionError) as error:
            self.refused.append(repr(error))
            return _error(400, "INVALID_ARGUMENT", field="message")
        if message.token not in self.living:
            return _error(404, "NOT_FOUND", code="UNREGISTERED")
        collapse = message.android.notification.tag
        words = message.notification
        self.taken.append(Shown(message.token, collapse, words.title, words.body, message.data))
        if mood is not None and mood.instead == "lose":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"name": f"projects/{PROJECT}/messages/{next(self._names)}"})


def error_body(status: str, code: str = "", field: str = "") -> bytes:
    """An error as FCM words it; `code` is FCM's own, `field` the one that is wrong."""
    details: list[dict[str, object]] = []
    if code:
        details.append({"@type": _FCM_ERROR, "errorCode": code})
    if field:
        violation = {"field": field, "description": "Invalid value"}
        details.append({"@type": _BAD_REQUEST, "fieldViolations": [violation]})
    error = {"code": 0, "message": "It is not so.", "status": status, "details": details}
    return json.dumps({"error": error}).encode()


def _error(http_status: int, status: str, code: str = "", field: str = "") -> web.Response:
    body = error_body(status, code, field)
    return web.Response(status=http_status, body=body, content_type="application/json")
