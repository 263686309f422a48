"""Alipay's signatures and certificate numbers, from the channel's side.

Written from the documents "自行实现签名", "自行实现验签" and "证书 SN 计算", and on purpose not
shared with the gateway's adapter: two readings that agree are worth more than one.
"""

import hashlib
import re
import secrets
import string
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import Certificate, load_pem_x509_certificate, load_pem_x509_certificates

from gateway.sandbox.pem import load_private

RSA_SIGNATURES = re.compile(r"1\.2\.840\.113549\.1\.1\.")


class Signer:
    """Signs as one key of Alipay, known to merchants in certificate mode by its number."""

    def __init__(self, private_key_pem: str, certificate_pem: str) -> None:
        self.sn = certificate_sn(certificate_pem)
        self.certificate = certificate_pem
        self._key = load_private(private_key_pem)

    def sign(self, text: bytes) -> str:
        return b64encode(self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()


class AppKey:
    """Checks what the merchant's application signed."""

    def __init__(self, certificate_pem: str) -> None:
        key = load_pem_x509_certificate(certificate_pem.encode()).public_key()
        self._key = cast(rsa.RSAPublicKey, key)

    def signed(self, text: bytes, signature: str) -> bool:
        try:
            self._key.verify(
                b64decode(signature, validate=True), text, padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, Base64Error):
            return False
        return True


def joined(parameters: Mapping[str, str], *, without: tuple[str, ...]) -> bytes:
    """The text to sign: `name=value` of all that is not empty, by name, as it is, between `&`."""
    pairs = sorted((name, value) for name, value in parameters.items() if value)
    return "&".join(f"{name}={value}" for name, value in pairs if name not in without).encode()


def certificate_sn(pem: str) -> str:
    """The number of the first certificate: md5 of its issuer's name and its serial in decimal."""
    return _sn(load_pem_x509_certificate(pem.encode()))


def root_sn(pem: str) -> str:
    """The numbers of all roots that sign by RSA; the others are no business of an RSA merchant."""
    roots = load_pem_x509_certificates(pem.encode())
    by_rsa = (
        one for one in roots if RSA_SIGNATURES.match(one.signature_algorithm_oid.dotted_string)
    )
    return "_".join(_sn(one) for one in by_rsa)


def random_digits(length: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(length))


def random_word(length: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _sn(certificate: Certificate) -> str:
    named = certificate.issuer.rfc4514_string() + str(certificate.serial_number)
    return hashlib.md5(named.encode(), usedforsecurity=False).hexdigest()
