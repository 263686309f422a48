"""Secrets at rest: encrypted with the first of PAYONCE_SECRET_KEYS, readable with any of them.

Rotation: put a new key first, restart; what is written from then on uses it. What was written
before stays readable, and `payonce secrets rotate` writes it again; then the old key can go.
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
        self._first = Fernet(keys[0])
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, value: dict[str, str] | list[str]) -> bytes:
        return self._fernet.encrypt(msgspec.json.encode(value))

    def decrypt_settings(self, token: bytes) -> dict[str, str]:
        return msgspec.json.decode(self._plain(token), type=dict[str, str])

    def decrypt_list(self, token: bytes) -> list[str]:
        return msgspec.json.decode(self._plain(token), type=list[str])

    def is_current(self, token: bytes) -> bool:
        """Was it encrypted with the first key?"""
        try:
            self._first.decrypt(token)
        except InvalidToken:
            return False
        return True

    def renew(self, token: bytes) -> bytes:
        """Encrypt with the first key what any of them decrypts. Raises ConfigurationError."""
        return self._first.encrypt(self._plain(token))

    def decrypt_fresh(self, token: bytes, age_s: int) -> dict[str, str] | None:
        """Return what was encrypted within the last `age_s` seconds; None for all else.

        For what comes back from a browser: it may be old, of a key that is gone, or anybody's.
        """
        try:
            plain = self._fernet.decrypt(token, ttl=age_s)
            return msgspec.json.decode(plain, type=dict[str, str])
        except (InvalidToken, msgspec.DecodeError):
            return None

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
