"""What a merchant copies from WeChat Pay's merchant site, checked before anything is called.

| key | what |
|---|---|
| `mchid`, `appid` | the merchant and the app that its payments are for |
| `merchant_serial`, `merchant_key` | its API certificate: serial (hexadecimal), private key (PEM) |
| `apiv3_key` | the APIv3 key, 32 characters |
| `public_key_id`, `public_key` | WeChat Pay's public key (PEM) and its id, `PUB_KEY_ID_...` |
| `platform_certificates` | WeChat Pay's platform certificates (PEM, one after another) |
| `download_certificates` | `yes` (the default) or `no`: learn platform certificates when needed |
| `base_url` | another host; the default is WeChat Pay's |
| `app_secret` | the app's secret: lets buyers inside WeChat pay on our page (JSAPI) |
| `oauth_base_url` | another host that browsers are sent to for that; the default is WeChat's |
| `oauth_api_base_url` | another host that is asked who came back; the default is WeChat's |

Public key and certificates may be there together, while a merchant moves from one to the other.
"""

from collections.abc import Mapping
from typing import Final

from gateway.channels import signing
from gateway.channels.account_settings import Setting, base_url, sound_texts
from gateway.channels.wechat_connection import Credentials
from gateway.channels.wechat_keys import PlatformKey, platform_keys_of
from gateway.errors import ConfigurationError

BASE_URL: Final = "https://api.mch.weixin.qq.com"
OAUTH_BASE_URL: Final = "https://open.weixin.qq.com"
OAUTH_API_BASE_URL: Final = "https://api.weixin.qq.com"

SETTINGS: Final = (
    Setting("mchid", "give the merchant number, digits only", r"[0-9]{6,32}"),
    Setting("appid", "give the app id, like wx and 16 characters", r"[0-9A-Za-z_]{1,32}"),
    Setting(
        "merchant_serial",
        "give the serial number of the merchant's API certificate, in hexadecimal",
        r"[0-9A-Fa-f]{8,64}",
    ),
    Setting(
        "merchant_key",
        "give the text of apiclient_key.pem",
        secret=True,
        read=signing.read_private_key,
    ),
    Setting("apiv3_key", "give the APIv3 key, exactly 32 characters", r"[!-~]{32}", secret=True),
    Setting(
        "public_key_id",
        "give the id that begins with PUB_KEY_ID_",
        r"PUB_KEY_ID_[0-9A-Za-z]{1,53}",
        default="",
    ),
    Setting(
        "public_key",
        "give the text of WeChat Pay's pub_key.pem",
        default="",
        read=signing.read_public_key,
    ),
    Setting(
        "platform_certificates",
        "give WeChat Pay's certificates, one after another",
        default="",
        read=signing.read_certificates,
    ),
    Setting("download_certificates", "say yes or no", r"yes|no", default="yes"),
    base_url(BASE_URL),
    Setting(
        "app_secret",
        "give the app's secret (AppSecret), letters and digits",
        r"[0-9A-Za-z]{1,128}",
        default="",
        secret=True,
    ),
    base_url(OAUTH_BASE_URL, "oauth_base_url"),
    base_url(OAUTH_API_BASE_URL, "oauth_api_base_url"),
)


def read_credentials(settings: Mapping[str, str], secrets: Mapping[str, str]) -> Credentials:
    """Return what the texts say, or raise ConfigurationError with every field that is wrong."""
    given = sound_texts(SETTINGS, settings, secrets, _faults_of_mode)
    fixed_keys = _fixed_keys(given)
    download = given["download_certificates"] == "yes"
    if not fixed_keys and not download:
        raise ConfigurationError(
            "download_certificates: without public_key and platform_certificates it must be yes"
        )
    return Credentials(
        mchid=given["mchid"],
        appid=given["appid"],
        merchant_serial=given["merchant_serial"],
        merchant_key=signing.read_private_key("merchant_key", given["merchant_key"]),
        apiv3_key=given["apiv3_key"].encode(),
        base_url=given["base_url"],
        public_key_id=given["public_key_id"],
        fixed_keys=fixed_keys,
        download_certificates=download,
        app_secret=given["app_secret"],
        oauth_base_url=given["oauth_base_url"].rstrip("/"),
        oauth_api_base_url=given["oauth_api_base_url"].rstrip("/"),
    )


def _faults_of_mode(given: Mapping[str, str]) -> list[str]:
    if bool(given["public_key"]) != bool(given["public_key_id"]):
        return ["public_key and public_key_id: give both, or neither"]
    return []


def _fixed_keys(given: Mapping[str, str]) -> dict[str, PlatformKey]:
    keys: dict[str, PlatformKey] = {}
    if given["platform_certificates"]:
        field = "platform_certificates"
        keys |= platform_keys_of(field, signing.read_certificates(field, given[field]))
    if given["public_key"]:
        public_key = signing.read_public_key("public_key", given["public_key"])
        keys[given["public_key_id"]] = PlatformKey(public_key)
    return keys
