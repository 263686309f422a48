"""Which account takes a payment: merchants' accounts from the database, each with its adapter.

Adapters are kept while their row stays the same (they hold parsed keys and downloaded
certificates); the rows are read again every few seconds, so a change in the database needs no
restart.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
import asyncpg
import msgspec
from msgspec import Struct

from gateway.channels.alipay import alipay
from gateway.channels.base import Channel
from gateway.channels.paypal import paypal
from gateway.channels.stripe_boleto import stripe_boleto
from gateway.channels.stripe_card import stripe_card
from gateway.channels.unionpay import unionpay
from gateway.channels.wechat import wechat_pay
from gateway.db import accounts
from gateway.db.accounts import AccountRow
from gateway.db.attempts import Asking
from gateway.errors import ChannelNotConfigured, ConfigurationError
from gateway.model import Attempt, Order, Terminal
from gateway.money import Money
from gateway.payments.account_rules import Bounds, read_bounds, read_ladder
from gateway.secrets import Cipher
from gateway.telemetry import log

_FRESH_S: Final = 5.0
Maker = Callable[[str, Mapping[str, str], Mapping[str, str], aiohttp.ClientSession], Channel]
# What an account of a kind serves: one channel, or several under one contract.
MAKERS: Final[dict[str, tuple[Maker, ...]]] = {
    "wechat": (wechat_pay,),
    "alipay": (alipay,),
    "unionpay": (unionpay,),
    "paypal": (paypal,),
    "stripe": (stripe_card, stripe_boleto),
}


class Account(Struct, frozen=True):
    """One channel of a merchant's account, ready to be called."""

    id: str
    merchant: str
    adapter: Channel
    terminals: frozenset[str]
    ask_ladder_s: tuple[int, ...]
    bounds: Bounds = Bounds()
    extends_orders: bool = True  # may it take payments that are made days later?

    def takes(self, channel: str, terminal: Terminal, money: Money) -> bool:
        traits = self.adapter.traits
        return (
            traits.channel == channel
            and terminal in self.terminals
            and terminal in traits.products
            and money.currency in traits.currencies
            and traits.minimum <= money.amount <= traits.maximum
            and self.bounds.hold(money)
            and (traits.voucher is None or self.extends_orders)
        )

    def next_ask_s(self, asks: int) -> int:
        """How long after the ask number `asks` (from 0) the channel is asked again."""
        if asks < len(self.ask_ladder_s):
            return self.ask_ladder_s[asks]
        return self.adapter.traits.slow_ask_s


class OfferedChannel(Struct, frozen=True):
    channel: str
    account: str
    product: str
    names_buyer: bool = False  # it asks who pays


