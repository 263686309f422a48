"""PayPal's half of a webhook's signature, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

from base64 import b64encode
from binascii import crc32
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

Headers = dict[str, str]

PAYPALS_NAME = "messageverificationcerts.paypal.com"
SANDBOXS_NAME = "messageverificationcerts.sandbox.paypal.com"
WEBHOOK_ID = "1JE4291016473214C"
MERCHANT_ID = "RZBTBRRBXKLXN"
CLIENT_ID, CLIENT_SECRET = "AeA1QIZXiflr1_-r0U2", "ECYYrrSHdKfk_Q0EdvzdGk"

_serials = count(68759529225)


@dataclass(frozen=True)
class Certified:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class PayPalSide:
    """Who signs, and who vouches for that; a stranger has the same from somebody else."""

    root: Certified
    middle: Certified
    paypal: Certified
    stranger: Certified

    @property
    def chain(self) -> str:
        """What is served for PayPal's key: its certificate and the one above it."""
        return self.paypal.pem + self.middle.pem

    def settings(self, base_url: str, cert_host: str) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        return {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "webhook_id": WEBHOOK_ID,
            "merchant_id": MERCHANT_ID,
            "webhook_cert_hosts": cert_host,
            "webhook_root_certs": self.root.pem,
            "base_url": base_url,
        }


@cache
def stub_side() -> PayPalSide:
    """One set of keys for the whole run: making RSA keys takes most of a second."""
    root = certified("DigiCert Test Root", issues=True)
    middle = certified("DigiCert Test EV CA", issuer=root, issues=True)
    return PayPalSide(
        root=root,
        middle=middle,
        paypal=certified(PAYPALS_NAME, issuer=middle),
        stranger=certified(PAYPALS_NAME),
    )


def certified(
    name: str,
    *,
    issuer: Certified | None = None,
    issues: bool = False,
    days: int = 365,
    since: int = 400,
) -> Certified:
    """A new key with a certificate; without an issuer it is its own."""
    key, now = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(
            issuer.certificate.subject if issuer else subject,
            subject,
            key.public_key(),
            next(_serials),
        )
        .not_valid_before(now - timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(issues, None), critical=True)
        .sign(issuer.key if issuer else key, SHA256())
    )
    return Certified(key, certificate)


def signed(
    signer: Certified, body: bytes, cert_url: str, *, webhook_id: str = WEBHOOK_ID
) -> Headers:
    """The headers of a webhook with this body."""
    sent, at = "69cd13f0-d67a-11e5-baa3-778b53f4ae55", "2026-11-22T04:04:38Z"
    text = f"{sent}|{at}|{webhook_id}|{crc32(body) & 0xFFFFFFFF}"
    signature = signer.key.sign(text.encode(), PKCS1v15(), SHA256())
    return {
        "paypal-transmission-id": sent,
        "paypal-transmission-time": at,
        "paypal-transmission-sig": b64encode(signature).decode(),
        "paypal-cert-url": cert_url,
        "paypal-auth-algo": "SHA256withRSA",
    }
