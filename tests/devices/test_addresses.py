"""Which platform a token is for, by what is set up and what is said."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from gateway.devices.base import PushPlatform
from gateway.devices.platforms import Address, address_of, platforms_for
from gateway.errors import InvalidRequest
from gateway.settings import Settings
from tests.devices.phones import TOKENS, Phones


@asynccontextmanager
async def set_up(phones: Phones, *names: str) -> AsyncIterator[Mapping[str, PushPlatform]]:
    settings = replace(Settings(), **phones.settings(*names)) if names else Settings()
    async with platforms_for(settings) as platforms:
        assert set(platforms) == set(names)
        yield platforms


@pytest.mark.parametrize("name", list(TOKENS))
async def test_where_one_platform_is_set_up_the_token_alone_is_enough(
    phones: Phones, name: str
) -> None:
    async with set_up(phones, name) as platforms:
        expected = Address(name, TOKENS[name])
        assert address_of(TOKENS[name], platforms) == expected
        assert address_of(f"{name}:{TOKENS[name]}", platforms) == expected


async def test_where_several_are_set_up_the_word_before_it_decides(phones: Phones) -> None:
    async with set_up(phones, *TOKENS) as platforms:
        for name, token in TOKENS.items():
            assert address_of(f"{name}:{token}", platforms) == Address(name, token)


@pytest.mark.parametrize("said", [TOKENS["fcm"], TOKENS["jpush"], f"huawei:{TOKENS['jpush']}", ":"])
async def test_of_several_platforms_one_must_be_named(phones: Phones, said: str) -> None:
    async with set_up(phones, "fcm", "jpush") as platforms:
        with pytest.raises(InvalidRequest, match="put `fcm:` or `jpush:` before it") as caught:
            address_of(said, platforms)
    assert caught.value.members == {"field": "buyer.device_token"}
    assert said == ":" or said not in str(caught.value)


async def test_a_platform_that_is_not_set_up_is_named(phones: Phones) -> None:
    async with set_up(phones, "jpush") as platforms:
        with pytest.raises(InvalidRequest, match="Pushes by `apns` are not set up here"):
            address_of(f"apns:{TOKENS['apns']}", platforms)


@pytest.mark.parametrize(
    "said",
    [
        "fcm:",
        "apns:" + "a" * 63,
        "apns:" + "a" * 201,
        "apns:" + "g" * 64,
        "apns:../" + "a" * 64,
        "jpush:../v3/push",
        "jpush:" + "1" * 65,
    ],
)
async def test_what_cannot_be_a_token_of_the_platform_is_refused(phones: Phones, said: str) -> None:
    async with set_up(phones, *TOKENS) as platforms:
        with pytest.raises(InvalidRequest, match="Send the token as the app got it"):
            address_of(said, platforms)


async def test_where_none_is_set_up_any_token_is_as_good_as_none(phones: Phones) -> None:
    async with set_up(phones) as platforms:
        assert address_of("apns:whatever", platforms) is None
