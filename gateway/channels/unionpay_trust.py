"""Whom we believe: UnionPay sends its certificate along, and who vouches for it is what counts.

The certificate in a message proves nothing by itself, and neither does the authority that issued
it, for that one certifies every merchant too. So three things must hold: it leads to the configured
root, it is in force, and its name is UnionPay's.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.base import Clock
from gateway.channels.chains import common_name_of, leads_to_a_root
from gateway.channels.forms import text_to_sign
from gateway.errors import BadCallback, ConfigurationError

UNIONPAYS_NAME: Final = "中国银联股份有限公司"
TEST_NAME: Final = "00040000:SIGN"  # who signs in UnionPay's test environment

_NAME_AT: Final = 2  # of the parts of the common name, which stand between @
_SIGNATURE: Final = b"signature"
_CERTIFICATE: Final = b"signPubKeyCert"


class Trust(Struct, frozen=True):
    """What a merchant was given: the certificates above UnionPay's, and the names it may bear."""

    roots: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]
    names: frozenset[str]


class Believed:
    """Checks what UnionPay signed; the last certificate that was believed is kept."""

    def __init__(self, trust: Trust, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock
        self._last: tuple[str, Certificate] | None = None

    def check(self, fields: Mapping[bytes, bytes]) -> None:
        """Return when UnionPay signed these fields. Raises BadCallback."""
        pem = fields.get(_CERTIFICATE, b"").decode("utf-8", "replace")
        certificate = self._last[1] if self._last and self._last[0] == pem else _read(pem)
        signature = fields.get(_SIGNATURE, b"").decode("ascii", "replace")
        key = signing.public_key_of("signPubKeyCert", certificate)
        if not signing.verify(key, signature, digest_to_sign(fields)):
            raise BadCallback("signature", "the signature does not fit the certificate")
        # The chain before the name: what nobody vouches for is not worth being taken apart.
        trust, now = self._trust, self._clock()
        if not leads_to_a_root(certificate, trust.intermediates, trust.roots, now):
            raise BadCallback(
                "signature", "the certificate is not in force, or does not lead to the root"
            )
        names = common_name_of(certificate).split("@")
        if len(names) <= _NAME_AT or names[_NAME_AT] not in trust.names:
            raise BadCallback("signature", "the certificate bears another name than UnionPay's")
        self._last = (pem, certificate)


def digest_to_sign(fields: Mapping[bytes, bytes]) -> bytes:
    """Return what is signed: the hash, in hexadecimal, of all fields that say something."""
    said = ((name, value) for name, value in fields.items() if value and name != _SIGNATURE)
    return hashlib.sha256(text_to_sign(said)).hexdigest().encode()


def _read(pem: str) -> Certificate:
    try:
        return signing.read_certificates("signPubKeyCert", pem)[0]
    except ConfigurationError as error:
        raise BadCallback("signature", str(error)) from error
