"""The stage of a run: embedded servers, the channel, the floors and the product, all started.

Everything lives in a temporary folder on the disk that the project is on, listens on 127.0.0.1
alone, and is gone when the run ends.
"""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
from cryptography.fernet import Fernet
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks import floors
from benchmarks.place import (
    HOST,
    POOL_SIZE,
    ROOT,
    Place,
    Program,
    family_cpu_s,
    parent_of,
    program,
)
from benchmarks.product import HMAC_CHANNEL, HMAC_KEY
from gateway.embedded import EmbeddedServers, embedded
from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.migrate import migrate
from gateway.ports import free_port
from gateway.sandbox.keys import sandbox_keys, wechat_account
from gateway.secrets import Cipher, new_api_key, new_webhook_secret

FLOORS: Final = ("replay", "apply_hmac", "apply_rsa", "callback")
MERCHANT: Final = "bench"
WECHAT_ACCOUNT: Final = "wx"
_HMAC_ACCOUNT: Final = "hm"


class Stage(Struct, frozen=True):
    """Handles on what runs."""

    place: Place
    api_key: str
    product: Program
    floors: Mapping[str, Program]
    product_db: "asyncpg.Connection[asyncpg.Record]"
    floor_db: "asyncpg.Connection[asyncpg.Record]"
    floor_redis: Redis
    postmaster: int

    def postgres_cpu_s(self) -> float:
        return family_cpu_s(self.postmaster)

    async def valkey_cpu_s(self) -> float:
        said = await self.floor_redis.info("cpu")
        return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])

    async def servers(self) -> dict[str, str]:
        """Which PostgreSQL and Valkey these are."""
        valkey = await self.floor_redis.info("server")
        return {
            "postgresql": str(await self.floor_db.fetchval("SHOW server_version")),
            "valkey": str(valkey.get("valkey_version", valkey["redis_version"])),
        }


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start everything that a run needs, and stop it when the block ends."""
    async with AsyncExitStack() as stack:
        cache = ROOT / ".cache"
        cache.mkdir(exist_ok=True)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=cache))
        servers = await stack.enter_async_context(embedded(Path(folder)))
        api_key = new_api_key()
        place = _place(folder, servers)
        product_db = await asyncpg.connect(place.database_url)
        stack.push_async_callback(product_db.close)
        await _set_up_product(product_db, place, api_key)
        await product_db.execute("CREATE DATABASE floor")
        floor_db = await asyncpg.connect(place.floor_database_url)
        stack.push_async_callback(floor_db.close)
        await floor_db.execute(floors.SCHEMA)
        path = place.write()
        channel = program(path, "channel", port=place.channel_port)
        await stack.enter_async_context(channel)
        started = {
            name: await stack.enter_async_context(program(path, "floors", name)) for name in FLOORS
        }
        yield Stage(
            place,
            api_key,
            await stack.enter_async_context(program(path, "product")),
            started,
            product_db,
            floor_db,
            await stack.enter_async_context(Redis.from_url(place.floor_redis_url)),
            parent_of(await floor_db.fetchval("SELECT pg_backend_pid()")),
        )


def _place(folder: str, servers: EmbeddedServers) -> Place:
    return Place(
        folder=folder,
        database_url=servers.database_url,
        floor_database_url=_at(servers.database_url, "floor"),
        redis_url=servers.redis_url,
        floor_redis_url=_at(servers.redis_url, "1"),
        channel_port=free_port(),
        hmac_key=new_webhook_secret(),
        keys=sandbox_keys(None),
        product_environment={
            "PAYONCE_DATABASE_URL": servers.database_url,
            "PAYONCE_REDIS_URL": servers.redis_url,
            "PAYONCE_SECRET_KEYS": Fernet.generate_key().decode(),
            "PAYONCE_POOL_SIZE": str(POOL_SIZE),
            "PAYONCE_HOST": HOST,
        },
    )


def _at(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


async def _set_up_product(
    db: "asyncpg.Connection[asyncpg.Record]", place: Place, api_key: str
) -> None:
    """Migrate, and let one merchant in: with both kinds of account, and without a notify URL."""
    await migrate(place.database_url)
    cipher = Cipher([place.product_environment["PAYONCE_SECRET_KEYS"]])
    await add_merchant(db, cipher, MERCHANT, "Benchmark", None, new_webhook_secret())
    await let_key_in(db, MERCHANT, api_key)
    wechat = wechat_account(place.keys, f"{place.channel_url}/wechat")
    await add_channel(db, cipher, MERCHANT, WECHAT_ACCOUNT, "wechat", wechat)
    by_hmac = wechat_account(place.keys, f"{place.channel_url}/hmac")
    by_hmac[HMAC_KEY] = place.hmac_key
    await add_channel(db, cipher, MERCHANT, _HMAC_ACCOUNT, HMAC_CHANNEL, by_hmac)
