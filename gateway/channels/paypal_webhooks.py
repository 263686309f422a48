"""Whether a webhook is PayPal's: by the certificate that it names, by asking PayPal, or both.

Reading a webhook does no I/O. What it lacks for that is noted: the certificate's address, or the
question to PayPal. `learn` gets both, and then the webhook is read again. PayPal signs once and
resends for days, so a webhook's age says nothing.
"""

import asyncio
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from zlib import crc32

import aiohttp
import msgspec
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.base import Callback
from gateway.channels.paypal_account import Credentials, Verify
from gateway.channels.paypal_certificates import Certificates
from gateway.channels.paypal_codes import sentence_of
from gateway.channels.paypal_connection import DEADLINE_S, Connection
from gateway.channels.paypal_wire import read_body
from gateway.errors import BadCallback, ChannelUnavailable, UnknownKey

WEBHOOKS: Final = "/v1/notifications/webhooks"
VERIFY: Final = "/v1/notifications/verify-webhook-signature"
ALGORITHM: Final = "SHA256withRSA"
ASKED_AT_ONCE: Final = 16
KEPT: Final = 64

_ID: Final = re.compile(r"[!-{}~]{1,128}")  # no |: it would blur where the parts end
_SIGNATURE: Final = re.compile(r"[0-9A-Za-z+/=]{1,1024}")


class Transmission(Struct, frozen=True):
    """One sending, as its headers describe it, in the words of the call that verifies it."""

    auth_algo: str
    cert_url: str
    transmission_id: str
    transmission_sig: str
    transmission_time: str
    webhook_id: str

    def text_to_sign(self, body: bytes) -> bytes:
        """Return what is signed: four parts, the last the body's CRC-32 in decimal digits."""
        parts = (self.transmission_id, self.transmission_time, self.webhook_id, str(crc32(body)))
        return "|".join(parts).encode()


class Verified(Struct, frozen=True):
    """PayPal's answer to the question; anything but SUCCESS is no."""

    verification_status: str


class Webhooks:
    """Checks what is sent to one webhook."""

    def __init__(
        self,
        credentials: Credentials,
        connection: Connection,
        http: aiohttp.ClientSession,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._webhook_id = credentials.webhook_id
        self._by_certificate = credentials.verify is not Verify.PAYPAL
        self._by_paypal = credentials.verify is not Verify.CERTIFICATE
        self._connection = connection
        self._certificates = Certificates(credentials, http, connection.clock, deadline_s)
        self._learning = asyncio.Lock()
        self._questions: dict[bytes, bytes] = {}
        self._answers: dict[bytes, bool] = {}

    def check(self, callback: Callback) -> None:
        """Return when the webhook is PayPal's. Raises BadCallback, or UnknownKey: `learn` first."""
        sent = self._transmission(callback.headers)
        if self._by_certificate:
            key = self._certificates.key_of(sent.cert_url)
            if key is None:
                raise UnknownKey(sent.cert_url)
            text = sent.text_to_sign(callback.body)
            if not signing.verify(key, sent.transmission_sig, text):
                raise BadCallback("signature", "the signature does not fit the certificate")
        if self._by_paypal:
            self._check_answer(sent, callback.body)

    async def learn(self) -> None:
        """Fetch certificates and put questions; whoever comes meanwhile waits for the same.

        Raises ChannelUnavailable when PayPal does not answer a question.
        """
        async with self._learning:
            await self._certificates.fetch_wanted()
            questions, self._questions = self._questions, {}
            for name, question in questions.items():
                self._answers[name] = await self._ask(question)
            while len(self._answers) > KEPT:
                del self._answers[next(iter(self._answers))]

    async def prove(self) -> None:
        """Ask whether the app has the webhook. Raises ChannelUnavailable."""
        answer = await self._connection.call("GET", f"{WEBHOOKS}/{self._webhook_id}")
        if answer.status == 404:
            raise ChannelUnavailable(
                "webhook_id: the app has no webhook with that id, so that every callback would be "
                "refused; copy the id from the app's webhooks at PayPal"
            )
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))

    def _transmission(self, headers: Mapping[str, str]) -> Transmission:
        """Read the headers. Raises BadCallback unless they are whole, and PayPal's."""
        sent = Transmission(
            auth_algo=headers.get("paypal-auth-algo", ""),
            cert_url=headers.get("paypal-cert-url", ""),
            transmission_id=headers.get("paypal-transmission-id", ""),
            transmission_sig=headers.get("paypal-transmission-sig", ""),
            transmission_time=headers.get("paypal-transmission-time", ""),
            webhook_id=self._webhook_id,
        )
        shaped = (
            sent.auth_algo == ALGORITHM
            and _ID.fullmatch(sent.transmission_id)
            and _ID.fullmatch(sent.transmission_time)
            and _SIGNATURE.fullmatch(sent.transmission_sig)
        )
        if not shaped:
            raise BadCallback("signature", "the Paypal-* headers are missing or malformed")
        if not self._certificates.may_come_from(sent.cert_url):
            raise BadCallback("signature", "the certificate's address is not PayPal's")
        return sent

    def _check_answer(self, sent: Transmission, body: bytes) -> None:
        """Look up what PayPal said of it. Raises BadCallback, or UnknownKey where it must be
        asked.
        """
        if read_body(body, msgspec.Raw) is None:
            raise BadCallback("signature", "the webhook is not JSON")
        # PayPal wants the event as it came, not as we would write it.
        question = msgspec.json.encode(sent)[:-1] + b',"webhook_event":' + body + b"}"
        name = sha256(question).digest()
        genuine = self._answers.get(name)
        if genuine is None:
            if len(self._questions) < ASKED_AT_ONCE:
                self._questions[name] = question
            raise UnknownKey(sent.transmission_id)
        if not genuine:
            raise BadCallback("signature", "PayPal says that the webhook is not its own")

    async def _ask(self, question: bytes) -> bool:
        answer = await self._connection.call("POST", VERIFY, question)
        if answer.status != 200:
            raise ChannelUnavailable(f"{answer.status} {answer.refusal.issue}")
        return answer.expect(Verified).verification_status == "SUCCESS"