class Accounts:
    """Reads, builds and keeps accounts."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        cipher: Cipher,
        http: aiohttp.ClientSession,
    ) -> None:
        self._pool = pool
        self._cipher = cipher
        self._http = http
        self._built: dict[str, tuple[AccountRow, tuple[Account, ...]]] = {}
        self._of_merchant: dict[str, tuple[float, tuple[Account, ...]]] = {}
        self._by_id: dict[str, tuple[float, tuple[Account, ...]]] = {}

    async def of_merchant(self, merchant: str) -> tuple[Account, ...]:
        """Return a merchant's usable accounts, the preferred first."""
        now = time.monotonic()
        kept = self._of_merchant.get(merchant)
        if kept is not None and now < kept[0]:
            return kept[1]
        async with self._pool.acquire() as conn:
            rows = await accounts.of_merchant(conn, merchant)
        usable = tuple(account for row in rows for account in self._usable(row))
        self._of_merchant[merchant] = (now + _FRESH_S, usable)
        return usable

    async def able(
        self, merchant: str, channel: str, terminal: Terminal, product: str | None, money: Money
    ) -> list[Account]:
        """Return the accounts that take it, the preferred first, or raise ChannelNotConfigured
        with the reason.
        """
        found = [
            account
            for account in await self.of_merchant(merchant)
            if account.takes(channel, terminal, money)
            and (product is None or product in account.adapter.traits.all_products)
        ]
        if found:
            return found
        raise ChannelNotConfigured(
            f"No enabled account takes {money.amount} {money.currency} (minor units) through "
            f"`{channel}` on terminal `{terminal}`"
            + (f" as product `{product}`." if product else ".")
            + await self._why_not_slow(merchant, channel)
        )

    async def _why_not_slow(self, merchant: str, channel: str) -> str:
        for account in await self.of_merchant(merchant):
            traits = account.adapter.traits
            if traits.channel == channel and traits.voucher and not account.extends_orders:
                return (
                    " It is paid days later, and the merchant's setting `extend_for_slow_channels`,"
                    " which lets orders wait for that, is off."
                )
        return ""

    async def offered(
        self, merchant: str, terminal: Terminal, money: Money
    ) -> list[OfferedChannel]:
        """Return what the page offers, each channel once, the preferred account first."""
        found: dict[str, OfferedChannel] = {}
        for account in await self.of_merchant(merchant):
            traits = account.adapter.traits
            if account.takes(traits.channel, terminal, money):
                product = traits.products[terminal]
                names_buyer = product in traits.needs_buyer
                offer = OfferedChannel(traits.channel, account.id, product, names_buyer)
                found.setdefault(traits.channel, offer)
        return list(found.values())

    async def form_targets(self, order: Order) -> tuple[str, ...]:
        """Return where forms on an order's page may lead, those of a disabled account too."""
        known = [*await self.of_merchant(order.merchant)]
        if order.offered is not None and (begun_on := await self.of_attempt(order.offered)):
            known.append(begun_on)
        targets = (target for account in known for target in account.adapter.traits.form_targets)
        return tuple(dict.fromkeys(targets))

    async def by_id(self, account_id: str, channel: str | None = None) -> Account | None:
        """Return an account by its id, enabled or not: what was begun on it must be ended on it.

        `channel` None: whichever of its channels comes first; any of them reads its callbacks.
        """
        now = time.monotonic()
        kept = self._by_id.get(account_id)
        if kept is not None and now < kept[0]:
            return _of_channel(kept[1], channel)
        async with self._pool.acquire() as conn:
            row = await accounts.read(conn, account_id)
        usable = self._usable(row) if row is not None else ()
        if usable:
            self._by_id[account_id] = (now + _FRESH_S, usable)
        return _of_channel(usable, channel)

    async def of_attempt(self, attempt: Attempt | Asking) -> Account | None:
        """Return the account that an attempt was begun on."""
        return await self.by_id(attempt.account, attempt.channel)

    def _usable(self, row: AccountRow) -> tuple[Account, ...]:
        """Build the account, once for each of its channels; one that is set up wrongly is left
        out, loudly, and harms no other.
        """
        kept = self._built.get(row.id)
        if kept is not None and kept[0] == row:
            return kept[1]
        try:
            built = build(row, self._cipher, self._http)
        except ConfigurationError as error:
            log.error("channel_account_unusable", account=row.id, error=str(error))
            return ()
        self._built[row.id] = (row, built)
        return built


def build(row: AccountRow, cipher: Cipher, http: aiohttp.ClientSession) -> tuple[Account, ...]:
    """Build an account from its row, once for each of its channels.

    Raises ConfigurationError with what is wrong in its settings, or with the secret keys.
    """
    if row.kind not in MAKERS:
        raise ConfigurationError(f"kind: there is no {row.kind!r} in this release")
    settings, secrets = read_row(row, cipher)
    adapters = [make(row.id, settings, secrets, http) for make in MAKERS[row.kind]]
    return tuple(_account(row, settings, adapter) for adapter in adapters)


def _account(row: AccountRow, settings: Mapping[str, str], adapter: Channel) -> Account:
    traits = adapter.traits
    return Account(
        row.id,
        row.merchant,
        adapter,
        frozenset(row.terminals),
        read_ladder(settings, slow=traits.voucher is not None) or traits.ask_ladder_s,
        read_bounds(settings),
        row.extends_orders,
    )


def read_row(row: AccountRow, cipher: Cipher) -> tuple[dict[str, str], dict[str, str]]:
    """Return an account's settings, and its secrets decrypted. Raises ConfigurationError."""
    try:
        settings = msgspec.json.decode(row.settings, type=dict[str, str])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from error
    return settings, cipher.decrypt_settings(row.secrets)


def _of_channel(accounts: tuple[Account, ...], channel: str | None) -> Account | None:
    wanted = (each for each in accounts if channel in (None, each.adapter.traits.channel))
    return next(wanted, None)
