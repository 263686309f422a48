"""The kinds of account, as data: what each is set up with, and what its channels can do.

Whoever sets one up is told of it, and the table in docs/channels.md is made of it.
"""

from typing import Final

from msgspec import Struct

from gateway.channels import (
    alipay,
    alipay_account,
    paypal,
    paypal_account,
    stripe_account,
    stripe_boleto,
    stripe_card,
    unionpay,
    unionpay_account,
    wechat,
    wechat_account,
)
from gateway.channels.account_settings import Setting
from gateway.channels.base import Traits


class Kind(Struct, frozen=True):
    settings: tuple[Setting, ...]
    channels: tuple[Traits, ...]

    @property
    def secrets(self) -> frozenset[str]:
        """The names of what is kept encrypted."""
        return frozenset(each.name for each in self.settings if each.secret)


KINDS: Final[dict[str, Kind]] = {
    "wechat": Kind(wechat_account.SETTINGS, (wechat.TRAITS,)),
    "alipay": Kind(alipay_account.SETTINGS, (alipay.TRAITS,)),
    "unionpay": Kind(unionpay_account.SETTINGS, (unionpay.TRAITS,)),
    "paypal": Kind(paypal_account.SETTINGS, (paypal.TRAITS,)),
    "stripe": Kind(stripe_account.SETTINGS, (stripe_card.TRAITS, stripe_boleto.TRAITS)),
}
