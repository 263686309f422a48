"""An account that cannot work is refused when it is set up, with the field and what to do."""

from base64 import b64encode
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.channels.alipay import alipay
from gateway.channels.alipay_account import BASE_URL, read_credentials
from gateway.errors import ConfigurationError
from tests.fakes.alipay_crypto import stub_side
from tests.fakes.keys import public_pem

SIDE = stub_side()
BY_KEY = SIDE.settings(BASE_URL)
BY_CERTIFICATE = SIDE.settings(BASE_URL, certificates=True)
CERTIFICATES = ("app_certificate", "alipay_certificate", "root_certificate")
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PRIVATE = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
EC_PUBLIC = (
    EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("app_id", ""),
        ("app_id", "wxd678efh567hg6787"),
        ("app_key", ""),
        ("app_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ("app_key", "AAAAAAAA"),
        ("app_key", "密钥密钥"),
        ("app_key", EC_PRIVATE),
        ("alipay_public_key", ""),
        ("alipay_public_key", "AAAAAAAA"),
        ("alipay_public_key", "公钥公钥"),
        ("alipay_public_key", EC_PUBLIC),
        # The commonest slip: the site shows both keys, one below the other.
        ("alipay_public_key", public_pem(SIDE.app.key)),
        ("alipay_public_key", SIDE.alipay.pem),
        ("seller_id", "seller@example.com"),
        ("base_url", "openapi.alipay.com/gateway.do"),
        ("base_url", "https://user:password@openapi.alipay.com/gateway.do"),
        ("base_url", "https://openapi.alipay.com/gateway.do?charset=utf-8"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_shown(field: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({**BY_KEY, field: value}, {})
    assert field in str(refused.value)
    if value:
        assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("app_certificate", "not a certificate"),
        ("app_certificate", SIDE.alipay.pem),
        ("alipay_certificate", "not a certificate"),
        ("root_certificate", "not a certificate"),
        ("root_certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
    ],
)
def test_a_wrong_certificate_is_named(field: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=field):
        read_credentials({**BY_CERTIFICATE, field: value}, {})


@pytest.mark.parametrize("field", CERTIFICATES)
def test_certificate_mode_needs_all_three(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: .*all three"):
        read_credentials({**BY_CERTIFICATE, field: ""}, {})


def test_an_app_is_in_one_mode_or_the_other() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        read_credentials({**BY_CERTIFICATE, **BY_KEY}, {})


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({}, {})
    for field in ("app_id: ", "app_key: ", "alipay_public_key: ", *CERTIFICATES):
        assert field in str(refused.value)


def test_secrets_may_come_in_either_mapping() -> None:
    settings = {name: text for name, text in BY_KEY.items() if name != "app_key"}
    secrets = {"app_key": BY_KEY["app_key"]}
    assert read_credentials(settings, secrets).app_id == SIDE.app_id


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys_may_be_given_as_alipays_tool_writes_them(form: PrivateFormat) -> None:
    private = SIDE.app.key.private_bytes(Encoding.DER, form, NoEncryption())
    public = SIDE.alipay.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    bare = {
        "app_key": b64encode(private).decode(),
        "alipay_public_key": f" {b64encode(public).decode()}\n",
    }
    credentials = read_credentials({**BY_KEY, **bare}, {})
    assert credentials.app_key.public_key() == SIDE.app.key.public_key()
    assert credentials.fixed_keys == {"": SIDE.alipay.key.public_key()}


def test_certificate_mode_knows_every_certificate_by_its_name() -> None:
    credentials = read_credentials(BY_CERTIFICATE, {})
    assert credentials.trust is not None
    assert credentials.trust.app_cert_sn == SIDE.app.sn
    assert credentials.trust.root_cert_sn == SIDE.roots_sn
    assert credentials.fixed_keys == {SIDE.alipay.sn: SIDE.alipay.key.public_key()}


@pytest.mark.parametrize(
    ("base_url", "gateway"),
    [
        ("https://openapi.alipay.com", "https://openapi.alipay.com/gateway.do"),
        ("https://openapi.alipay.com/", "https://openapi.alipay.com/gateway.do"),
        ("https://openapi.alipay.com/gateway.do", "https://openapi.alipay.com/gateway.do"),
        ("http://127.0.0.1:8081/alipay", "http://127.0.0.1:8081/alipay/gateway.do"),
        ("http://127.0.0.1:8081/alipay/gateway.do", "http://127.0.0.1:8081/alipay/gateway.do"),
    ],
)
def test_the_path_of_the_gateway_may_be_left_out(base_url: str, gateway: str) -> None:
    assert read_credentials({**BY_KEY, "base_url": base_url}, {}).gateway == gateway


def test_the_default_gateway_is_alipays() -> None:
    settings = {name: text for name, text in BY_KEY.items() if name != "base_url"}
    assert read_credentials(settings, {}).gateway == "https://openapi.alipay.com/gateway.do"


@pytest.mark.parametrize("settings", [BY_KEY, BY_CERTIFICATE])
async def test_neither_credentials_nor_adapter_show_a_secret(
    settings: dict[str, str], http: aiohttp.ClientSession
) -> None:
    shown = repr(read_credentials(settings, {}))
    assert SIDE.app_id in shown
    assert "RSA" not in shown
    assert "KEY" not in repr(alipay("acct_1", settings, {}, http))
