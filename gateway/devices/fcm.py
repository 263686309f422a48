"""Firebase Cloud Messaging, HTTP v1 API.

What is sent: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
What is answered: https://firebase.google.com/docs/cloud-messaging/error-codes
How a service account signs in: https://developers.google.com/identity/protocols/oauth2/service-account
"""

import asyncio
import time
from typing import Annotated, Final
from urllib.parse import quote, urlencode

import aiohttp
import jwt
from msgspec import Meta, Struct

from gateway.devices.base import KEPT_FOR_S, Answer, Dead, Note, Told, encode, post, read
from gateway.errors import PushUnavailable
from gateway.push_settings import ServiceAccount

_SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FORM: Final = "application/x-www-form-urlencoded"
_ASSERTION_LIVES_S: Final = 3600
# A token is left alone for its last minutes, so that none ends on its way.
_RENEW_BEFORE_S: Final = 300.0


class _Access(Struct, frozen=True):
    """What the token endpoint answers."""

    access_token: Annotated[str, Meta(pattern=r"^[!-~]{0,8192}\Z")]
    expires_in: Annotated[int, Meta(ge=0, le=10**9)]


class _Violation(Struct, frozen=True):
    field: str = ""


class _Detail(Struct, frozen=True, rename="camel"):
    """One of an error's details: an FcmError has a code, a BadRequest says which fields."""

    error_code: str = ""
    field_violations: tuple[_Violation, ...] = ()


class _Error(Struct, frozen=True):
    details: tuple[_Detail, ...] = ()


class _Refused(Struct, frozen=True):
    error: _Error


class Fcm:
    def __init__(self, http: aiohttp.ClientSession, account: ServiceAccount, url: str) -> None:
        self._http = http
        self._account = account
        self._url = f"{url.rstrip('/')}/v1/projects/{quote(account.project_id)}/messages:send"
        self._access = _Access("", 0)
        self._good_until = 0.0
        self._signing_in = asyncio.Lock()

    def takes(self, token: str) -> bool:
        return True  # FCM says nothing of what they look like

    async def push(self, token: str, note: Note, replaces: str) -> Told | Dead:
        """Push by projects.messages.send; the tag takes an older notification off the screen."""
        body = encode({"message": _message(token, note)})
        access = await self._bearer(refused=None)
        answer = await self._send(body, access)
        if answer.status == 401:
            answer = await self._send(body, await self._bearer(refused=access))
        return _meaning(answer)

    async def _send(self, body: bytes, access: _Access) -> Answer:
        headers = {
            "Authorization": f"Bearer {access.access_token}",
            "Content-Type": "application/json",
        }
        return await post(self._http, self._url, body, headers)

    async def _bearer(self, refused: _Access | None) -> _Access:
        """Return an access token that is good and not the refused one; one push fetches it for
        all.
        """
        async with self._signing_in:
            if self._access is refused or time.monotonic() >= self._good_until:
                self._access = await self._sign_in()
                self._good_until = time.monotonic() + self._access.expires_in - _RENEW_BEFORE_S
            return self._access

    async def _sign_in(self) -> _Access:
        account, now = self._account, int(time.time())
        claims = {
            "iss": account.client_email,
            "scope": _SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + _ASSERTION_LIVES_S,
        }
        key_id = {"kid": account.private_key_id}
        assertion = jwt.encode(claims, account.private_key, algorithm="RS256", headers=key_id)
        form = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        answer = await post(self._http, account.token_uri, form, {"Content-Type": _FORM})
        if answer.status != 200:
            raise PushUnavailable(f"no access token: answered {answer.status}", answer.wait_s)
        access = read(answer.body, _Access)
        if access is None:
            raise PushUnavailable("no access token: an answer that cannot be read")
        return access


def _message(token: str, note: Note) -> dict[str, object]:
    return {
        "token": token,
        "data": note.data(),
        "notification": {"title": note.title, "body": note.body},
        "android": {
            "priority": "HIGH",
            "ttl": f"{KEPT_FOR_S}s",
            "collapse_key": note.order,
            "notification": {"tag": note.order},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": note.order,
                "apns-expiration": str(int(time.time()) + KEPT_FOR_S),
            },
            "payload": {"aps": {"sound": "default", "thread-id": note.order}},
        },
    }


def _meaning(answer: Answer) -> Told | Dead:
    if answer.status == 200:
        return Told()
    refused = read(answer.body, _Refused)
    if refused is not None and _names_a_dead_token(refused.error):
        return Dead()
    raise PushUnavailable(f"answered {answer.status}", answer.wait_s)


def _names_a_dead_token(error: _Error) -> bool:
    """Is it about the token? INVALID_ARGUMENT is said of every field, so it must name that one, or
    none at all: a field of ours that is wrong must not cost buyers their news.
    """
    codes = {detail.error_code for detail in error.details}
    fields = {violation.field for detail in error.details for violation in detail.field_violations}
    return bool(codes & {"UNREGISTERED", "SENDER_ID_MISMATCH"}) or (
        "INVALID_ARGUMENT" in codes and fields <= {"message.token"}
    )
