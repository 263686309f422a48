"""Certificates as authorities hand them out: a root, whoever it certifies, and whom those do."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from gateway.sandbox.pem import new_rsa_key

CERTIFICATE_YEARS = 5


class Certified(NamedTuple):
    """A key with the certificate that names whose it is."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def certified(
    name: str,
    issuer: Certified | None,
    *,
    may_certify: bool,
    country: str = "CN",
    organization: str = "Sandbox CFCA",
) -> Certified:
    """Make a key and its certificate; without an issuer it vouches for itself."""
    key = new_rsa_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, country),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    made_at = datetime.now(UTC) - timedelta(days=1)  # a clock that is behind still accepts it
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(b"\x5a" + secrets.token_bytes(7)))
        .not_valid_before(made_at)
        .not_valid_after(made_at + timedelta(days=365 * CERTIFICATE_YEARS))
        .add_extension(x509.BasicConstraints(ca=may_certify, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Certified(key, certificate)
