"""What the settings say of push platforms: each is set up whole, with a key that signs, or not at
all.

The keys come as text or as `@file`. A start with half a platform fails with what is missing.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

# Settings whose value may be `@file`.
FROM_FILES: Final = frozenset({"push_fcm_credentials", "push_apns_key"})
_APNS: Final = ("push_apns_key", "push_apns_key_id", "push_apns_team_id", "push_apns_topic")
_JPUSH: Final = ("push_jpush_app_key", "push_jpush_master_secret")


class ServiceAccount(Struct, frozen=True):
    """What is used of the key file of a Google service account, which Firebase's console makes."""

    project_id: str
    client_email: str
    private_key_id: str
    private_key: str
    token_uri: str


def push_faults(values: Mapping[str, object]) -> list[str]:
    """Say what of the push settings cannot work, each with what to do."""
    return [*_fcm_faults(values), *_apns_faults(values), *_missing(_JPUSH, values)]


def _fcm_faults(values: Mapping[str, object]) -> list[str]:
    text = values.get("push_fcm_credentials")
    if not isinstance(text, str) or not text:
        return []
    try:
        account = msgspec.json.decode(text, type=ServiceAccount)
    except msgspec.DecodeError as error:
        return [_fault("push_fcm_credentials", f"is no service account's key file: {error}")]
    faults = []
    if not isinstance(_private_key(account.private_key), RSAPrivateKey):
        faults.append(_fault("push_fcm_credentials", "`private_key` is no RSA key in PEM"))
    if not account.token_uri.startswith(("https://", "http://")):
        faults.append(_fault("push_fcm_credentials", "`token_uri` is no http(s) URL"))
    return faults


def _apns_faults(values: Mapping[str, object]) -> list[str]:
    faults = _missing(_APNS, values)
    text = values.get("push_apns_key")
    if not isinstance(text, str) or not text:
        return faults
    key = _private_key(text)
    if not (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)):
        faults.append(
            _fault(
                "push_apns_key", "is no P-256 key in PEM; take the .p8 file from Apple, as @file"
            )
        )
    if find_spec("httpx2") is None or find_spec("h2") is None:
        faults.append(_fault("push_apns_key", "for APNs install PayOnce as payonce[push]"))
    return faults


def _missing(together: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Some of what only works together is set: name the rest."""
    unset = [name for name in together if not values.get(name)]
    if len(unset) == len(together):
        return []
    others = " and ".join(_variable(name) for name in together if name not in unset)
    return [_fault(name, f"is not set, and {others} needs it") for name in unset]


def _private_key(pem: str) -> object:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: it is encrypted
        return None


def _variable(name: str) -> str:
    return f"PAYONCE_{name.upper()}"


def _fault(name: str, what: str) -> str:
    return f"{_variable(name)} ({name}): {what}"
