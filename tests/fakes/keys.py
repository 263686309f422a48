"""Keys and certificates for the stubs, as any authority would make them.

It shares no line with the adapters or the sandbox.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

_serials = count(0x5A0123456789ABCDEF0123456789)


@dataclass(frozen=True)
class Certified:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def certified(
    name: str,
    *,
    beside: Mapping[x509.ObjectIdentifier, str] | None = None,
    issuer: Certified | None = None,
    issues: bool | None = False,
    days: int = 365,
    since: int = 400,
    serial: int | None = None,
) -> Certified:
    """A new key with a certificate; without an issuer it is its own.

    `beside` is what the subject's name begins with. `issues` None: the certificate does not say
    whether it may issue others.
    """
    key, now = new_key(), datetime.now(UTC)
    parts = {**(beside or {}), NameOID.COMMON_NAME: name}
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items()])
    builder = (
        x509.CertificateBuilder(
            issuer.certificate.subject if issuer else subject,
            subject,
            key.public_key(),
            next(_serials) if serial is None else serial,
        )
        .not_valid_before(now - timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
    )
    if issues is not None:
        builder = builder.add_extension(x509.BasicConstraints(issues, None), critical=True)
    return Certified(key, builder.sign(issuer.key if issuer else key, SHA256()))


def certified_by(key_pem: str, certificate_pem: str) -> Certified:
    """The same of a pair that somebody else made; of a chain its first certificate."""
    return Certified(key_in(key_pem), x509.load_pem_x509_certificate(certificate_pem.encode()))


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def key_in(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def signature(key: rsa.RSAPrivateKey, text: str | bytes) -> str:
    """RSA with SHA-256, in Base64."""
    message = text.encode() if isinstance(text, str) else text
    return b64encode(key.sign(message, PKCS1v15(), SHA256())).decode()


def signed_by(key: rsa.RSAPrivateKey, sign: str, text: str) -> bool:
    """Say whether the owner of `key` signed `text`."""
    try:
        key.public_key().verify(b64decode(sign), text.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
