"""What Stripe's dashboard shows a merchant in test mode."""

import secrets

import msgspec


class StripeKeys(msgspec.Struct, frozen=True):
    secret_key: str
    webhook_secret: str


def new_stripe_keys() -> StripeKeys:
    return StripeKeys(f"sk_test_{secrets.token_hex(24)}", f"whsec_{secrets.token_hex(16)}")
