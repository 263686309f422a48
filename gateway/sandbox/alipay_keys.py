"""Alipay's side and its merchant's side of the keys, with the certificates that vouch for them.

As at the real one, a root certifies an authority, the authority certifies both the merchant's
application and Alipay itself, and the file of roots holds more than those an RSA merchant needs.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.sandbox.pem import new_rsa_key, private_pem, public_pem

CERTIFICATE_YEARS = 5

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class AlipaySigner(msgspec.Struct, frozen=True):
    """A key that Alipay signs with, and its certificate followed by the authority's."""

    key: str
    certificate: str


class AlipayKeys(msgspec.Struct, frozen=True, kw_only=True):
    """One application of one seller, as PEM text.

    `alipay_public_key` belongs to the first of the `alipay` keys, so that a merchant may change
    from public-key mode to certificate mode; the second is the one that a rotation moves to.
    """

    app_id: str
    seller_id: str
    app_key: str
    app_certificate: str
    alipay: tuple[AlipaySigner, AlipaySigner]
    alipay_public_key: str
    root_certificates: str


class _Authority(NamedTuple):
    """Who certifies: its key and its own certificate."""

    key: SigningKey
    certificate: x509.Certificate


def new_alipay_keys() -> AlipayKeys:
    """Make an application with everything it would have uploaded and downloaded."""
    app_id = "2021" + _random_digits(12)
    root = _new_root("Sandbox Financial Certification Authority R1", new_rsa_key())
    other_root = _new_root(
        "Sandbox Financial Certification Authority E1", ec.generate_private_key(ec.SECP256R1())
    )
    authority = _new_authority(root)
    app_key, alipay_keys = new_rsa_key(), (new_rsa_key(), new_rsa_key())
    first, second = (
        AlipaySigner(private_pem(key), _certified("Sandbox Alipay", key, authority))
        for key in alipay_keys
    )
    return AlipayKeys(
        app_id=app_id,
        seller_id="2088" + _random_digits(12),
        app_key=private_pem(app_key),
        app_certificate=_certified(app_id, app_key, authority),
        alipay=(first, second),
        alipay_public_key=public_pem(alipay_keys[0].public_key()),
        # An empty line between certificates: merchants' libraries cut the file there.
        root_certificates="\n".join(_pem(one.certificate) for one in (other_root, root)),
    )


def _new_root(common_name: str, key: SigningKey) -> _Authority:
    name = _name(common_name)
    return _Authority(key, _certificate(name, key, name, key, may_certify=True))


def _new_authority(root: _Authority) -> _Authority:
    key = new_rsa_key()
    name = _name("Sandbox Financial Certification Authority Class 2 R1")
    certificate = _certificate(name, key, root.certificate.subject, root.key, may_certify=True)
    return _Authority(key, certificate)


def _certified(common_name: str, key: rsa.RSAPrivateKey, authority: _Authority) -> str:
    """A certificate for a key, followed by the authority's: together they lead to the root."""
    issuer = authority.certificate.subject
    certificate = _certificate(_name(common_name), key, issuer, authority.key, may_certify=False)
    return _pem(certificate) + _pem(authority.certificate)


def _certificate(
    subject: x509.Name,
    key: SigningKey,
    issuer: x509.Name,
    issuer_key: SigningKey,
    *,
    may_certify: bool,
) -> x509.Certificate:
    made_at = datetime.now(UTC) - timedelta(days=1)  # a clock that is behind still accepts it
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        # Sixteen bytes that start neither with a zero nor with the sign bit, so that every
        # library reads the same number.
        .serial_number(int.from_bytes(b"\x5a" + secrets.token_bytes(15)))
        .not_valid_before(made_at)
        .not_valid_after(made_at + timedelta(days=365 * CERTIFICATE_YEARS))
        .add_extension(x509.BasicConstraints(ca=may_certify, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    """All four parts are there, because serial numbers are computed over all four."""
    parts = (
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "Sandbox Financial"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification Authority"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _random_digits(length: int) -> str:
    return "".join(secrets.choice("0123456789") for _ in range(length))
