"""Everything in one process: `payonce up`, its embedded servers, sandbox, demo shop and merchant.

It is for trying PayOnce and for its tests. The secrets that it needs are made once and kept in the
data folder, readable by its owner alone, so that a second start finds the same merchant with the
same keys.
"""

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from cryptography.fernet import Fernet
from msgspec import Struct
from msgspec.structs import replace

from gateway.app import make_app
from gateway.embedded import embedded
from gateway.errors import ConfigurationError
from gateway.lifespan import pool_for
from gateway.merchants import add_channel, add_merchant, let_key_in
from gateway.migrate import migrate
from gateway.ports import free_port
from gateway.sandbox.keys import (
    SandboxKeys,
    alipay_account,
    paypal_account,
    sandbox_keys,
    stripe_account,
    unionpay_account,
    wechat_account,
)
from gateway.sandbox.server import sandbox_app
from gateway.sandbox.shop import ShopSettings, shop_app
from gateway.secrets import Cipher, new_api_key, new_webhook_secret
from gateway.settings import AMQP, Settings

MERCHANT: Final = "demo"
_HOST: Final = "127.0.0.1"
_SECRETS: Final = "secrets.json"
# Kinds of account whose channel is told once, on its site, where the merchant hears news.
_TOLD_ONCE: Final = ("paypal", "stripe")


class Secrets(Struct, frozen=True):
    """What `up` makes for itself, once."""

    secret_key: str
    api_key: str
    webhook_secret: str


class Ready(Struct, frozen=True):
    """Where to click, and what a program needs to take part. There is no console yet."""

    gateway_url: str
    sandbox_url: str
    shop_url: str
    api_key: str
    webhook_secret: str
    database_url: str
    redis_url: str
    console_url: str | None = None
    console_user: str | None = None
    console_password: str | None = None


class Ports(Struct, frozen=True):
    gateway: int
    sandbox: int
    shop: int


@asynccontextmanager
async def everything(
    settings: Settings, ports: Ports, say: Callable[[str], None]
) -> AsyncIterator[Ready]:
    """Run the whole product for as long as the block runs; `say` is told what takes time."""
    data = Path(settings.data)
    _must_be_free(ports)
    gateway_url = settings.public_url or f"http://{_HOST}:{ports.gateway}"
    sandbox_url, shop_url = f"http://{_HOST}:{ports.sandbox}", f"http://{_HOST}:{ports.shop}"
    async with AsyncExitStack() as stack:
        database_url, redis_url = await _servers(settings, stack, say)
        await asyncio.to_thread(_make_folders, data)
        secrets = _secrets(data / _SECRETS)
        settings = replace(
            settings,
            database_url=database_url,
            redis_url=redis_url,
            port=ports.gateway,
            public_url=gateway_url,
            secret_keys=settings.secret_keys or (secrets.secret_key,),
            allow_private_webhooks=True,
        )
        for name in await migrate(database_url):
            say(f"migrated {name}")
        keys = await asyncio.to_thread(sandbox_keys, data / "sandbox")
        await _set_up_merchant(settings, secrets, keys, sandbox_url, shop_url)
        shop_settings = ShopSettings(
            gateway_url=gateway_url,
            api_key=secrets.api_key,
            webhook_secret=secrets.webhook_secret,
            public_url=shop_url,
            database_path=str(data / "shop" / "shop.sqlite"),
            events_url=_stream_url(settings.events_url or redis_url),
            merchant=MERCHANT,
        )
        sandbox = sandbox_app(
            keys,
            public_url=sandbox_url,
            state_file=data / "sandbox" / "ledger.jsonl",
            webhooks={each: f"{gateway_url}/callbacks/{each}_demo" for each in _TOLD_ONCE},
        )
        sites = (
            (make_app(settings, worker=True), ports.gateway),
            (sandbox, ports.sandbox),
            (shop_app(shop_settings), ports.shop),
        )
        for app, port in sites:
            await stack.enter_async_context(serving(app, _HOST, port))
        yield Ready(
            gateway_url,
            sandbox_url,
            shop_url,
            secrets.api_key,
            secrets.webhook_secret,
            database_url,
            redis_url,
        )


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    """Serve an application for as long as the block runs."""
    # Our own log says what matters of a request; aiohttp's costs half the throughput.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
            # What is there now stays; the garbage collector need not look at it again and again.
            gc.collect()
            gc.freeze()
        except OSError as error:
            raise _taken(host, port, error) from error
        yield
    finally:
        await runner.cleanup()


