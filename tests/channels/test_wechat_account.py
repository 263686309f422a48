"""An account that cannot work is refused when it is set up, with the field and what to do."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.channels.wechat import wechat_pay
from gateway.channels.wechat_account import BASE_URL, read_credentials
from gateway.errors import ConfigurationError
from tests.fakes.keys import private_pem
from tests.fakes.wechat_crypto import stub_keys

SETTINGS = stub_keys().settings(BASE_URL)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PRIVATE = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
EC_PUBLIC = (
    EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)
LOCKED_KEY = (
    stub_keys()
    .merchant.pen.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    .decode()
)


def broken_key() -> str:
    """A key whose numbers do not fit: the modulus of one, the exponents of another."""
    good = stub_keys().merchant.pen.key.private_numbers()
    other = stub_keys().stranger.private_numbers()
    numbers = rsa.RSAPrivateNumbers(
        good.p, good.q, other.d, other.dmp1, other.dmq1, good.iqmp, good.public_numbers
    )
    return private_pem(numbers.private_key(unsafe_skip_rsa_key_validation=True))


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mchid", ""),
        ("mchid", "19000a"),
        ("appid", "wx 1"),
        ("merchant_serial", "not hexadecimal"),
        ("merchant_key", ""),
        ("merchant_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ("merchant_key", "密钥"),
        ("merchant_key", LOCKED_KEY),
        ("merchant_key", EC_PRIVATE),
        ("merchant_key", broken_key()),
        ("apiv3_key", "0123456789abcdefghijKLMNOPQRSTU"),
        ("apiv3_key", "0123456789abcdefghijKLMNOPQRSTUVW"),
        ("public_key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("public_key", EC_PUBLIC),
        ("public_key", ""),
        ("public_key_id", ""),
        ("public_key_id", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"),
        ("platform_certificates", "not a certificate"),
        ("download_certificates", "perhaps"),
        ("base_url", "api.mch.weixin.qq.com"),
        ("base_url", "https://user:password@api.mch.weixin.qq.com"),
        ("base_url", "https://api.mch.weixin.qq.com/?x=1"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_shown(field: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({**SETTINGS, field: value}, {})
    assert field in str(refused.value)
    if value:
        assert value not in str(refused.value)


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({}, {})
    for field in ("mchid", "appid", "merchant_serial", "merchant_key", "apiv3_key"):
        assert f"{field}: " in str(refused.value)


def test_without_any_key_to_believe_downloading_cannot_be_off() -> None:
    certificates_only = stub_keys().settings(BASE_URL, public_key=False)
    with pytest.raises(ConfigurationError, match="download_certificates"):
        read_credentials({**certificates_only, "download_certificates": "no"}, {})


def test_secrets_may_come_in_either_mapping() -> None:
    secret = ("merchant_key", "apiv3_key")
    settings = {name: text for name, text in SETTINGS.items() if name not in secret}
    secrets = {name: SETTINGS[name] for name in secret}
    assert read_credentials(settings, secrets).mchid == SETTINGS["mchid"]


def test_the_default_host_is_wechat_pays() -> None:
    settings = {name: text for name, text in SETTINGS.items() if name != "base_url"}
    assert read_credentials(settings, {}).base_url == "https://api.mch.weixin.qq.com"


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(read_credentials(SETTINGS, {}))
    assert SETTINGS["mchid"] in shown
    assert SETTINGS["apiv3_key"] not in shown
    assert "RSA" not in shown


async def test_the_adapter_shows_no_secret_either(http: aiohttp.ClientSession) -> None:
    channel = wechat_pay("acct_1", SETTINGS, {}, http)
    assert SETTINGS["apiv3_key"] not in repr(channel)
