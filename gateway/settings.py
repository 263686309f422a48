"""Every setting in one frozen Struct, read once, from `PAYONCE_*` variables or `payonce.toml`.

The two say the same names: `PAYONCE_DATABASE_URL` is `database_url` in the file; the variable wins.
A start with wrong settings fails with the whole list of what is wrong, never with the first fault
alone.
"""

import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cryptography.fernet import Fernet
from msgspec import Meta, Struct

from gateway.errors import ConfigurationError
from gateway.push_settings import FROM_FILES, push_faults

AMQP: Final = ("amqp://", "amqps://")
_PREFIX: Final = "PAYONCE_"
_HTTP_URLS: Final = ("public_url", "push_fcm_url", "push_apns_url", "push_jpush_url")


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What an installation decides. `None` for a server's URL means: run the embedded one."""

    database_url: str | None = None
    redis_url: str | None = None
    events_url: str | None = None  # where the message queue is; unset: redis_url
    events_kept: Annotated[int, Meta(ge=100, le=10_000_000)] = 10_000  # about so many, the newest
    data: str = ".payonce"  # the folder of the embedded servers
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    public_url: str = ""  # how buyers and channels reach us; unset: http://host:port
    trusted_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For is believed
    secret_keys: tuple[str, ...] = ()  # the first encrypts, all decrypt
    allow_private_webhooks: bool = False
    pool_size: Annotated[int, Meta(ge=2, le=200)] = 20
    # How long a statement may take; a lock, or a connection, is waited for half as long.
    database_timeout_s: Annotated[float, Meta(ge=0.2, le=60)] = 10.0
    worker_jobs: Annotated[int, Meta(ge=1, le=1000)] = 100
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 20
    duplicate_window_s: Annotated[int, Meta(ge=0, le=3600)] = 10
    sweep_interval_s: Annotated[float, Meta(ge=0.05, le=60)] = 2.0
    push_fcm_credentials: str | None = None  # a service account's key file: JSON, or @file
    push_fcm_url: str = "https://fcm.googleapis.com"
    push_apns_key: str | None = None  # Apple's .p8: PEM, or @file
    push_apns_key_id: str | None = None
    push_apns_team_id: str | None = None
    push_apns_topic: str | None = None  # the app's bundle id
    push_apns_url: str = "https://api.push.apple.com"
    push_jpush_app_key: str | None = None
    push_jpush_master_secret: str | None = None
    push_jpush_url: str = "https://api.jpush.cn"
    log_level: str = "info"
    otlp_endpoint: str | None = None

    @property
    def base_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def read_settings(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the settings, or raise ConfigurationError with every fault at once."""
    said: dict[str, object] = {}
    faults: list[str] = []
    if file is not None and file.exists():
        try:
            said.update(tomllib.loads(file.read_text()))
        except tomllib.TOMLDecodeError as error:
            faults.append(f"{file}: is not TOML: {error}")
    for name, text in environ.items():
        if name.startswith(_PREFIX):
            said[name.removeprefix(_PREFIX).lower()] = text
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, object] = {}
    for name, value in said.items():
        if name not in fields:
            faults.append(f"{_PREFIX}{name.upper()} ({name}): there is no such setting")
            continue
        try:
            read = _read(value) if name in FROM_FILES else value
            values[name] = _converted(read, fields[name].type)
        except (msgspec.ValidationError, OSError, UnicodeDecodeError) as error:
            faults.append(f"{_PREFIX}{name.upper()} ({name}): {error}")
    faults += _unusable(values)
    if faults:
        raise ConfigurationError("The settings cannot work:\n- " + "\n- ".join(faults))
    return msgspec.convert(values, Settings)


def _read(value: object) -> object:
    """Read the file where the value is `@file`. Raises OSError and UnicodeDecodeError."""
    if isinstance(value, str) and value.startswith("@"):
        return Path(value[1:]).read_text()
    return value


def _converted(value: object, wanted: type) -> object:
    if wanted == tuple[str, ...] and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return msgspec.convert(value, wanted, strict=False)


def _unusable(values: Mapping[str, object]) -> list[str]:
    faults = []
    keys = values.get("secret_keys", ())
    assert isinstance(keys, tuple)
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            faults.append(
                f"PAYONCE_SECRET_KEYS (secret_keys): key {position} is not 32 bytes in URL-safe "
                "base64; make one with `payonce new-secret-key`"
            )
    proxies = values.get("trusted_proxies", ())
    assert isinstance(proxies, tuple)
    for network in proxies:
        try:
            ip_network(network)
        except ValueError as error:
            faults.append(
                f"PAYONCE_TRUSTED_PROXIES (trusted_proxies): {error}; say networks, as in "
                "10.0.0.0/8, 192.0.2.7"
            )
    schemes = {
        "database_url": ("postgresql://", "postgres://"),
        "redis_url": ("redis://", "rediss://", "unix://"),
        "events_url": ("redis://", "rediss://", "unix://", *AMQP),
        **dict.fromkeys(_HTTP_URLS, ("https://", "http://")),
    }
    for name, allowed in schemes.items():
        value = values.get(name)
        if isinstance(value, str) and value and not value.startswith(allowed):
            faults.append(
                f"PAYONCE_{name.upper()} ({name}): must begin with {' or '.join(allowed)}"
            )
    if str(values.get("events_url")).startswith(AMQP) and find_spec("aio_pika") is None:
        faults.append(
            "PAYONCE_EVENTS_URL (events_url): for RabbitMQ install PayOnce as payonce[amqp]"
        )
    return faults + push_faults(values)
