"""An account as it may be shown: its settings, and of secrets no more than can be compared."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.channels.certificates import Certified, certificates_in
from gateway.channels.kinds import KINDS
from gateway.db.accounts import AccountRow
from gateway.errors import ConfigurationError
from gateway.payments.accounts import read_row
from gateway.secrets import Cipher

_LONGEST = 200


def describe(row: AccountRow, cipher: Cipher) -> dict[str, str]:
    """Return every setting of an account by name, as text for people.

    Keys are told by the SHA-256 of their public half (DER), certificates by serial and end; of
    every other secret only that it is set. Raises ConfigurationError.
    """
    settings, secrets = read_row(row, cipher)
    texts = {**settings, **secrets}
    certificates: dict[str, list[Certified]] = {}
    for each in certificates_in(texts):
        certificates.setdefault(each.setting, []).append(each)
    shown = {}
    for name, text in texts.items():
        said = "; ".join(map(_certificate, certificates.get(name, ())))
        said = said or _key(row.kind, name, text) or ("" if name in secrets else text[:_LONGEST])
        shown[name] = f"secret {said}".strip() if name in secrets else said
    return shown


def _certificate(certificate: Certified) -> str:
    return (
        f"certificate {certificate.serial} of {certificate.name} until "
        f"{certificate.ends_at:%Y-%m-%d}"
    )


def _key(kind: str, name: str, text: str) -> str:
    """Return the fingerprint of a setting that is a key, or nothing."""
    known = KINDS[kind].settings if kind in KINDS else ()
    setting = next((each for each in known if each.name == name), None)
    try:
        read = setting.read(name, text) if setting is not None else None
    except ConfigurationError:
        return "that cannot be read"
    match read:
        case RSAPrivateKey():
            return f"key, SHA-256 of its public half {_fingerprint(read.public_key())}"
        case RSAPublicKey():
            return f"key, SHA-256 {_fingerprint(read)}"
        case _:
            return ""


def _fingerprint(key: RSAPublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
