"""An account that cannot work is refused when it is set up, with the field and what to do."""

import aiohttp
import pytest

from gateway.channels.paypal import paypal
from gateway.channels.paypal_account import BASE_URL, Verify, read_credentials
from gateway.errors import ConfigurationError
from tests.fakes.paypal_crypto import stub_side

SETTINGS = stub_side().settings(BASE_URL, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", ""),
        ("client_id", "with:colon"),
        ("client_id", "with space"),
        ("client_secret", ""),
        ("client_secret", "two\nlines"),
        ("webhook_id", ""),
        ("webhook_id", "https://pay.example/callbacks/pp"),
        ("merchant_id", "seller@pay.example"),
        ("verify_webhooks", "never"),
        ("base_url", "api-m.paypal.com"),
        ("base_url", "https://user:password@api-m.paypal.com"),
        ("webhook_cert_hosts", "https://cert.example"),
        ("webhook_cert_hosts", "cert.example/path"),
        ("webhook_root_certs", "not a certificate"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_shown(field: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({**SETTINGS, field: value}, {})
    assert f"{field}: " in str(refused.value)
    if value:
        assert value not in str(refused.value)


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_credentials({}, {})
    for field in ("client_id: ", "client_secret: ", "webhook_id: "):
        assert field in str(refused.value)


def test_what_a_merchant_copies_is_enough() -> None:
    needed = ("client_id", "client_secret", "webhook_id")
    credentials = read_credentials({name: SETTINGS[name] for name in needed}, {})
    assert credentials.base_url == "https://api-m.paypal.com"
    assert credentials.verify is Verify.CERTIFICATE
    assert (credentials.cert_hosts, credentials.roots) == (frozenset(), ())


def test_hosts_may_be_several() -> None:
    hosts = {"webhook_cert_hosts": "cert.example, 127.0.0.1:8081"}
    credentials = read_credentials({**SETTINGS, **hosts}, {})
    assert credentials.cert_hosts == {"cert.example", "127.0.0.1:8081"}


def test_the_secret_is_not_shown() -> None:
    credentials = read_credentials(SETTINGS, {})
    assert SETTINGS["client_secret"] not in repr(credentials)


async def test_an_account_is_made_of_settings_and_secrets() -> None:
    secret = {"client_secret": SETTINGS["client_secret"]}
    rest = {name: text for name, text in SETTINGS.items() if name not in secret}
    async with aiohttp.ClientSession() as http:
        adapter = paypal("acct_1", rest, secret, http)
    assert adapter.traits.captures
