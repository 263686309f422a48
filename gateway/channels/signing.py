"""RSA with SHA-256 and PKCS#1 v1.5: how the channels sign, and how their signatures are checked.

Keys are read once, when an account is set up in a process, and then used many times. Signing costs
0.4 ms and is done inline: handing it to a thread costs as much again and serves no more payments on
the cores that there are. `sign` is the one place to change, should that ever be otherwise.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.errors import ConfigurationError

LEAST_KEY_BITS: Final = 2048

_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
_PROBE: Final = b"does the private half fit the public half?"


def read_private_key(field: str, pem: str) -> RSAPrivateKey:
    """Read an unencrypted RSA private key; ConfigurationError names `field` and never quotes it.

    The library's own check of the key's numbers takes 50 ms and would stall every buyer of the
    process, so it is left out, and a signature that the public half accepts proves the key instead.
    """
    try:
        key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The parser's message is dropped: it may quote what it could not parse.
        raise ConfigurationError(
            f"{field}: is not an unencrypted PEM private key; give the whole text of the file, "
            "from -----BEGIN to END-----"
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < LEAST_KEY_BITS:
        raise ConfigurationError(f"{field}: must be an RSA key of {LEAST_KEY_BITS} bits or more")
    try:
        sound = verify(key.public_key(), sign(key, _PROBE), _PROBE)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(f"{field}: the numbers of the key do not fit each other")
    return key


def read_public_key(field: str, pem: str) -> RSAPublicKey:
    """Read an RSA public key; ConfigurationError names `field`."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"{field}: is not a PEM public key; give the whole text of the .pem file, from "
            "-----BEGIN PUBLIC KEY----- to its end"
        ) from None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError(f"{field}: must be an RSA key")
    return key


def read_certificates(field: str, pem: str) -> list[x509.Certificate]:
    """Read one or more certificates with RSA keys; ConfigurationError names `field`."""
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        raise ConfigurationError(
            f"{field}: is not a list of PEM certificates; put the .pem files one after another"
        ) from None
    for certificate in certificates:
        public_key_of(field, certificate)
    return certificates


def public_key_of(field: str, certificate: x509.Certificate) -> RSAPublicKey:
    """Return the RSA key that a certificate vouches for; ConfigurationError names `field`."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError(f"{field}: every certificate must hold an RSA key")
    return key


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """Return the signature of `message` in base64."""
    return b64encode(key.sign(message, _PADDING, _HASH)).decode()


def verify(key: RSAPublicKey, signature: str, message: bytes) -> bool:
    """Say whether `signature`, in strict base64, was made over `message` by the key's owner."""
    try:
        key.verify(b64decode(signature, validate=True), message, _PADDING, _HASH)
    except (InvalidSignature, Base64Error, ValueError):
        return False
    return True
