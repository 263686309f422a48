"""APNs, against an HTTP/2 server behind TLS that checks what it is told as Apple's does."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.devices.apns import Apns, ApnsKey, apns_client
from gateway.devices.base import Dead, Note, Told
from gateway.errors import PushUnavailable
from tests.devices.phones import TOKENS
from tests.fakes.apns_server import GO_AWAY, KEY_ID, TEAM_ID, TOPIC, FakeApns, p8
from tests.fakes.platforms import LOSE, Mood

TOKEN = TOKENS["apns"]
KEY = ApnsKey(p8(), KEY_ID, TEAM_ID, TOPIC)
MINUTE = 60.0


class Clock:
    """Apple's clock and ours, put forward by the test."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(apns: FakeApns) -> Clock:
    apns.clock = Clock()
    return apns.clock


@pytest.fixture
async def platform(apns: FakeApns, clock: Clock) -> AsyncIterator[Apns]:
    async with apns_client() as http:
        yield Apns(http, KEY, apns.url, clock)


async def test_a_note_arrives_with_its_words_and_its_version(
    platform: Apns, apns: FakeApns, note: Note
) -> None:
    assert await platform.push(TOKEN, note, "") == Told()
    [shown] = apns.taken
    assert (shown.title, shown.body) == (note.title, note.body)
    expected = {"order": note.order, "version": "7", "state": "paid", "surplus": "none"}
    assert shown.data == expected
    assert not apns.refused


async def test_a_newer_note_takes_the_place_of_the_older(
    platform: Apns, apns: FakeApns, note: Note
) -> None:
    await platform.push(TOKEN, note, "")
    await platform.push(TOKEN, replace(note, version=8), "")
    assert [shown.version for shown in apns.screen(TOKEN)] == [8]


async def test_many_pushes_at_once_share_a_few_connections_and_one_signature(
    platform: Apns, apns: FakeApns, note: Note
) -> None:
    await asyncio.gather(*(platform.push(TOKEN, note, "") for _ in range(50)))
    assert (len(apns.taken), len(apns.signatures)) == (50, 1)
    assert apns.connections <= 4


async def test_a_signature_is_made_anew_between_twenty_minutes_and_an_hour(
    platform: Apns, apns: FakeApns, note: Note, clock: Clock
) -> None:
    began = clock.now
    for minute in range(0, 181, 5):
        clock.now = began + minute * MINUTE
        assert isinstance(await platform.push(TOKEN, note, ""), Told)
    assert not apns.refused
    assert len(apns.signatures) == 5


async def test_an_expired_signature_is_replaced_at_once(
    platform: Apns, apns: FakeApns, note: Note, clock: Clock
) -> None:
    await platform.push(TOKEN, note, "")
    clock.now += 30 * MINUTE
    apns.moods.append(Mood(403, b'{"reason":"ExpiredProviderToken"}'))
    assert isinstance(await platform.push(TOKEN, note, ""), Told)
    assert len(apns.signatures) == 2


async def test_a_young_signature_is_kept_though_it_is_called_expired(
    platform: Apns, apns: FakeApns, note: Note
) -> None:
    """Two clocks disagree: more signatures would only be refused as too many."""
    apns.moods.append(Mood(403, b'{"reason":"ExpiredProviderToken"}'))
    with pytest.raises(PushUnavailable, match="answered 403"):
        await platform.push(TOKEN, note, "")
    assert isinstance(await platform.push(TOKEN, note, ""), Told)
    assert len(apns.signatures) == 1


async def test_a_token_that_was_never_or_is_no_longer_there_is_dead(
    platform: Apns, apns: FakeApns, note: Note
) -> None:
    assert await platform.push("ab" * 32, note, "") == Dead()  # 410 Unregistered
    assert await platform.push("ab" * 50, note, "") == Dead()  # 400 BadDeviceToken
    assert apns.refused == ["Unregistered", "BadDeviceToken"]


async def test_another_teams_key_costs_no_token(apns: FakeApns, note: Note) -> None:
    async with apns_client() as http:
        platform = Apns(http, replace(KEY, team_id="OTHERTEAM1"), apns.url)
        with pytest.raises(PushUnavailable, match="answered 403"):
            await platform.push(TOKEN, note, "")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"reason":"BadTopic"}'),
        (413, b'{"reason":"PayloadTooLarge"}'),
        (429, b'{"reason":"TooManyRequests"}'),
        (500, b"not JSON"),
        (503, b'{"reason":["Unregistered"]}'),
    ],
)
async def test_what_is_wrong_with_us_or_them_costs_no_token(
    platform: Apns, apns: FakeApns, note: Note, status: int, body: bytes
) -> None:
    apns.moods.append(Mood(status, body, {"retry-after": "30"}))
    with pytest.raises(PushUnavailable, match=f"answered {status}") as caught:
        await platform.push(TOKEN, note, "")
    assert caught.value.wait_s == 30


@pytest.mark.parametrize("mood", [LOSE, GO_AWAY])
async def test_a_connection_that_dies_is_made_again(
    platform: Apns, apns: FakeApns, note: Note, mood: Mood
) -> None:
    assert isinstance(await platform.push(TOKEN, note, ""), Told)
    apns.moods.append(mood)
    with pytest.raises(PushUnavailable) as caught:
        await platform.push(TOKEN, note, "")
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    assert isinstance(await platform.push(TOKEN, note, ""), Told)
    assert apns.connections == 2


async def test_a_repeat_has_the_id_of_the_first(platform: Apns, apns: FakeApns, note: Note) -> None:
    apns.moods.append(LOSE)
    with pytest.raises(PushUnavailable):
        await platform.push(TOKEN, note, "")
    await platform.push(TOKEN, note, "")
    assert len(apns.ids) == 2
    assert len(set(apns.ids)) == 1
    assert len(apns.screen(TOKEN)) == 1


async def test_a_server_of_an_unknown_ca_is_told_nothing(
    apns: FakeApns, note: Note, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    async with apns_client() as http:
        with pytest.raises(PushUnavailable, match="ConnectError"):
            await Apns(http, KEY, apns.url).push(TOKEN, note, "")
    assert not apns.taken


async def test_no_library_writes_down_the_url_that_holds_the_token(
    platform: Apns, note: Note, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await platform.push(TOKEN, note, "")
    assert TOKEN not in caplog.text
