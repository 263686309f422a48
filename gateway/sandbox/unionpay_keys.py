"""UnionPay's side and its merchant's side of the keys, with the certificates that vouch for them.

As at the real one, a root certifies an authority, and the authority certifies both UnionPay and
every merchant, so that only the name in a certificate says whose it is.
"""

import secrets
from base64 import b64encode

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.sandbox.certified import Certified, certified
from gateway.sandbox.pem import private_pem

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


def new_unionpay_keys() -> UnionPayKeys:
    """Make a merchant with everything it would have been sent."""
    mer_id = "777290058" + "".join(secrets.choice("0123456789") for _ in range(6))
    root = certified("Sandbox CFCA Root", None, may_certify=True)
    middle = certified("Sandbox CFCA OCA1", root, may_certify=True)
    signer = certified(SIGNERS_NAME, middle, may_certify=False)
    merchant = certified(f"041@8310000000083040@{mer_id}@00000002", middle, may_certify=False)
    password = "".join(secrets.choice("0123456789") for _ in range(6))
    return UnionPayKeys(
        mer_id=mer_id,
        pfx=b64encode(_pfx(merchant, password)).decode(),
        pfx_password=password,
        merchant_key=private_pem(merchant.key),
        merchant_certificate=merchant.pem,
        signer_key=private_pem(signer.key),
        signer_certificate=signer.pem,
        middle_certificate=middle.pem,
        root_certificate=root.pem,
    )


def _pfx(merchant: Certified, password: str) -> bytes:
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
