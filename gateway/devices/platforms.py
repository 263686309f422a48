"""The platforms that are set up, and which of them a device's token is for."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.devices.base import DEADLINE_S, PushPlatform
from gateway.devices.fcm import Fcm
from gateway.devices.jpush import JPush
from gateway.errors import InvalidRequest
from gateway.push_settings import ServiceAccount
from gateway.settings import Settings

_NAMES: Final = ("apns", "fcm", "jpush")
_FIELD: Final = "buyer.device_token"


class Address(Struct, frozen=True):
    """A device, by its token at a platform."""

    platform: str
    token: str


@asynccontextmanager
async def platforms_for(settings: Settings) -> AsyncIterator[Mapping[str, PushPlatform]]:
    """Open what the platforms that are set up need; for none of them, nothing."""
    platforms: dict[str, PushPlatform] = {}
    async with AsyncExitStack() as stack:
        if settings.push_fcm_credentials or settings.push_jpush_app_key:
            http = await stack.enter_async_context(_session())
            if settings.push_fcm_credentials:
                account = msgspec.json.decode(settings.push_fcm_credentials, type=ServiceAccount)
                platforms["fcm"] = Fcm(http, account, settings.push_fcm_url)
            if settings.push_jpush_app_key:
                secret = settings.push_jpush_master_secret or ""
                app_key, url = settings.push_jpush_app_key, settings.push_jpush_url
                platforms["jpush"] = JPush(http, app_key, secret, url)
        if settings.push_apns_key:
            platforms["apns"] = await stack.enter_async_context(_apns(settings))
        yield platforms


@asynccontextmanager
async def _apns(settings: Settings) -> AsyncIterator[PushPlatform]:
    from gateway.devices.apns import Apns, ApnsKey, apns_client  # noqa: PLC0415 - an extra

    key = ApnsKey(
        settings.push_apns_key or "",
        settings.push_apns_key_id or "",
        settings.push_apns_team_id or "",
        settings.push_apns_topic or "",
    )
    async with apns_client() as client:
        yield Apns(client, key, settings.push_apns_url)


def address_of(said: str, platforms: Mapping[str, PushPlatform]) -> Address | None:
    """Say where a device is: `fcm:...`, `apns:...`, `jpush:...`, or the token alone where one
    platform is set up. None: none is, and nobody will be told. Raises InvalidRequest.
    """
    if not platforms:
        return None
    name, colon, rest = said.partition(":")
    if colon and name in _NAMES:  # tokens of FCM have colons too, after words of other kinds
        address = Address(name, rest)
    elif len(platforms) == 1:
        address = Address(next(iter(platforms)), said)
    else:
        prefixes = " or ".join(f"`{each}:`" for each in sorted(platforms))
        raise InvalidRequest(_FIELD, f"Say whose token it is: put {prefixes} before it.")
    platform = platforms.get(address.platform)
    if platform is None:
        raise InvalidRequest(_FIELD, f"Pushes by `{address.platform}` are not set up here.")
    if not (address.token and platform.takes(address.token)):
        raise InvalidRequest(
            _FIELD, f"Send the token as the app got it from `{address.platform}`; this is none."
        )
    return address


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
        headers={"User-Agent": f"PayOnce/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )
