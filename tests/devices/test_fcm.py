"""FCM, against a server that checks what it is told as Google's does."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace

from gateway.devices.base import Dead, Note, Told
from gateway.devices.fcm import Fcm
from gateway.errors import PushUnavailable
from gateway.push_settings import ServiceAccount
from tests.devices.phones import TOKENS
from tests.fakes.fcm_server import FakeFcm, error_body
from tests.fakes.platforms import LOSE, Mood

TOKEN = TOKENS["fcm"]


@pytest.fixture
async def platform(fcm: FakeFcm) -> AsyncIterator[Fcm]:
    account = msgspec.json.decode(fcm.key_file(), type=ServiceAccount)
    async with aiohttp.ClientSession() as http:
        yield Fcm(http, account, fcm.url)


async def test_a_note_arrives_with_its_words_and_its_version(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    assert await platform.push(TOKEN, note, "") == Told()
    [shown] = fcm.taken
    assert (shown.title, shown.body) == (note.title, note.body)
    expected = {"order": note.order, "version": "7", "state": "paid", "surplus": "none"}
    assert shown.data == expected
    assert not fcm.refused


async def test_a_newer_note_takes_the_place_of_the_older(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    await platform.push(TOKEN, note, "")
    await platform.push(TOKEN, replace(note, version=8), "")
    assert [shown.version for shown in fcm.screen(TOKEN)] == [8]


async def test_one_signature_serves_many_pushes(platform: Fcm, fcm: FakeFcm, note: Note) -> None:
    await asyncio.gather(*(platform.push(TOKEN, note, "") for _ in range(10)))
    assert (len(fcm.taken), len(fcm.access_tokens)) == (10, 1)


async def test_an_access_token_that_is_good_for_ever_is_none(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    fcm.good_for_s = 10**400
    with pytest.raises(PushUnavailable, match="cannot be read"):
        await platform.push(TOKEN, note, "")


async def test_an_access_token_near_its_end_is_not_used(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    fcm.good_for_s = 299
    await platform.push(TOKEN, note, "")
    await platform.push(TOKEN, note, "")
    assert len(fcm.access_tokens) == 2


async def test_a_revoked_access_token_is_fetched_anew_once(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    await platform.push(TOKEN, note, "")
    fcm.revoke()
    await asyncio.gather(*(platform.push(TOKEN, note, "") for _ in range(5)))
    assert len(fcm.taken) == 6
    assert len(fcm.access_tokens) == 3  # the first, the revocation, and one for all five


async def test_one_who_is_never_let_in_does_not_try_for_ever(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    fcm.moods.extend([Mood(401), Mood(401)])
    with pytest.raises(PushUnavailable, match="answered 401"):
        await platform.push(TOKEN, note, "")
    assert len(fcm.access_tokens) == 2


async def test_a_key_that_google_does_not_know_is_not_the_tokens_fault(
    fcm: FakeFcm, note: Note
) -> None:
    account = msgspec.json.decode(fcm.key_file(), type=ServiceAccount)
    async with aiohttp.ClientSession() as http:
        platform = Fcm(http, replace(account, client_email="who@example"), fcm.url)
        with pytest.raises(PushUnavailable, match="no access token: answered 400"):
            await platform.push(TOKEN, note, "")


async def test_a_token_that_was_never_or_is_no_longer_there_is_dead(
    platform: Fcm, note: Note
) -> None:
    assert await platform.push("unknown", note, "") == Dead()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error_body("INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        (400, error_body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token")),
        (403, error_body("PERMISSION_DENIED", "SENDER_ID_MISMATCH")),
    ],
)
async def test_what_is_wrong_with_the_token_makes_it_dead(
    platform: Fcm, fcm: FakeFcm, note: Note, status: int, body: bytes
) -> None:
    fcm.moods.append(Mood(status, body))
    assert await platform.push(TOKEN, note, "") == Dead()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error_body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.data[0].value")),
        (400, error_body("INVALID_ARGUMENT")),
        (403, error_body("PERMISSION_DENIED")),
        (404, b"<html>not found</html>"),
        (404, b'{"error": "not_found"}'),
        (429, error_body("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        (500, error_body("INTERNAL", "INTERNAL")),
        (502, b""),
        (302, b""),
    ],
)
async def test_what_is_wrong_with_us_or_them_costs_no_token(
    platform: Fcm, fcm: FakeFcm, note: Note, status: int, body: bytes
) -> None:
    fcm.moods.append(Mood(status, body, {"Location": "/elsewhere"} if status == 302 else {}))
    with pytest.raises(PushUnavailable, match=f"answered {status}") as caught:
        await platform.push(TOKEN, note, "")
    assert caught.value.wait_s is None


async def test_a_platform_may_say_when_to_come_again(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    fcm.moods.append(Mood(503, headers={"Retry-After": "120"}))
    with pytest.raises(PushUnavailable) as caught:
        await platform.push(TOKEN, note, "")
    assert caught.value.wait_s == 120


async def test_a_lost_answer_says_nothing_of_the_token(
    platform: Fcm, fcm: FakeFcm, note: Note
) -> None:
    fcm.moods.append(LOSE)
    with pytest.raises(PushUnavailable) as caught:
        await platform.push(TOKEN, note, "")
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
