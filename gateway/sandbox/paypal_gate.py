"""PayPal's door: an app gets a token for its secret, and comes in with the token."""

import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import datetime, timedelta

import msgspec
from aiohttp import web

from gateway.sandbox.faults import Error, FaultBoard
from gateway.sandbox.keys import SandboxKeys

KIND = "paypal"
PREFIX = f"/{KIND}"
TOKEN_LIFE_S = 32400
JSON = "application/json"

NAMES = {
    400: "INVALID_REQUEST",
    403: "NOT_AUTHORIZED",
    404: "RESOURCE_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    422: "UNPROCESSABLE_ENTITY",
    429: "RATE_LIMIT_REACHED",
}


class PayPalRefusal(Exception):
    """The channel says no."""

    def __init__(self, status: int, issue: str, about: str = "") -> None:
        super().__init__(f"{status} {issue} {about}")
        self.status = status
        self.issue = issue
        self.about = about


class PayPalGate:
    """Gives out tokens and checks them; words answers and errors."""

    def __init__(self, keys: SandboxKeys, faults: FaultBoard) -> None:
        self._app = (keys.paypal.client_id, keys.paypal.client_secret)
        self._faults = faults
        self._tokens: dict[str, datetime] = {}

    async def grant(self, request: web.Request) -> web.Response:
        """POST /v1/oauth2/token, with the app's id and secret -> a token for nine hours"""
        form = await request.post()
        if _basic(request) != self._app:
            return _plain_error("invalid_client", "Client Authentication failed")
        if form.get("grant_type") != "client_credentials":
            return _plain_error("unsupported_grant_type", "Grant Type is NULL", 400)
        token = "A21AA" + secrets.token_urlsafe(64)
        self._tokens[token] = self._now() + timedelta(seconds=TOKEN_LIFE_S)
        granted = {
            "scope": "https://uri.paypal.com/services/payments/payment",
            "access_token": token,
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": TOKEN_LIFE_S,
            "nonce": secrets.token_urlsafe(32),
        }
        return web.Response(body=msgspec.json.encode(granted), content_type=JSON)

    def keep_out(self, request: web.Request) -> web.Response | None:
        """Answer 401 to whoever has no token, or one that has ended; else nothing."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        ends_at = self._tokens.get(token)
        if kind == "Bearer" and ends_at is not None and self._now() < ends_at:
            return None
        return _plain_error("invalid_token", "Token signature verification failed")

    def answer(self, status: int, body: object) -> web.Response:
        text = msgspec.json.encode(body)
        if self._faults.spoils_answer(KIND):
            text = text[:-1]  # nothing is signed; so it is cut short
        return web.Response(status=status, body=text, content_type=JSON)

    def refuse(self, refusal: PayPalRefusal) -> web.Response:
        """An error in PayPal's words."""
        return _error(refusal.status, refusal.issue, refusal.about)

    def fail(self, error: Error) -> web.Response:
        """An error that a fault asks for; `code` is the issue."""
        return _error(error.status, error.code if isinstance(error.code, str) else "", "")

    def _now(self) -> datetime:
        return self._faults.now(KIND)


def _error(status: int, issue: str, about: str) -> web.Response:
    name = NAMES.get(status, "INTERNAL_SERVER_ERROR")
    detail = {"issue": issue or name, "description": f"{about or issue or name}."}
    body = {
        "name": name,
        "message": "The requested action could not be performed.",
        "debug_id": secrets.token_hex(7),
        "details": [detail],
        "links": [],
    }
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=JSON)


def _plain_error(error: str, description: str, status: int = 401) -> web.Response:
    body = {"error": error, "error_description": description}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=JSON)


def _basic(request: web.Request) -> tuple[str, str]:
    kind, _, said = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, password = b64decode(said, validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        return "", ""
    return (user, password) if kind == "Basic" else ("", "")
