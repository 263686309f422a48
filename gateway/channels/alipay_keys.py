"""Whom we believe: Alipay's public key, or in certificate mode its certificates by their SN.

A merchant is in one mode or the other. Public keys never change by themselves. Certificates do:
an answer, or a callback, then names one that we do not have, and it is downloaded by that name.
"""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.alipay_certificates import Trust, key_of_new_certificate
from gateway.channels.alipay_wire import CertificateAnswer, read_body
from gateway.channels.base import Clock
from gateway.errors import BadCallback, ChannelUnavailable, ConfigurationError, UnknownKey

PAUSE: Final = timedelta(seconds=30)  # between downloads, however many unknown SNs there are

_LONGEST_SN: Final = 128

_log = logging.getLogger(__name__)


class Envelope(Struct, frozen=True):
    """An answer taken apart, not verified: `inner` is the object exactly as it was sent."""

    inner: bytes
    signature: str
    serial: str  # SN of the certificate that it was signed with; empty in public-key mode


class Keys(Struct, frozen=True):
    """Keys by SN. In public-key mode there is one, without an SN."""

    by_serial: Mapping[str, RSAPublicKey]

    def check(self, serial: str, signature: str, *readings: bytes) -> None:
        """Return when `signature` was made over one of the readings of a message.

        Raises BadCallback, or UnknownKey for an SN that is not here. A message that names none is
        tried against every key.
        """
        found = self._named(serial)
        for key in found:
            if any(signing.verify(key, signature, reading) for reading in readings):
                return
        raise BadCallback("signature", "the signature does not fit Alipay's key")

    def _named(self, serial: str) -> list[RSAPublicKey]:
        by_public_key = "" in self.by_serial
        if by_public_key or not serial:
            return list(self.by_serial.values())
        if serial not in self.by_serial:
            raise UnknownKey(serial[:_LONGEST_SN])
        return [self.by_serial[serial]]


class Turnstile:
    """Is shut for a while after each use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shut_at = datetime.min.replace(tzinfo=UTC)

    @property
    def open(self) -> bool:
        # The distance, not the difference: a clock that was set back must not stop us for hours.
        return abs(self._clock() - self._shut_at) >= PAUSE

    def shut(self) -> None:
        self._shut_at = self._clock()


class AlipayKeys:
    """The keys of one account as they are now. They are replaced as a whole, never edited."""

    def __init__(
        self,
        fixed: Mapping[str, RSAPublicKey],
        trust: Trust | None,
        download: Callable[[str], Awaitable[Envelope]],
        clock: Clock,
    ) -> None:
        self.current = Keys(fixed)
        self._trust = trust
        self._download = download
        self._clock = clock
        self._named_by_callback = ""
        # Anybody can send us callbacks that name certificates which do not exist. They must not
        # use up the turn of an answer, whose sender is known.
        self._for_answers = Turnstile(clock)
        self._for_callbacks = Turnstile(clock)
        self._one_at_a_time = asyncio.Lock()

    def check_callback(self, serial: str, signature: str, *readings: bytes) -> None:
        """As `Keys.check`; an unknown SN is remembered for `refresh`."""
        try:
            self.current.check(serial, signature, *readings)
        except UnknownKey:
            self._named_by_callback = serial
            raise

    async def check_answer(self, envelope: Envelope) -> None:
        """As `Keys.check`; an unknown certificate is downloaded first."""
        try:
            self.current.check(envelope.serial, envelope.signature, envelope.inner)
        except UnknownKey:
            await self._learn(envelope.serial, self._for_answers)
            self.current.check(envelope.serial, envelope.signature, envelope.inner)

    async def refresh(self) -> None:
        """Download the certificate that a callback named, twice a minute at most.

        A download that fails leaves the keys as they are and is told to the log.
        """
        if self._named_by_callback:
            await self._learn(self._named_by_callback, self._for_callbacks)

    async def _learn(self, serial: str, turnstile: Turnstile) -> None:
        assert self._trust is not None  # by public key, no certificate is ever missed
        async with self._one_at_a_time:
            if serial in self.current.by_serial or not turnstile.open:
                return
            try:
                key = await self._fetch(serial, self._trust)
            except (ChannelUnavailable, BadCallback, ConfigurationError) as error:
                _log.warning("Alipay's certificate was not learnt: %s", error)
            else:
                self.current = Keys({**self.current.by_serial, serial: key})
            # Not before it ended: whoever gives up meanwhile leaves the turn to the next.
            turnstile.shut()

    async def _fetch(self, serial: str, trust: Trust) -> RSAPublicKey:
        envelope = await self._download(serial)
        answer = read_body(envelope.inner, CertificateAnswer)
        if answer is None:
            raise ChannelUnavailable("the answer holds no certificate")
        try:
            pem = b64decode(answer.alipay_cert_content, validate=True).decode("ascii")
        except ValueError as error:
            raise ChannelUnavailable("the certificate is not base64 of PEM text") from error
        key = key_of_new_certificate(pem, serial, trust, self._clock())
        # The new one may vouch for the answer that it came in, as its chain vouches for it.
        Keys({serial: key, **self.current.by_serial}).check(
            envelope.serial, envelope.signature, envelope.inner
        )
        return key
