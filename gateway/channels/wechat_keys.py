"""Whom we believe: the keys that WeChat Pay may sign with, by serial, and how new ones are learnt.

Two kinds live side by side, because a merchant that moves from one to the other hears both for a
while: the public key that it copied from WeChat Pay's site, and the platform certificates, which
are given as text or downloaded. Downloads are sealed with the APIv3 key, which only the merchant
and WeChat Pay have; that seal is why the first one can be believed before any key is known.
"""

import asyncio
import logging
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.base import Clock
from gateway.channels.wechat_wire import Answer, CertificateList, Sealed, read_body
from gateway.errors import BadCallback, ChannelUnavailable, ConfigurationError, UnknownKey

SIGNATURE_TYPE: Final = "WECHATPAY2-SHA256-RSA2048"
FRESH_FOR: Final = timedelta(seconds=300)
REFRESH_AFTER: Final = timedelta(hours=11)  # WeChat Pay asks for less than 12 h
PAUSE: Final = timedelta(seconds=60)  # between downloads, however many serials are unknown
PAUSE_AFTER_FAILURE: Final = timedelta(seconds=5)

_SEALED_BY: Final = "AEAD_AES_256_GCM"
_SERIAL: Final = re.compile(r"[0-9A-Za-z_]{1,64}\Z")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}\Z")
_NONCE: Final = re.compile(r"[!-~]{1,128}\Z")  # no line break: it would blur nonce and body

_log = logging.getLogger(__name__)


class PlatformKey(Struct, frozen=True):
    """A key that WeChat Pay signs with; one from a certificate ends with it."""

    key: RSAPublicKey
    usable_until: datetime | None = None


class Keys(Struct, frozen=True):
    """Keys by serial, as `name_of` writes it."""

    by_serial: Mapping[str, PlatformKey]

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return when `body` was signed by one of the keys within five minutes of `now`.

        Raises BadCallback, or UnknownKey for a serial that is not here. Age is judged first, so
        that a replayed old message never makes us look for keys. WeChat Pay probes its merchants
        with signatures that begin with WECHATPAY/SIGNTEST/; they fail here like any other.
        """
        timestamp = headers.get("wechatpay-timestamp", "")
        nonce = headers.get("wechatpay-nonce", "")
        serial = headers.get("wechatpay-serial", "")
        kind = headers.get("wechatpay-signature-type", SIGNATURE_TYPE)
        shaped = _TIMESTAMP.match(timestamp) and _NONCE.match(nonce) and _SERIAL.match(serial)
        if not shaped or kind != SIGNATURE_TYPE:
            raise BadCallback("signature", "the Wechatpay-* headers are missing or malformed")
        if abs(now.timestamp() - int(timestamp)) > FRESH_FOR.total_seconds():
            raise BadCallback("stale", f"signed at {timestamp}, more than five minutes from now")
        found = self.by_serial.get(name_of(serial))
        if found is None or (found.usable_until is not None and found.usable_until < now):
            raise UnknownKey(serial)
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        if not signing.verify(found.key, headers.get("wechatpay-signature", ""), message):
            raise BadCallback("signature", f"the signature does not fit the key {serial}")


class PlatformKeys:
    """The keys of one account as they are now. They are replaced as a whole, never edited."""

    def __init__(
        self,
        fixed: Mapping[str, PlatformKey],
        apiv3_key: bytes,
        download: Callable[[], Awaitable[Answer]] | None,
        clock: Clock,
    ) -> None:
        self.current = Keys(fixed)
        self._fixed = fixed
        self._apiv3_key = apiv3_key
        self._download = download
        self._clock = clock
        self._running: asyncio.Task[None] | None = None
        self._asked_at = datetime.min.replace(tzinfo=UTC)
        self._pause = PAUSE
        self._learnt = False

    async def refresh(self) -> None:
        """Download the certificates, once for all who ask meanwhile, and once a minute at most.

        So whoever sends forged serials by the thousand causes one download a minute. A download
        that fails leaves the keys as they are and is told to the log: the serial stays unknown.
        """
        self._begin()
        if self._running is not None:
            await asyncio.shield(self._running)

    def refresh_when_old(self) -> None:
        """Begin a download when the last one is eleven hours old; nobody waits for it."""
        if self._learnt and abs(self._clock() - self._asked_at) > REFRESH_AFTER:
            self._begin()

    def _begin(self) -> None:
        now = self._clock()
        # The distance, not the difference: a clock that was set back must not stop us for hours.
        resting = abs(now - self._asked_at) < self._pause
        if self._download is None or self._running is not None or resting:
            return
        self._asked_at = now
        self._running = asyncio.create_task(self._replace(self._download))

    async def _replace(self, download: Callable[[], Awaitable[Answer]]) -> None:
        try:
            answer = await download()
            learnt = read_certificates(answer, self._apiv3_key)
            # A new certificate may vouch for the list that it came in, because only WeChat Pay can
            # have sealed it; one that we knew before is not replaced for that.
            Keys({**learnt, **self.current.by_serial}).check(
                answer.headers, answer.body, self._clock()
            )
        except (ChannelUnavailable, BadCallback) as error:
            self._pause = PAUSE_AFTER_FAILURE
            _log.warning("WeChat Pay's certificates were not refreshed: %s", error)
        else:
            self._pause = PAUSE
            self._learnt = True
            self.current = Keys({**learnt, **self._fixed})
        finally:
            self._running = None


def platform_keys_of(field: str, certificates: Iterable[Certificate]) -> dict[str, PlatformKey]:
    """Return the keys that certificates vouch for; ConfigurationError names `field`."""
    return {
        name_of(f"{certificate.serial_number:X}"): PlatformKey(
            signing.public_key_of(field, certificate), certificate.not_valid_after_utc
        )
        for certificate in certificates
    }


def name_of(serial: str) -> str:
    """Return a serial as we write it: those of certificates vary in case and leading zeros."""
    return serial if serial.startswith("PUB_KEY_ID_") else serial.upper().lstrip("0")


def unseal(apiv3_key: bytes, sealed: Sealed) -> bytes | None:
    """Return what was sealed with the APIv3 key (AES-256-GCM), or None when it was not."""
    if sealed.algorithm != _SEALED_BY:
        return None
    try:
        return AESGCM(apiv3_key).decrypt(
            sealed.nonce.encode(),
            b64decode(sealed.ciphertext, validate=True),
            sealed.associated_data.encode(),
        )
    except (InvalidTag, Base64Error, ValueError):
        return None


def read_certificates(answer: Answer, apiv3_key: bytes) -> dict[str, PlatformKey]:
    """Return the keys that WeChat Pay lists, unsealed. Raises ChannelUnavailable."""
    if answer.status != 200:
        raise ChannelUnavailable(f"{answer.status} {answer.refusal.code}")
    listed = read_body(answer.body, CertificateList)
    if listed is None:
        raise ChannelUnavailable("the list of certificates cannot be read")
    pems = [unseal(apiv3_key, each.encrypt_certificate) for each in listed.data]
    if not all(pems):
        raise ChannelUnavailable("a certificate cannot be decrypted; is apiv3_key the right one?")
    text = b"\n".join(pem for pem in pems if pem is not None).decode("ascii", "replace")
    try:
        return platform_keys_of("certificate", signing.read_certificates("certificate", text))
    except ConfigurationError as error:
        raise ChannelUnavailable(f"the list of certificates cannot be read: {error}") from error
