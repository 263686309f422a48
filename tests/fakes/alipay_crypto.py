"""The channel's half of Alipay's cryptography, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import md5
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.fakes import keys
from tests.fakes.keys import new_key, private_pem, public_pem, signature

Json = Mapping[str, object]
Form = Mapping[str, str]

ALIPAYS_NAME = "支付宝(中国)网络技术有限公司-2088102146225135"

_ANT = {
    NameOID.COUNTRY_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "Ant 测试",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "Certification Authority",
}


@dataclass(frozen=True)
class Certified(keys.Certified):
    sn: str
    """The name that Alipay gives the certificate."""


@dataclass(frozen=True)
class AlipaySide:
    """What merchant and channel share, and the private halves of both."""

    app_id: str
    seller_id: str
    app: Certified
    alipay: Certified
    next_alipay: Certified  # the one that a rotation moves to
    authority: Certified
    app_authority: Certified  # who certifies merchants' apps
    roots_pem: str
    roots_sn: str
    stranger: rsa.RSAPrivateKey

    def settings(self, base_url: str, *, certificates: bool = False) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        settings = {
            "app_id": self.app_id,
            "app_key": private_pem(self.app.key),
            "seller_id": self.seller_id,
            "base_url": base_url,
        }
        if not certificates:
            return {**settings, "alipay_public_key": public_pem(self.alipay.key)}
        return {
            **settings,
            "app_certificate": self.app.pem,
            "alipay_certificate": self.alipay.pem + self.authority.pem,
            "root_certificate": self.roots_pem,
        }


@cache
def stub_side() -> AlipaySide:
    """One set of keys for the whole run: making RSA keys takes most of a second."""
    root = certified("Ant Certification Authority R1")
    authority = certified("Ant Certification Authority Class 2 R1", issuer=root, issues=True)
    app_authority = certified("Ant Certification Authority Class 1 R1", issuer=root, issues=True)
    # As in the file that Alipay hands out: a root of a kind that is of no use here, and one that
    # many libraries cannot even read.
    useless = _elliptic_root()
    unreadable = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    return AlipaySide(
        app_id="2021000147600235",
        seller_id="2088102146225135",
        app=certified("2088102146225135-2021000147600235", issuer=app_authority),
        alipay=certified(ALIPAYS_NAME, issuer=authority),
        next_alipay=certified(ALIPAYS_NAME, issuer=authority),
        authority=authority,
        app_authority=app_authority,
        roots_pem=f"{useless}\n{root.pem}\n{unreadable}\n",
        roots_sn=root.sn,
        stranger=new_key(),
    )


def certified(
    name: str, *, issuer: Certified | None = None, issues: bool | None = False, days: int = 365
) -> Certified:
    """A new key with a certificate; without an issuer it is a root."""
    may_issue = issues if issues is None else issues or issuer is None
    made = keys.certified(name, beside=_ANT, issuer=issuer, issues=may_issue, days=days)
    return Certified(made.key, made.certificate, _sn(made.certificate))


def request_text(fields: Form) -> str:
    """What a merchant signs: all that is not empty, but for the signature itself."""
    return _joined({name: value for name, value in fields.items() if value and name != "sign"})


def notice_body(key: rsa.RSAPrivateKey, fields: Form, *, unsigned: Form | None = None) -> bytes:
    """A notification as a form, signed over all its fields; `unsigned` are added afterwards."""
    sign = signature(key, _joined(fields))
    more = unsigned or {}
    return urlencode({**fields, **more, "sign": sign, "sign_type": "RSA2"}).encode()


def answer_text(name: str, said: Json, key: rsa.RSAPrivateKey, sn: str = "") -> bytes:
    """An answer: signed over the inner object as it is written, every slash escaped."""
    inner = json.dumps(said, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    named = f',"alipay_cert_sn":"{sn}"' if sn else ""
    return f'{{"{name}":{inner}{named},"sign":"{signature(key, inner)}"}}'.encode()


def _joined(fields: Form) -> str:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields))


def _sn(certificate: x509.Certificate) -> str:
    short = {"commonName": "CN", "organizationalUnitName": "OU", "organizationName": "O"}
    short["countryName"] = "C"
    names = [f"{short[part.oid._name]}={part.value!s}" for part in certificate.issuer]
    text = ",".join(reversed(names)) + str(certificate.serial_number)
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _elliptic_root() -> str:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "E1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()
