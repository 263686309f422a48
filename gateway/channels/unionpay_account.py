"""What a merchant copies from UnionPay's site, checked before anything is called.

| key | what |
|---|---|
| `mer_id` | the merchant's number, 15 characters |
| `pfx` | the merchant's certificate with its key (secret): the base64 of the .pfx file |
| `pfx_password` | what opens it (secret) |
| `root_cert`, `middle_cert` | the text of acp_*_root.cer and acp_*_middle.cer (PEM) |
| `base_url` | another gateway; the default is UnionPay's own, `https://gateway.95516.com` |
| `file_base_url` | another host of files; the default is `https://filedownload.95516.com` |
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.account_settings import Setting, base_url, sound_texts
from gateway.channels.unionpay_trust import TEST_NAME, UNIONPAYS_NAME, Trust
from gateway.errors import ConfigurationError

BASE_URL: Final = "https://gateway.95516.com"
FILE_BASE_URL: Final = "https://filedownload.95516.com"

SETTINGS: Final = (
    Setting("mer_id", "give the merchant's number, 15 characters", r"[0-9A-Za-z]{15}"),
    Setting(
        "pfx",
        "give the base64 of the .pfx file, as `base64 FILE` prints it",
        r"[0-9A-Za-z+/=\s]+",
        secret=True,
    ),
    Setting("pfx_password", "give what opens the .pfx file", default="", secret=True),
    Setting(
        "root_cert",
        "give the text of UnionPay's root certificate",
        read=signing.read_certificates,
    ),
    Setting(
        "middle_cert",
        "give the text of UnionPay's middle certificate",
        read=signing.read_certificates,
    ),
    base_url(BASE_URL),
    base_url(FILE_BASE_URL, "file_base_url"),
)


class Credentials(Struct, frozen=True):
    """Who we are at UnionPay, and whom we believe; its repr has no secret in it."""

    mer_id: str
    key: RSAPrivateKey
    cert_id: str  # the serial number of our certificate, in decimal digits
    gateway: str
    file_gateway: str
    trust: Trust

    def __repr__(self) -> str:
        return f"Credentials(mer_id={self.mer_id!r}, gateway={self.gateway!r})"


def read_credentials(settings: Mapping[str, str], secrets: Mapping[str, str]) -> Credentials:
    """Return what the texts say, or raise ConfigurationError with every field that is wrong.

    Opening the .pfx takes a tenth of a second, which is paid once for an account in a process.
    """
    given = sound_texts(SETTINGS, settings, secrets)
    key, certificate = _read_pfx(given["pfx"], given["pfx_password"])
    gateway = given["base_url"].rstrip("/")
    # Who signs in the test environment is nobody in the real one.
    names = {UNIONPAYS_NAME} if gateway == BASE_URL else {UNIONPAYS_NAME, TEST_NAME}
    return Credentials(
        mer_id=given["mer_id"],
        key=key,
        cert_id=str(certificate.serial_number),
        gateway=gateway,
        file_gateway=given["file_base_url"].rstrip("/") + "/",
        trust=Trust(
            tuple(signing.read_certificates("root_cert", given["root_cert"])),
            tuple(signing.read_certificates("middle_cert", given["middle_cert"])),
            frozenset(names),
        ),
    )


def _read_pfx(pfx: str, password: str) -> tuple[RSAPrivateKey, Certificate]:
    try:
        content = b64decode(re.sub(r"\s", "", pfx), validate=True)
        key, certificate, _ = pkcs12.load_key_and_certificates(content, password.encode() or None)
    except (ValueError, UnsupportedAlgorithm):
        # The parser's message is dropped: it may quote what it could not parse.
        raise ConfigurationError(
            "pfx: is not a .pfx file in base64, or pfx_password does not open it"
        ) from None
    if not isinstance(key, RSAPrivateKey) or certificate is None:
        raise ConfigurationError("pfx: must hold an RSA key and its certificate")
    if key.key_size < signing.LEAST_KEY_BITS:
        raise ConfigurationError(f"pfx: must hold a key of {signing.LEAST_KEY_BITS} bits or more")
    if signing.public_key_of("pfx", certificate) != key.public_key():
        raise ConfigurationError("pfx: the certificate does not belong to the key")
    return key, certificate
