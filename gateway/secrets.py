"""Secrets at rest: encrypted with the first of PAYONCE_SECRET_KEYS, readable with any of them.

Rotation: put a new key first, restart; what is written from then on uses it, and what was written
before stays readable until the old key is taken away.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gateway.errors import ConfigurationError


class Cipher:
    """Encrypts and decrypts a JSON value of strings."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigurationError(
                "PAYONCE_SECRET_KEYS (secret_keys): is not set; "
                "make a key with `payonce new-secret-key`"
            )
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, value: dict[str, str] | list[str]) -> bytes:
        return self._fernet.encrypt(msgspec.json.encode(value))

    def decrypt_settings(self, token: bytes) -> dict[str, str]:
        return msgspec.json.decode(self._plain(token), type=dict[str, str])

    def decrypt_list(self, token: bytes) -> list[str]:
        return msgspec.json.decode(self._plain(token), type=list[str])

    def _plain(self, token: bytes) -> bytes:
        try:
            return self._fernet.decrypt(token)
        except InvalidToken as error:
            raise ConfigurationError(
                "PAYONCE_SECRET_KEYS (secret_keys): none of the keys decrypts what is stored; "
                "add the key that it was written with"
            ) from error


def new_api_key() -> str:
    return "po_" + secrets.token_urlsafe(32)


def new_operator_token() -> str:
    return "opr_" + secrets.token_urlsafe(32)


def new_webhook_secret() -> str:
    """Return a Standard Webhooks secret: 256 random bits."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def hash_api_key(key: str) -> bytes:
    """256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).digest()
