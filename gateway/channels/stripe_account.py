"""What a merchant copies from Stripe's dashboard, checked before anything is called.

| key | what |
|---|---|
| `secret_key` | an API key (secret): `sk_...`, or a restricted one, `rk_...` |
| `webhook_secret` | what signs the webhooks of this account's endpoint (secret): `whsec_...` |
| `base_url` | another host; the default is Stripe's own, `https://api.stripe.com` |

One account serves two channels: cards and Boleto.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.channels.account_settings import Setting, base_url, sound_texts

BASE_URL: Final = "https://api.stripe.com"

SETTINGS: Final = (
    Setting(
        "secret_key",
        "give an API key that begins with sk_live_, sk_test_, rk_live_ or rk_test_",
        r"[sr]k_(live|test)_[0-9A-Za-z_]{8,240}",
        secret=True,
    ),
    Setting(
        "webhook_secret",
        "give the signing secret of the webhook endpoint, which begins with whsec_",
        r"whsec_[!-~]{8,240}",
        secret=True,
    ),
    base_url(BASE_URL),
)


class Credentials(Struct, frozen=True):
    """Who we are at Stripe, and what it signs with; its repr has no secret in it."""

    secret_key: str
    webhook_secret: bytes
    host: str

    @property
    def live(self) -> bool:
        """Does the key move real money?"""
        return "_live_" in self.secret_key

    def __repr__(self) -> str:
        return f"Credentials(host={self.host!r}, live={self.live})"


def read_credentials(settings: Mapping[str, str], secrets: Mapping[str, str]) -> Credentials:
    """Return what the texts say, or raise ConfigurationError with every field that is wrong."""
    given = sound_texts(SETTINGS, settings, secrets)
    return Credentials(
        secret_key=given["secret_key"],
        webhook_secret=given["webhook_secret"].encode(),
        host=given["base_url"].rstrip("/"),
    )
