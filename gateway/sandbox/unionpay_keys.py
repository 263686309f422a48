"""UnionPay's side and its merchant's side of the keys, with the certificates that vouch for them.

As at the real one, a root certifies an authority, and the authority certifies both UnionPay and
every merchant, so that only the name in a certificate says whose it is.
"""

import secrets
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from gateway.sandbox.pem import new_rsa_key, private_pem

CERTIFICATE_YEARS = 5
SIGNERS_NAME = "041@Z12@00040000:SIGN@00000001"
"""Who signs in UnionPay's test environment."""
OLD_FASHIONED = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC
"""How UnionPay's own files are locked: some merchants' libraries open no newer ones."""
ROUNDS = 2048


class UnionPayKeys(msgspec.Struct, frozen=True, kw_only=True):
    """One merchant and its channel, as text: PEM, and the merchant's file in base64."""

    mer_id: str
    pfx: str
    pfx_password: str
    merchant_key: str
    merchant_certificate: str
    signer_key: str
    signer_certificate: str
    middle_certificate: str
    root_certificate: str


class _Certified(NamedTuple):
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def new_unionpay_keys() -> UnionPayKeys:
    """Make a merchant with everything it would have been sent."""
    mer_id = "777290058" + "".join(secrets.choice("0123456789") for _ in range(6))
    root = _certified("Sandbox CFCA Root", None, may_certify=True)
    middle = _certified("Sandbox CFCA OCA1", root, may_certify=True)
    signer = _certified(SIGNERS_NAME, middle, may_certify=False)
    merchant = _certified(f"041@8310000000083040@{mer_id}@00000002", middle, may_certify=False)
    password = "".join(secrets.choice("0123456789") for _ in range(6))
    return UnionPayKeys(
        mer_id=mer_id,
        pfx=b64encode(_pfx(merchant, password)).decode(),
        pfx_password=password,
        merchant_key=private_pem(merchant.key),
        merchant_certificate=_pem(merchant),
        signer_key=private_pem(signer.key),
        signer_certificate=_pem(signer),
        middle_certificate=_pem(middle),
        root_certificate=_pem(root),
    )


def _certified(name: str, issuer: _Certified | None, *, may_certify: bool) -> _Certified:
    key = new_rsa_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sandbox CFCA"),
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
    return _Certified(key, certificate)


def _pfx(merchant: _Certified, password: str) -> bytes:
    locked = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(OLD_FASHIONED)
        .hmac_hash(hashes.SHA1())  # noqa: S303 - as in the files that UnionPay hands out
        .build(password.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        b"merchant", merchant.key, merchant.certificate, None, locked
    )


def _pem(one: _Certified) -> str:
    return one.certificate.public_bytes(serialization.Encoding.PEM).decode()
