"""The product as it is shipped, with one more kind of channel account: WeChat Pay signed by HMAC.

`payonce serve --no-worker` is what runs. RSA costs the caller of a channel 0.4 ms a payment, more
than all else that PayOnce computes; the other kind lets that be seen, and is WeChat Pay's adapter
with another pen.
"""

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import aiohttp
from msgspec.structs import replace

from benchmarks.place import read_place
from benchmarks.wechat import hmac_signing, hmac_verifying, signed_message
from gateway.channels.base import Traits, utc_now
from gateway.channels.wechat import TRAITS, WeChatPay
from gateway.channels.wechat_account import read_credentials
from gateway.channels.wechat_connection import DEADLINE_S, Connection
from gateway.channels.wechat_keys import Keys
from gateway.cli import main
from gateway.payments.accounts import MAKERS

HMAC_CHANNEL: Final = "hmac"
HMAC_KEY: Final = "hmac_key"


class HmacKeys(Keys, frozen=True):
    """Believes what was signed with the shared secret."""

    secret: str

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        message = signed_message(headers["wechatpay-timestamp"], headers["wechatpay-nonce"], body)
        hmac_verifying(self.secret)(headers["wechatpay-signature"], message)


class HmacConnection(Connection):
    """WeChat Pay's wire, each call signed with the shared secret."""

    secret = ""

    def sign(self, *lines: str) -> str:
        return hmac_signing(self.secret)("".join(f"{line}\n" for line in lines).encode())


class HmacPay(WeChatPay):
    @property
    def traits(self) -> Traits:
        return _TRAITS


_TRAITS: Final = replace(TRAITS, channel=HMAC_CHANNEL)


def hmac_pay(
    account: str,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
    http: aiohttp.ClientSession,
) -> HmacPay:
    credentials = read_credentials(settings, secrets)
    connection = HmacConnection(credentials, http, utc_now, DEADLINE_S)
    connection.secret = settings[HMAC_KEY]
    connection.keys.current = HmacKeys({}, settings[HMAC_KEY])
    return HmacPay(account, credentials, connection)


MAKERS[HMAC_CHANNEL] = (hmac_pay,)


if __name__ == "__main__":
    place = read_place(sys.argv[2])
    os.chdir(place.folder)  # a payonce.toml of the developer's own is not measured
    os.environ.update(place.product_environment)
    sys.argv = ["payonce", "serve", "--no-worker", "--port", sys.argv[1]]
    main()
