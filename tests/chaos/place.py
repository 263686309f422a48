"""Where a run happens: a folder, ports, keys, two merchants, and the settings of the programs.

One merchant is the demo shop, told by webhooks. The other has no notify URL and only pulls the
event log: its orders may be short-lived, which the shop's are not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
from cryptography.fernet import Fernet
from msgspec import Struct

from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.migrate import migrate
from gateway.operators import add_operator
from gateway.ports import free_port
from gateway.sandbox.keys import (
    alipay_account,
    paypal_account,
    sandbox_keys,
    stripe_account,
    unionpay_account,
    wechat_account,
)
from gateway.secrets import Cipher, new_api_key, new_webhook_secret

HOST: Final = "127.0.0.1"
CHANNELS: Final = ("wechat", "alipay", "unionpay", "paypal", "card", "boleto")
# Those that debit on our call alone; and those that give nothing back, so that a person does.
CAPTURING: Final = ("paypal", "card")
BY_HAND: Final = ("boleto",)
SHOP: Final = "demo"
PULLER: Final = "pull"
# As real accounts, but asked more often: what is lost here must be found within the run.
_ACCOUNT: Final = {
    "ask_ladder": ",".join(("2", "4", "8", *["15"] * 40)),
    "refund_limit": "1000000000",
    "refund_daily_limit": "1000000000000",
}
# The guards in the schema that the control runs without.
_GUARDS: Final = (
    "one_captured_per_order",
    "one_offered_per_order",
    "one_capture_claim_per_order",
    "one_surplus_refund_per_attempt",
)


class Counter(Struct, frozen=True):
    """Where one can buy: at whose, in which currency, and what there is to pay with."""

    merchant: str
    currency: str
    channels: tuple[str, ...]


# How many of ten buyers go where.
COUNTERS: Final[Mapping[Counter, int]] = {
    Counter(SHOP, "CNY", ("wechat", "alipay", "unionpay", "paypal")): 6,
    Counter(PULLER, "CNY", ("wechat", "alipay", "unionpay", "card")): 2,
    Counter(PULLER, "BRL", ("card", "boleto")): 2,
}


class Ports(Struct, frozen=True):
    """`balancer` is where everybody finds a gateway."""

    balancer: int
    gateways: tuple[int, int]
    sandbox: int
    shop: int
    postgres: int
    valkey: int


class Place(Struct, frozen=True):
    """What everybody who takes part has to know."""

    folder: Path
    ports: Ports
    database_url: str
    redis_url: str
    webhook_secret: str
    api_keys: Mapping[str, str]  # by merchant
    operators: tuple[str, str]  # the tokens of two persons

    @property
    def gateway_url(self) -> str:
        return f"http://{HOST}:{self.ports.balancer}"

    @property
    def sandbox_url(self) -> str:
        return f"http://{HOST}:{self.ports.sandbox}"

    @property
    def webhooks(self) -> Mapping[str, str]:
        """Where the channels that are told so once send news, by kind of account."""
        named = {"paypal": f"paypal_{SHOP}", "stripe": f"stripe_{PULLER}"}
        return {kind: f"{self.gateway_url}/callbacks/{account}" for kind, account in named.items()}

    @property
    def shop_url(self) -> str:
        return f"http://{HOST}:{self.ports.shop}"


def choose_ports() -> Ports:
    first = free_port(7)
    return Ports(first, (first + 1, first + 2), first + 3, first + 4, first + 5, first + 6)


async def set_up(
    folder: Path, ports: Ports, database_url: str, redis_url: str, *, guarded: bool
) -> Place:
    """Make the schema, the merchants with their accounts, and `payonce.toml` for the programs."""
    secret_key = Fernet.generate_key().decode()
    cipher = Cipher((secret_key,))
    await migrate(database_url)
    conn = await asyncpg.connect(database_url)
    try:
        place = Place(
            folder=folder,
            ports=ports,
            database_url=database_url,
            redis_url=redis_url,
            webhook_secret=new_webhook_secret(),
            api_keys={SHOP: new_api_key(), PULLER: new_api_key()},
            operators=(
                (await add_operator(conn, "the first"))[1],
                (await add_operator(conn, "the second"))[1],
            ),
        )
        await _set_up_merchants(conn, cipher, place)
        if not guarded:
            for guard in _GUARDS:
                await conn.execute(f"DROP INDEX {guard}")
    finally:
        await conn.close()
    (folder / "payonce.toml").write_text(
        f'database_url = "{database_url}"\n'
        f'redis_url = "{redis_url}"\n'
        f'public_url = "{place.gateway_url}"\n'
        f'secret_keys = ["{secret_key}"]\n'
        "allow_private_webhooks = true\n"
        "pool_size = 15\n"
        "sweep_interval_s = 1.0\n"
    )
    return place


async def _set_up_merchants(
    conn: "asyncpg.Connection[asyncpg.Record]", cipher: Cipher, place: Place
) -> None:
    keys, url = sandbox_keys(place.folder / "sandbox"), place.sandbox_url
    both = {
        "wechat": wechat_account(keys, f"{url}/wechat"),
        "alipay": alipay_account(keys, f"{url}/alipay"),
        "unionpay": unionpay_account(keys, f"{url}/unionpay"),
    }
    # Where these tell of payments is said once for all, so each is one merchant's.
    accounts = {
        SHOP: both | {"paypal": paypal_account(keys, f"{url}/paypal")},
        PULLER: both | {"stripe": stripe_account(keys, f"{url}/stripe")},
    }
    notify_urls = {SHOP: f"{place.shop_url}/webhooks/payonce", PULLER: None}
    for merchant, notify_url in notify_urls.items():
        await add_merchant(conn, cipher, merchant, merchant, notify_url, place.webhook_secret)
        await let_key_in(conn, merchant, place.api_keys[merchant])
        for kind, account in accounts[merchant].items():
            name = f"{kind}_{merchant}"
            await add_channel(conn, cipher, merchant, name, kind, account | _ACCOUNT)
