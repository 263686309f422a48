"""WeChat Pay's signatures and encryption, from the channel's side.

Written from the documents "签名生成", "签名验证" and "证书和回调报文解密" of WeChat Pay API v3,
and on purpose not shared with the gateway's adapter: two readings that agree are worth more than
one.
"""

import re
import secrets
import string
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate

from gateway.sandbox.pem import load_private

SCHEME = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"

_PARAMETER = re.compile(r'([a-z_]+)="([^"]*)"')
_PARAMETERS = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}
_ALPHANUMERIC = string.ascii_letters + string.digits


class Authorization(msgspec.Struct, frozen=True):
    """What a merchant says about itself in the Authorization header."""

    mchid: str
    nonce_str: str
    signature: str
    timestamp: str
    serial_no: str


class Encrypted(msgspec.Struct, frozen=True, kw_only=True):
    """AES-256-GCM text as it travels: base64 of ciphertext and tag, with its nonce."""

    original_type: str | None = None
    algorithm: str = "AEAD_AES_256_GCM"
    ciphertext: str
    associated_data: str
    nonce: str


class Signer:
    """Signs as one key of the channel, known to merchants by its serial or key id."""

    def __init__(self, serial: str, private_key_pem: str) -> None:
        self.serial = serial
        self._key = load_private(private_key_pem)

    def headers(self, body: bytes, timestamp: int, *, probe: bool = False) -> dict[str, str]:
        """The Wechatpay-* headers over a body; a probe carries a signature that must not hold."""
        nonce = random_text(32)
        message = b"%d\n%s\n%s\n" % (timestamp, nonce.encode(), body)
        signature = b64encode(self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()
        if probe:
            signature = PROBE_PREFIX + signature[len(PROBE_PREFIX) :]
        return {
            "Wechatpay-Timestamp": str(timestamp),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": self.serial,
            "Wechatpay-Signature": signature,
            "Wechatpay-Signature-Type": SCHEME,
        }


class MerchantKey:
    """Checks what the merchant signed, with the key of the merchant's certificate."""

    def __init__(self, certificate_pem: str) -> None:
        key = load_pem_x509_certificate(certificate_pem.encode()).public_key()
        self._key = cast(rsa.RSAPublicKey, key)

    def signed(self, method: str, target: str, claim: Authorization, body: bytes) -> bool:
        """True when this request line and body carry this claim's signature."""
        head = f"{method}\n{target}\n{claim.timestamp}\n{claim.nonce_str}\n"
        return self._holds(claim.signature, head.encode() + body + b"\n")

    def signed_lines(self, lines: Iterable[str], signature: str) -> bool:
        """True when these lines, each ended, carry the signature: what a page gives to the app."""
        return self._holds(signature, "".join(f"{line}\n" for line in lines).encode())

    def _holds(self, signature: str, message: bytes) -> bool:
        try:
            given = b64decode(signature, validate=True)
            self._key.verify(given, message, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):  # what is not base64 is a ValueError
            return False
        return True


def read_authorization(header: str) -> Authorization | None:
    """Take the header apart; None when it is not exactly what the document describes."""
    scheme, _, rest = header.partition(" ")
    parts = [_PARAMETER.fullmatch(part) for part in rest.split(",")]
    found = {match[1]: match[2] for match in parts if match}
    if scheme != SCHEME or len(parts) != len(_PARAMETERS) or found.keys() != _PARAMETERS:
        return None
    return Authorization(**found)


def encrypt(apiv3_key: str, plain: bytes, *, aad: str, kind: str | None = None) -> Encrypted:
    nonce = random_text(12)
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plain, aad.encode())
    return Encrypted(
        original_type=kind,
        ciphertext=b64encode(sealed).decode(),
        associated_data=aad,
        nonce=nonce,
    )


def random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


def random_digits(length: int) -> str:
    return "".join(secrets.choice(string.digits) for _ in range(length))
