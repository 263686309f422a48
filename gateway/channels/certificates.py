"""The certificates among an account's settings, and how long they are good for."""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels.chains import common_name_of

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PFX: Final = "pfx"
_PFX_PASSWORD: Final = "pfx_password"


class Certified(Struct, frozen=True):
    """A certificate that a setting holds."""

    setting: str
    name: str  # whose it is
    serial: str  # in hexadecimal
    ends_at: datetime


def certificates_in(texts: Mapping[str, str]) -> list[Certified]:
    """Return the certificates in the settings of an account; of several with one name in a
    setting, as while one is replaced, the last to end.
    """
    found: dict[tuple[str, str], Certified] = {}
    for setting, certificate in _all_in(texts):
        name = common_name_of(certificate)
        serial = f"{certificate.serial_number:X}"
        each = Certified(setting, name, serial, certificate.not_valid_after_utc)
        known = found.setdefault((setting, name), each)
        if known.ends_at < each.ends_at:
            found[setting, name] = each
    return list(found.values())


def _all_in(texts: Mapping[str, str]) -> Iterator[tuple[str, Certificate]]:
    for setting, text in texts.items():
        read = _in_pfx(text, texts) if setting == _PFX else _in_pem(text)
        for certificate in read:
            yield setting, certificate


def _in_pem(text: str) -> Iterable[Certificate]:
    for pem in _PEM.findall(text):
        try:
            yield x509.load_pem_x509_certificate(pem.encode())
        except (ValueError, x509.InvalidVersion):
            continue  # Alipay's roots are of national algorithms too, which are not used here


def _in_pfx(text: str, texts: Mapping[str, str]) -> Iterable[Certificate]:
    password = texts.get(_PFX_PASSWORD, "").strip().encode() or None
    try:
        _, certificate, _ = pkcs12.load_key_and_certificates(b64decode(text), password)
    except (ValueError, UnsupportedAlgorithm):
        return []  # the adapter says so
    return [certificate] if certificate is not None else []
