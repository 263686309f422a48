"""JPush, against a server that checks what it is told as theirs does."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from msgspec.structs import replace

from gateway.devices.base import Dead, Note, Told
from gateway.devices.jpush import JPush
from gateway.errors import PushUnavailable
from tests.devices.phones import TOKENS
from tests.fakes.jpush_server import APP_KEY, MASTER_SECRET, FakeJPush, error_body
from tests.fakes.platforms import LOSE, Mood

TOKEN = TOKENS["jpush"]


@pytest.fixture
async def platform(jpush: FakeJPush) -> AsyncIterator[JPush]:
    async with aiohttp.ClientSession() as http:
        yield JPush(http, APP_KEY, MASTER_SECRET, jpush.url)


async def test_a_note_arrives_with_its_words_and_its_version(
    platform: JPush, jpush: FakeJPush, note: Note
) -> None:
    told = await platform.push(TOKEN, note, "")
    assert isinstance(told, Told)
    assert told.reference.isdecimal()
    [shown] = jpush.taken
    assert (shown.title, shown.body) == (note.title, note.body)
    expected = {"order": note.order, "version": "7", "state": "paid", "surplus": "none"}
    assert shown.data == expected
    assert not jpush.refused


async def test_a_newer_note_takes_the_place_of_the_older(
    platform: JPush, jpush: FakeJPush, note: Note
) -> None:
    reference = ""
    for version in (7, 8, 9):
        told = await platform.push(TOKEN, replace(note, version=version), reference)
        assert isinstance(told, Told)
        reference = told.reference
    assert [shown.version for shown in jpush.screen(TOKEN)] == [9]


async def test_a_registration_id_that_nobody_has_is_dead(platform: JPush, note: Note) -> None:
    assert await platform.push("140fe1da9e9b0a3d0f1", note, "") == Dead()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, error_body(1003), "answered 400 1003"),
        (401, error_body(1004), "answered 401 1004"),
        (429, error_body(2002), "answered 429 2002"),
        (403, error_body(2003), "answered 403 2003"),
        (500, error_body(1000), "answered 500 1000"),
        (502, b"<html></html>", "answered 502"),
        (400, b'{"error": 1011}', "answered 400"),
        (302, b"", "answered 302"),
    ],
)
async def test_what_is_wrong_with_us_or_them_costs_no_token(
    platform: JPush, jpush: FakeJPush, note: Note, status: int, body: bytes, why: str
) -> None:
    jpush.moods.append(Mood(status, body, {"X-Rate-Limit-Reset": "42", "Location": "/elsewhere"}))
    with pytest.raises(PushUnavailable, match=f"{why}$") as caught:
        await platform.push(TOKEN, note, "")
    assert caught.value.wait_s == 42


async def test_a_wrong_secret_costs_no_token(jpush: FakeJPush, note: Note) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(PushUnavailable, match="answered 401"):
            await JPush(http, APP_KEY, "wrong", jpush.url).push(TOKEN, note, "")


async def test_a_lost_answer_says_nothing_of_the_token(
    platform: JPush, jpush: FakeJPush, note: Note
) -> None:
    jpush.moods.append(LOSE)
    with pytest.raises(PushUnavailable):
        await platform.push(TOKEN, note, "")
