"""The channel's half of UnionPay's cryptography, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import count
from urllib.parse import urlencode

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import NameOID

Form = Mapping[str, str]

UNIONPAYS_NAME = "041@Z2017-11-9@中国银联股份有限公司@0000001"
TEST_NAME = "041@Z12@00040000:SIGN@00000001"
MERCHANTS_NAME = "041@8310000000083040@777290058110048@00000002"
MER_ID = "777290058110048"
PASSWORD = "000000"  # as in all files of the test environment

_serials = count(68759529225)


@dataclass(frozen=True)
class Certified:
    key: rsa.RSAPrivateKey
    pem: str
    certificate: x509.Certificate


@dataclass(frozen=True)
class UnionPaySide:
    """What merchant and channel share, and the private halves of both."""

    root: Certified
    middle: Certified
    unionpay: Certified
    merchant: Certified

    def settings(self, base_url: str) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        return {
            "mer_id": MER_ID,
            "pfx": b64encode(pfx_of(self.merchant)).decode(),
            "pfx_password": PASSWORD,
            "root_cert": self.root.pem,
            "middle_cert": self.middle.pem,
            "base_url": base_url,
            "file_base_url": f"{base_url}/files",
        }


@cache
def stub_side() -> UnionPaySide:
    """One set of keys for the whole run: making RSA keys takes most of a second."""
    root = certified("CFCA ACS CA", issues=True)
    middle = certified("CFCA ACS OCA31", issuer=root, issues=True)
    return UnionPaySide(
        root=root,
        middle=middle,
        unionpay=certified(UNIONPAYS_NAME, issuer=middle),
        merchant=certified(MERCHANTS_NAME, issuer=middle),
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
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "China Financial 测试"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
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
    return Certified(key, certificate.public_bytes(Encoding.PEM).decode(), certificate)


@cache
def pfx_of(one: Certified, password: str = PASSWORD) -> bytes:
    locked = BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(None, one.key, one.certificate, None, locked)


def signed(signer: Certified, fields: Form, *, by: Certified | None = None) -> dict[str, str]:
    """Fields with the signer's certificate and a signature; `by` signs in the signer's place."""
    pem = "\r\n".join(signer.pem.strip().splitlines())
    told = {**fields, "signPubKeyCert": pem}
    key = (by or signer).key
    signature = key.sign(hash_of(told).encode(), PKCS1v15(), SHA256())
    return {**told, "signature": b64encode(signature).decode()}


def signed_by(one: Certified, fields: Form) -> bool:
    try:
        one.key.public_key().verify(
            b64decode(fields["signature"]), hash_of(fields).encode(), PKCS1v15(), SHA256()
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def hash_of(fields: Form) -> str:
    names = sorted(name for name in fields if fields[name] and name != "signature")
    return sha256("&".join(f"{name}={fields[name]}" for name in names).encode()).hexdigest()


def answer_text(fields: Form) -> bytes:
    """An answer: values as they are."""
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def notice_body(fields: Form) -> bytes:
    """A notification: an ordinary form."""
    return urlencode(fields).encode()
