"""An account that cannot work is refused when it is set up, with the field and what to do."""

from base64 import b64encode

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from gateway.channels.unionpay import unionpay
from gateway.channels.unionpay_account import BASE_URL, read_credentials
from gateway.channels.unionpay_trust import TEST_NAME, UNIONPAYS_NAME
from gateway.errors import ConfigurationError
from tests.fakes.unionpay_crypto import MER_ID, PASSWORD, stub_side

SIDE = stub_side()
SETTINGS = SIDE.settings(BASE_URL)


def pfx(key: rsa.RSAPrivateKey | None) -> str:
    made = pkcs12.serialize_key_and_certificates(
        None, key, SIDE.merchant.certificate if key is None else None, None, NoEncryption()
    )
    return b64encode(made).decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mer_id", ""),
        ("mer_id", "7772900581100"),
        ("pfx", ""),
        ("pfx", "not base64: 私钥"),
        ("pfx", b64encode(b"not a file of that kind").decode()),
        ("pfx", pfx(None)),
        ("pfx", pfx(SIDE.merchant.key)),
        ("pfx_password", "111111"),
        ("pfx_password", ""),
        ("root_cert", ""),
        ("root_cert", "not a certificate"),
        ("middle_cert", ""),
        ("middle_cert", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
        ("base_url", "gateway.95516.com"),
        ("base_url", "https://user:password@gateway.95516.com"),
        ("base_url", "https://gateway.95516.com?a=b"),
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
    for field in ("mer_id: ", "pfx: ", "root_cert: ", "middle_cert: "):
        assert field in str(refused.value)


def test_secrets_may_come_in_either_mapping_and_with_the_line_ends_of_a_file() -> None:
    secret = {"pfx", "pfx_password"}
    settings = {name: text for name, text in SETTINGS.items() if name not in secret}
    lines = SETTINGS["pfx"]
    wrapped = "\n".join(lines[at : at + 76] for at in range(0, len(lines), 76)) + "\n"
    credentials = read_credentials(settings, {"pfx": wrapped, "pfx_password": PASSWORD})
    assert credentials.mer_id == MER_ID
    assert credentials.cert_id == str(SIDE.merchant.certificate.serial_number)


def test_a_file_may_have_no_password() -> None:
    open_file = pkcs12.serialize_key_and_certificates(
        None, SIDE.merchant.key, SIDE.merchant.certificate, None, NoEncryption()
    )
    given = {**SETTINGS, "pfx": b64encode(open_file).decode(), "pfx_password": ""}
    credentials = read_credentials(given, {})
    assert credentials.key.public_key() == SIDE.merchant.key.public_key()


def test_who_signs_in_the_test_environment_is_nobody_in_the_real_one() -> None:
    real = read_credentials({**SETTINGS, "base_url": BASE_URL + "/"}, {})
    assert real.trust.names == {UNIONPAYS_NAME}
    elsewhere = {**SETTINGS, "base_url": "https://gateway.test.95516.com"}
    assert read_credentials(elsewhere, {}).trust.names == {UNIONPAYS_NAME, TEST_NAME}


def test_the_default_gateway_is_unionpays() -> None:
    settings = {name: text for name, text in SETTINGS.items() if name != "base_url"}
    assert read_credentials(settings, {}).gateway == "https://gateway.95516.com"


async def test_neither_credentials_nor_adapter_show_a_secret() -> None:
    shown = repr(read_credentials(SETTINGS, {}))
    assert MER_ID in shown
    assert "RSA" not in shown
    async with aiohttp.ClientSession() as http:
        assert PASSWORD not in repr(unionpay("acct_1", SETTINGS, {}, http))


async def test_the_real_page_may_lead_on_to_others_of_unionpays() -> None:
    async with aiohttp.ClientSession() as http:
        real = unionpay("acct_1", SETTINGS, {}, http)
        assert real.traits.form_targets == ("https://*.95516.com",)
        elsewhere = {**SETTINGS, "base_url": "http://127.0.0.1:8081/unionpay"}
        other = unionpay("acct_1", elsewhere, {}, http)
        assert other.traits.form_targets == ("http://127.0.0.1:8081",)
