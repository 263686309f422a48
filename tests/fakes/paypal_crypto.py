"""PayPal's half of a webhook's signature, written from the protocol's description alone.

It shares no line with the adapter or the sandbox: what all three agree on is the protocol.
"""

from binascii import crc32
from dataclasses import dataclass
from functools import cache

from tests.fakes.keys import Certified, certified, signature

Headers = dict[str, str]

PAYPALS_NAME = "messageverificationcerts.paypal.com"
SANDBOXS_NAME = "messageverificationcerts.sandbox.paypal.com"
WEBHOOK_ID = "1JE4291016473214C"
MERCHANT_ID = "RZBTBRRBXKLXN"
CLIENT_ID, CLIENT_SECRET = "AeA1QIZXiflr1_-r0U2", "ECYYrrSHdKfk_Q0EdvzdGk"


@dataclass(frozen=True)
class PayPalSide:
    """Who signs, and who vouches for that; a stranger has the same from somebody else."""

    root: Certified
    middle: Certified
    paypal: Certified
    stranger: Certified

    @property
    def chain(self) -> str:
        """What is served for PayPal's key: its certificate and the one above it."""
        return self.paypal.pem + self.middle.pem

    def settings(self, base_url: str, cert_host: str) -> dict[str, str]:
        """The settings of an account that talks to whoever has these keys."""
        return {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "webhook_id": WEBHOOK_ID,
            "merchant_id": MERCHANT_ID,
            "webhook_cert_hosts": cert_host,
            "webhook_root_certs": self.root.pem,
            "base_url": base_url,
        }


@cache
def stub_side() -> PayPalSide:
    """One set of keys for the whole run: making RSA keys takes most of a second."""
    root = certified("DigiCert Test Root", issues=True)
    middle = certified("DigiCert Test EV CA", issuer=root, issues=True)
    return PayPalSide(
        root=root,
        middle=middle,
        paypal=certified(PAYPALS_NAME, issuer=middle),
        stranger=certified(PAYPALS_NAME),
    )


def signed(
    signer: Certified, body: bytes, cert_url: str, *, webhook_id: str = WEBHOOK_ID
) -> Headers:
    """The headers of a webhook with this body."""
    sent, at = "69cd13f0-d67a-11e5-baa3-778b53f4ae55", "2026-11-22T04:04:38Z"
    text = f"{sent}|{at}|{webhook_id}|{crc32(body) & 0xFFFFFFFF}"
    return {
        "paypal-transmission-id": sent,
        "paypal-transmission-time": at,
        "paypal-transmission-sig": signature(signer.key, text),
        "paypal-cert-url": cert_url,
        "paypal-auth-algo": "SHA256withRSA",
    }
