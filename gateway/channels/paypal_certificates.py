"""The certificates that PayPal signs webhooks with: fetched from where a webhook says, believed for
who vouches for them.

The address comes from whoever calls us, so it only counts on PayPal's hosts; what is fetched there
counts only with a chain to an authority that we trust and with PayPal's name in it. Nobody makes us
fetch more than a few in a minute.
"""

import asyncio
import re
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import aiohttp
import certifi
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct
from yarl import URL

from gateway.channels import signing
from gateway.channels.base import Clock
from gateway.channels.chains import common_name_of, leads_to_a_root
from gateway.channels.downloads import read_within
from gateway.channels.paypal_account import BASE_URL, Credentials
from gateway.errors import ChannelUnavailable, ConfigurationError
from gateway.telemetry import log

PAYPALS_NAME: Final = "messageverificationcerts.paypal.com"
SANDBOXS_NAME: Final = "messageverificationcerts.sandbox.paypal.com"
KEPT: Final = 8  # certificates, and addresses to fetch them from
PER_MINUTE: Final = 10  # fetches

_PAYPALS_HOST: Final = re.compile(r"https://([a-z0-9-]+\.)+paypal\.com(/[!-~]{1,255})")
_PATH: Final = re.compile(r"/[!-~]{1,255}")
_LARGEST: Final = 64 * 1024
_NOT_LEARNT: Final = (
    aiohttp.ClientError,
    ChannelUnavailable,
    ConfigurationError,
    TimeoutError,
    ValueError,
    x509.InvalidVersion,
)
_MINUTE: Final = timedelta(minutes=1)


class KnownKey(Struct, frozen=True):
    key: RSAPublicKey
    usable_until: datetime


class Certificates:
    """Keys by the address of their certificate. `key_of` fetches nothing; `fetch_wanted` does."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        self._hosts = credentials.cert_hosts
        self._roots = credentials.roots
        # Who signs in PayPal's test environment is nobody in the real one.
        real = credentials.base_url == BASE_URL
        self._names = {PAYPALS_NAME} if real else {PAYPALS_NAME, SANDBOXS_NAME}
        self._http = http
        self._clock = clock
        self._deadline_s = deadline_s
        self._known: dict[str, KnownKey] = {}
        self._wanted: dict[str, None] = {}
        self._minute_began = datetime.min.replace(tzinfo=UTC)
        self._fetched = 0

    def may_come_from(self, url: str) -> bool:
        """Is that an address of PayPal's, or of a host that the account allows?"""
        if _PAYPALS_HOST.fullmatch(url):
            return True
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        allowed = scheme in ("http", "https") and host in self._hosts
        return allowed and bool(_PATH.fullmatch(slash + path))

    def key_of(self, url: str) -> RSAPublicKey | None:
        """Return the key of a certificate that is here and in force; else remember to fetch it."""
        known = self._known.get(url)
        if known is not None and self._clock() <= known.usable_until:
            return known.key
        if len(self._wanted) < KEPT:
            self._wanted[url] = None
        return None

    async def fetch_wanted(self) -> None:
        """Fetch what was asked for since; one that cannot be believed stays unknown."""
        wanted, self._wanted = self._wanted, {}
        await asyncio.gather(*(self._learn(url) for url in wanted if self._may_fetch()))

    def _may_fetch(self) -> bool:
        now = self._clock()
        # The distance, not the difference: a clock that was set back must not stop us for hours.
        if abs(now - self._minute_began) >= _MINUTE:
            self._minute_began, self._fetched = now, 0
        self._fetched += 1
        return self._fetched <= PER_MINUTE

    async def _learn(self, url: str) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                text = await self._fetch(url)
            learnt = self._believe(text)
        except _NOT_LEARNT as error:
            log.warning("paypal_certificate_not_learnt", error=str(error) or type(error).__name__)
            return
        self._known[url] = learnt
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    async def _fetch(self, url: str) -> bytes:
        address = URL(url, encoded=True)
        async with self._http.get(address, allow_redirects=False) as response:
            text = await read_within(response, _LARGEST)
        if response.status != 200:
            raise ConfigurationError(f"HTTP {response.status}")
        return text

    def _believe(self, text: bytes) -> KnownKey:
        """Return the key of the first certificate. Raises ConfigurationError or ValueError."""
        leaf, *above = x509.load_pem_x509_certificates(text)
        roots = self._roots or public_authorities()
        if not leads_to_a_root(leaf, tuple(above), roots, self._clock()):
            raise ConfigurationError("it is not in force, or does not lead to an authority")
        if common_name_of(leaf) not in self._names:
            raise ConfigurationError("it bears another name than PayPal's")
        key = signing.public_key_of("PAYPAL-CERT-URL", leaf)
        return KnownKey(key, leaf.not_valid_after_utc)


@cache
def public_authorities() -> tuple[x509.Certificate, ...]:
    """Return the authorities that browsers trust, read once a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are old, and numbered as one would not today
        return tuple(x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes()))
