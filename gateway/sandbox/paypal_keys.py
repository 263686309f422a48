"""A merchant's app at PayPal, and what PayPal signs webhooks with.

Anybody may serve a certificate and sign with its key; only who vouches for it, and the name in it,
say that it is PayPal's. So there is a stranger here too, for forged webhooks.
"""

import secrets
import string

import msgspec

from gateway.sandbox.certified import Certified, certified
from gateway.sandbox.pem import private_pem

SIGNERS_NAME = "messageverificationcerts.sandbox.paypal.com"
"""Who signs in PayPal's test environment."""
CAPITALS = string.ascii_uppercase + string.digits


class PayPalSigner(msgspec.Struct, frozen=True):
    """A key, and the text that is served for it: its certificate and the one above."""

    key: str
    chain: str


class PayPalKeys(msgspec.Struct, frozen=True, kw_only=True):
    client_id: str
    client_secret: str
    merchant_id: str
    webhook_id: str
    signer: PayPalSigner
    stranger: PayPalSigner
    root_certificate: str


def new_paypal_keys() -> PayPalKeys:
    """Make a merchant with an app and a webhook."""
    root = _certified("Sandbox DigiCert Root", None, may_certify=True)
    return PayPalKeys(
        client_id="A" + secrets.token_urlsafe(59),
        client_secret="E" + secrets.token_urlsafe(59),
        merchant_id=new_id(13),
        webhook_id=new_id(17),
        signer=_signer(root),
        stranger=_signer(_certified("Somebody's Root", None, may_certify=True)),
        root_certificate=root.pem,
    )


def new_id(length: int) -> str:
    """As PayPal's ids look."""
    return "".join(secrets.choice(CAPITALS) for _ in range(length))


def _signer(root: Certified) -> PayPalSigner:
    middle = _certified("Sandbox DigiCert EV Server CA", root, may_certify=True)
    leaf = _certified(SIGNERS_NAME, middle, may_certify=False)
    return PayPalSigner(private_pem(leaf.key), leaf.pem + middle.pem)


def _certified(name: str, issuer: Certified | None, *, may_certify: bool) -> Certified:
    return certified(
        name, issuer, may_certify=may_certify, country="US", organization="Sandbox PayPal, Inc."
    )
