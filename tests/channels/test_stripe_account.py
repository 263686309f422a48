"""An account that cannot work is refused when it is set up, with the field and what to do."""

import aiohttp
import pytest

from gateway.channels.stripe_account import BASE_URL, read_credentials
from gateway.channels.stripe_boleto import stripe_boleto
from gateway.channels.stripe_card import stripe_card
from gateway.errors import ConfigurationError

SETTINGS = {"secret_key": "sk_test_0123456789abcdef", "webhook_secret": "whsec_0123456789"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("secret_key", ""),
        ("secret_key", "pk_live_0123456789abcdef"),
        ("secret_key", "sk_test_short"),
        ("secret_key", "sk_test_0123456789\nX-Header: 1"),
        ("webhook_secret", ""),
        ("webhook_secret", "0123456789abcdef"),
        ("webhook_secret", "whsec_密钥密钥密钥"),
        ("base_url", "api.stripe.com"),
        ("base_url", "https://user:password@api.stripe.com"),
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
    for field in SETTINGS:
        assert f"{field}: " in str(refused.value)


@pytest.mark.parametrize(
    ("key", "live"),
    [("sk_test_", False), ("rk_test_", False), ("sk_live_", True), ("rk_live_", True)],
)
def test_a_key_says_whether_the_money_is_real(key: str, live: bool) -> None:
    credentials = read_credentials({**SETTINGS, "secret_key": key + "0123456789"}, {})
    assert credentials.live is live
    assert credentials.host == BASE_URL


def test_nothing_secret_is_in_what_is_printed() -> None:
    printed = repr(read_credentials(SETTINGS, {}))
    assert not [secret for secret in SETTINGS.values() if secret in printed]


async def test_one_account_serves_cards_and_boleto() -> None:
    async with aiohttp.ClientSession() as http:
        adapters = [make("st", SETTINGS, {}, http) for make in (stripe_card, stripe_boleto)]
    assert [each.traits.channel for each in adapters] == ["card", "boleto"]
    card, boleto = (each.traits for each in adapters)
    assert (card.captures, card.refunds, card.closes) == (True, True, True)
    assert (boleto.captures, boleto.refunds, boleto.closes) == (False, False, False)
