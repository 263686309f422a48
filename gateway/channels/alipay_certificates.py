"""Certificate mode: what Alipay calls a certificate's SN, and which certificates may speak for it.

An SN is not the certificate's serial number: it is the MD5 of the issuer's name and that number.
The file of roots that Alipay hands out also holds certificates of Chinese national algorithms,
which the library cannot read or use; they are passed over, as Alipay's own rule for its SN does.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.chains import common_name_of, leads_to_a_root
from gateway.errors import ConfigurationError

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_RSA_SIGNATURES: Final = "1.2.840.113549.1.1."


class Trust(Struct, frozen=True):
    """What a merchant was given: how we name ourselves, and whom we believe to be Alipay."""

    app_cert_sn: str
    root_cert_sn: str
    roots: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]
    common_name: str  # of Alipay's certificate; a new one must bear it too


def sn_of(certificate: Certificate) -> str:
    """Return a certificate's SN, as Alipay writes it."""
    text = f"{certificate.issuer.rfc4514_string()}{certificate.serial_number}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def sn_of_roots(roots: Iterable[Certificate]) -> str:
    return "_".join(map(sn_of, roots))


def read_roots(field: str, pem: str) -> tuple[Certificate, ...]:
    """Read the roots that sign with RSA; ConfigurationError names `field` when there is none."""
    roots = tuple(filter(_signed_with_rsa, _readable(pem)))
    if not roots:
        raise ConfigurationError(
            f"{field}: holds no certificate that is signed with RSA; give the text of "
            "alipayRootCert.crt"
        )
    return roots


def key_of_new_certificate(pem: str, serial: str, trust: Trust, now: datetime) -> RSAPublicKey:
    """Return the key of a downloaded certificate that speaks for Alipay.

    It must be the one that was asked for, bear the name of the one that the merchant configured
    (Alipay's authority also certifies every merchant's app), be in force, and lead to a root.
    Raises ConfigurationError with what is wrong.
    """
    field = "the downloaded certificate"
    leaf, *others = signing.read_certificates(field, pem)
    if not _is_named(leaf, serial):
        raise ConfigurationError(f"{field}: is not the one that was asked for")
    if not trust.common_name or common_name_of(leaf) != trust.common_name:
        raise ConfigurationError(f"{field}: bears another name than the configured one")
    if not leads_to_a_root(leaf, (*others, *trust.intermediates), trust.roots, now):
        raise ConfigurationError(f"{field}: is not in force, or does not lead to a root")
    return signing.public_key_of(field, leaf)


def _is_named(certificate: Certificate, serial: str) -> bool:
    try:
        return sn_of(certificate) == serial
    except (ValueError, TypeError):  # its issuer's name cannot be read
        return False


def _signed_with_rsa(certificate: Certificate) -> bool:
    return certificate.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURES)


def _readable(pem: str) -> Iterable[Certificate]:
    for text in _PEM.findall(pem):
        try:
            yield x509.load_pem_x509_certificate(text.encode())
        except ValueError:
            continue
