"""Apple Push Notification service, with provider tokens over HTTP/2 (`payonce[push]`).

What is sent: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
How it is signed: https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
What is answered: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

import logging
import re
import ssl
import time
from collections.abc import Callable
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import httpx2
import jwt
from msgspec import Struct

from gateway.devices.base import DEADLINE_S, KEPT_FOR_S, Dead, Note, Told, encode, read, seconds
from gateway.errors import PushUnavailable

# Apple refuses a provider token after an hour, and another one before twenty minutes are over.
_RENEW_AFTER_S: Final = 40 * 60.0
_NOT_BEFORE_S: Final = 20 * 60.0
_TOKEN: Final = re.compile(r"[0-9a-fA-F]{64,200}")
_DEAD: Final = frozenset(
    {"BadDeviceToken", "DeviceTokenNotForTopic", "ExpiredToken", "Unregistered"}
)


class ApnsKey(Struct, frozen=True):
    """A key for provider tokens (PEM), whose it is, and the app that it pushes to."""

    key: str
    key_id: str
    team_id: str
    topic: str


class _Refusal(Struct, frozen=True):
    reason: str = ""


def apns_client() -> httpx2.AsyncClient:
    """Make the client, which keeps its connection; the system's CAs (or SSL_CERT_FILE) are
    believed.
    """
    # They write URLs and headers down, and Apple wants the device's token in the URL.
    for library in ("httpx2", "httpcore2", "hpack"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        http1=False,
        http2=True,
        verify=ssl.create_default_context(),
        timeout=DEADLINE_S,
        limits=httpx2.Limits(max_connections=4, keepalive_expiry=300),
        trust_env=False,
    )


class Apns:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        key: ApnsKey,
        url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._key = key
        self._url = url.rstrip("/")
        self._clock = clock
        self._signed = ""
        self._signed_at = 0.0

    def takes(self, token: str) -> bool:
        """Is it the hexadecimal form that Apple asks for? It becomes a part of the URL."""
        return _TOKEN.fullmatch(token) is not None

    async def push(self, token: str, note: Note, replaces: str) -> Told | Dead:
        """Push an alert; one with the same collapse id takes the place of an older one."""
        answer, reason = await self._send(token, note)
        if reason == "ExpiredProviderToken" and self._age_s() >= _NOT_BEFORE_S:
            self._signed = ""
            answer, reason = await self._send(token, note)
        if answer.status_code == 200:
            return Told()
        if reason in _DEAD:
            return Dead()
        raise PushUnavailable(
            f"answered {answer.status_code}", seconds(answer.headers.get("Retry-After"))
        )

    async def _send(self, token: str, note: Note) -> tuple[httpx2.Response, str]:
        """Send it; returns the answer and, of a refusal, its reason."""
        aps = {
            "alert": {"title": note.title, "body": note.body},
            "sound": "default",
            "thread-id": note.order,
        }
        headers = {
            "authorization": f"bearer {self._provider_token()}",
            "apns-topic": self._key.topic,
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-expiration": str(int(self._clock()) + KEPT_FOR_S),
            "apns-collapse-id": note.order,
            # The same for a repeat, so that Apple's own tools show it as one.
            "apns-id": str(uuid5(NAMESPACE_URL, f"{note.order}/{note.version}/{token}")),
        }
        try:
            answer = await self._http.post(
                f"{self._url}/3/device/{token}",
                content=encode({"aps": aps, **note.data()}),
                headers=headers,
            )
        except (httpx2.HTTPError, OSError) as error:  # its own words hold the URL
            raise PushUnavailable(type(error).__name__) from None
        return answer, (read(answer.content, _Refusal) or _Refusal()).reason

    def _provider_token(self) -> str:
        if not self._signed or self._age_s() >= _RENEW_AFTER_S:
            self._signed_at = self._clock()
            self._signed = jwt.encode(
                {"iss": self._key.team_id, "iat": int(self._signed_at)},
                self._key.key,
                algorithm="ES256",
                headers={"kid": self._key.key_id},
            )
        return self._signed

    def _age_s(self) -> float:
        return self._clock() - self._signed_at