async def _servers(
    settings: Settings, stack: AsyncExitStack, say: Callable[[str], None]
) -> tuple[str, str]:
    """Return the URLs of PostgreSQL and Redis; what has none is started here."""
    if settings.database_url is not None and settings.redis_url is not None:
        return settings.database_url, settings.redis_url
    began = time.monotonic()
    servers = await stack.enter_async_context(embedded(Path(settings.data)))
    say(f"PostgreSQL and Valkey are up ({time.monotonic() - began:.1f} s)")
    return settings.database_url or servers.database_url, settings.redis_url or servers.redis_url


def _must_be_free(ports: Ports) -> None:
    """Say at once, and not after the databases were made, that a port is taken."""
    for port in (ports.gateway, ports.sandbox, ports.shop):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                raise _taken(_HOST, port, error) from error


def _taken(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"--port: {host}:{port} cannot be listened on ({error.strerror}); "
        "stop what is there, or choose another --port"
    )


def choose_ports(port: int) -> Ports:
    """Return three ports in a row, free ones for port 0."""
    port = port or free_port(3)
    return Ports(port, port + 1, port + 2)


def write_ready_file(path: Path, ready: Ready | None) -> None:
    """Write it whole or not at all, for its owner alone: it holds keys."""
    unfinished = path.with_name(path.name + ".unfinished")
    _write_private(unfinished, msgspec.json.format(msgspec.json.encode(ready)))
    unfinished.replace(path)


def kept_secret_keys(data: Path) -> tuple[str, ...]:
    """Return the secret key that `up` made in a data folder, if it made one."""
    path = data / _SECRETS
    return (_secrets(path).secret_key,) if path.exists() else ()


def _stream_url(events_url: str) -> str | None:
    """Return where the shop reads the message queue: it reads streams, and no RabbitMQ."""
    return None if events_url.startswith(AMQP) else events_url


def _make_folders(data: Path) -> None:
    """The data folder lets PostgreSQL's user pass; what the sandbox and shop keep is ours alone."""
    for folder in (data / "sandbox", data / "shop"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _secrets(path: Path) -> Secrets:
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    secrets = Secrets(Fernet.generate_key().decode(), new_api_key(), new_webhook_secret())
    _write_private(path, msgspec.json.encode(secrets))
    return secrets


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


async def _set_up_merchant(
    settings: Settings, secrets: Secrets, keys: SandboxKeys, sandbox_url: str, shop_url: str
) -> None:
    """Make the demo merchant, or bring it up to where the sandbox and the shop are today."""
    cipher = Cipher(settings.secret_keys)
    notify_url = f"{shop_url}/webhooks/payonce"
    # PayPal takes yuan for merchants of few countries, and this one sells for dollars abroad.
    paypal = paypal_account(keys, f"{sandbox_url}/paypal") | {"currencies": "EUR,USD"}
    async with pool_for(settings) as pool, pool.acquire() as conn:
        await add_merchant(
            conn, cipher, MERCHANT, "山间茶铺 Hillside Tea", notify_url, secrets.webhook_secret
        )
        await let_key_in(conn, MERCHANT, secrets.api_key)
        for priority, kind, account in (
            (10, "wechat", wechat_account(keys, f"{sandbox_url}/wechat")),
            (20, "alipay", alipay_account(keys, f"{sandbox_url}/alipay")),
            (30, "unionpay", unionpay_account(keys, f"{sandbox_url}/unionpay")),
            (40, "paypal", paypal),
            (50, "stripe", stripe_account(keys, f"{sandbox_url}/stripe")),
        ):
            name = f"{kind}_demo"
            await add_channel(conn, cipher, MERCHANT, name, kind, account, priority=priority)
