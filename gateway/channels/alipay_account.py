"""What a merchant copies from Alipay's open platform, checked before anything is called.

| key | what |
|---|---|
| `app_id` | the app that payments are made for, 16 digits |
| `app_key` | the app's private key (secret), PEM or the bare base64 of Alipay's key tool |
| `alipay_public_key` | public-key mode: Alipay's key (not the app's), PEM or bare base64 |
| `app_certificate`, `alipay_certificate`, `root_certificate` | certificate mode: the text of
  `appCertPublicKey_*.crt`, `alipayCertPublicKey_RSA2.crt` and `alipayRootCert.crt` |
| `seller_id` | the merchant's own user id, 16 digits; if given, callbacks for others are refused |
| `base_url` | another gateway; `/gateway.do` is added where it is missing, and the default is
  Alipay's own, `https://openapi.alipay.com/gateway.do` |

Either the public key or the three certificates: an app is in one mode or the other.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from gateway.channels import signing
from gateway.channels.account_settings import Setting, base_url, sound_texts
from gateway.channels.alipay_certificates import Trust, read_roots, sn_of, sn_of_roots
from gateway.channels.alipay_connection import Credentials
from gateway.channels.chains import common_name_of
from gateway.errors import ConfigurationError

# Alipay's keys by SN; and in certificate mode, who may vouch for new ones.
Believed = tuple[dict[str, RSAPublicKey], Trust | None]

BASE_URL: Final = "https://openapi.alipay.com"

_PATH: Final = "/gateway.do"

_CERTIFICATES: Final = ("app_certificate", "alipay_certificate", "root_certificate")
_RSA_OID: Final = bytes.fromhex("2a864886f70d010101")  # it is in a PKCS#8 key, not in a PKCS#1 one


def _read_app_key(field: str, text: str) -> RSAPrivateKey:
    return signing.read_private_key(field, _as_pem(text, private=True))


def _read_alipay_key(field: str, text: str) -> RSAPublicKey:
    return signing.read_public_key(field, _as_pem(text, private=False))


def _as_pem(text: str, *, private: bool) -> str:
    """Return a key as PEM: Alipay's tools hand keys out as bare base64."""
    if text.startswith("-----"):
        return text
    label = "PUBLIC KEY"
    if private:
        label = "PRIVATE KEY" if _is_pkcs8(text) else "RSA PRIVATE KEY"
    lines = re.findall(r".{1,64}", re.sub(r"\s", "", text))
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"))


def _is_pkcs8(text: str) -> bool:
    try:
        return _RSA_OID in b64decode(text)[:40]
    except ValueError:
        return False


SETTINGS: Final = (
    Setting("app_id", "give the app id, digits only", r"[0-9]{8,32}"),
    Setting("app_key", "give the app's private key", secret=True, read=_read_app_key),
    Setting("alipay_public_key", "give Alipay's key", default="", read=_read_alipay_key),
    Setting(
        "app_certificate",
        "give the text of appCertPublicKey_*.crt",
        default="",
        read=signing.read_certificates,
    ),
    Setting(
        "alipay_certificate",
        "give the text of alipayCertPublicKey_RSA2.crt",
        default="",
        read=signing.read_certificates,
    ),
    Setting("root_certificate", "give the text of alipayRootCert.crt", default="", read=read_roots),
    Setting(
        "seller_id",
        "give the merchant's user id, 16 digits, or leave it out",
        r"[0-9]{16}",
        default="",
    ),
    base_url(BASE_URL),
)


def read_credentials(settings: Mapping[str, str], secrets: Mapping[str, str]) -> Credentials:
    """Return what the texts say, or raise ConfigurationError with every field that is wrong."""
    given = sound_texts(SETTINGS, settings, secrets, _faults_of_mode)
    app_key = _read_app_key("app_key", given["app_key"])
    fixed_keys, trust = _by_public_key(given, app_key) or _by_certificates(given, app_key)
    return Credentials(
        app_id=given["app_id"],
        app_key=app_key,
        seller_id=given["seller_id"],
        gateway=given["base_url"].removesuffix(_PATH).rstrip("/") + _PATH,
        fixed_keys=fixed_keys,
        trust=trust,
    )


def _by_public_key(given: Mapping[str, str], app_key: RSAPrivateKey) -> Believed | None:
    field = "alipay_public_key"
    if not given[field]:
        return None
    key = _read_alipay_key(field, given[field])
    if key == app_key.public_key():
        raise ConfigurationError(
            f"{field}: is the app's own; give the one that Alipay's site shows as Alipay's"
        )
    return {"": key}, None


def _by_certificates(given: Mapping[str, str], app_key: RSAPrivateKey) -> Believed:
    app = signing.read_certificates("app_certificate", given["app_certificate"])[0]
    if signing.public_key_of("app_certificate", app) != app_key.public_key():
        raise ConfigurationError("app_certificate: does not belong to app_key")
    field = "alipay_certificate"
    alipay, *intermediates = signing.read_certificates(field, given[field])
    roots = read_roots("root_certificate", given["root_certificate"])
    trust = Trust(
        app_cert_sn=sn_of(app),
        root_cert_sn=sn_of_roots(roots),
        roots=roots,
        intermediates=tuple(intermediates),
        common_name=common_name_of(alipay),
    )
    return {sn_of(alipay): signing.public_key_of(field, alipay)}, trust


def _faults_of_mode(given: Mapping[str, str]) -> list[str]:
    missing = [field for field in _CERTIFICATES if not given[field]]
    if given["alipay_public_key"] and len(missing) < len(_CERTIFICATES):
        return ["alipay_public_key: give either this or the three certificates, not both"]
    if given["alipay_public_key"] or not missing:
        return []
    if len(missing) == len(_CERTIFICATES):
        return ["alipay_public_key: give this, or the three certificates: " + ", ".join(missing)]
    return [f"{field}: give it too; certificate mode needs all three" for field in missing]
