"""What a merchant copies from PayPal's developer site, checked before anything is called.

| key | what |
|---|---|
| `client_id`, `client_secret` (secret) | the REST app's |
| `webhook_id` | the id of the app's webhook that calls us |
| `merchant_id` | the merchant's PayPal id: if given, payments to others are refused |
| `verify_webhooks` | how: by `certificate` (the default), by asking `paypal`, or `both` |
| `base_url` | another host; the default is `https://api-m.paypal.com` |
| `webhook_cert_hosts` | hosts (`host` or `host:port`) beside PayPal's that certificates come from |
| `webhook_root_certs` | what vouches for those (PEM), in the place of the public authorities |
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from cryptography.x509 import Certificate
from msgspec import Struct

from gateway.channels import signing
from gateway.channels.account_settings import Setting, base_url, sound_texts

BASE_URL: Final = "https://api-m.paypal.com"

SETTINGS: Final = (
    Setting("client_id", "give the REST app's client id", r"[!-9;-~]{1,255}"),
    Setting("client_secret", "give the REST app's secret", r"[!-~]{1,255}", secret=True),
    Setting("webhook_id", "give the id of the app's webhook", r"[0-9A-Za-z_-]{1,64}"),
    Setting(
        "merchant_id", "give the merchant's PayPal id, 13 characters", r"[0-9A-Z]{13}", default=""
    ),
    Setting(
        "verify_webhooks",
        "say certificate, paypal or both",
        r"certificate|paypal|both",
        default="certificate",
    ),
    base_url(BASE_URL),
    Setting(
        "webhook_cert_hosts",
        "give hosts like cert.example or 127.0.0.1:8081, with commas between them",
        r"[0-9a-z.-]+(:[0-9]{1,5})?(,\s*[0-9a-z.-]+(:[0-9]{1,5})?)*",
        default="",
    ),
    Setting(
        "webhook_root_certs",
        "give the certificates of an authority, one after another",
        default="",
        read=signing.read_certificates,
    ),
)


class Verify(StrEnum):
    """Who says that a webhook is PayPal's."""

    CERTIFICATE = "certificate"
    PAYPAL = "paypal"
    BOTH = "both"


class Credentials(Struct, frozen=True):
    """Who we are at PayPal, and whom we believe; its repr has no secret in it."""

    client_id: str
    client_secret: str
    webhook_id: str
    merchant_id: str  # empty: whoever the app is paid for
    verify: Verify
    base_url: str
    cert_hosts: frozenset[str]
    roots: tuple[Certificate, ...]  # none: the public authorities

    def __repr__(self) -> str:
        return f"Credentials(client_id={self.client_id!r}, base_url={self.base_url!r})"


def read_credentials(settings: Mapping[str, str], secrets: Mapping[str, str]) -> Credentials:
    """Return what the texts say, or raise ConfigurationError with every field that is wrong."""
    given = sound_texts(SETTINGS, settings, secrets)
    roots, hosts = given["webhook_root_certs"], given["webhook_cert_hosts"]
    return Credentials(
        client_id=given["client_id"],
        client_secret=given["client_secret"],
        webhook_id=given["webhook_id"],
        merchant_id=given["merchant_id"],
        verify=Verify(given["verify_webhooks"]),
        base_url=given["base_url"].rstrip("/"),
        cert_hosts=frozenset(re.split(r",\s*", hosts)) if hosts else frozenset(),
        roots=tuple(signing.read_certificates("webhook_root_certs", roots)) if roots else (),
    )
