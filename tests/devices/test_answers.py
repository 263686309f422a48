"""Whatever bytes a platform answers, a push ends in one of the three ways that it can end in."""

import pytest
from msgspec.structs import replace

from gateway.devices.base import Dead, Note, Told
from gateway.devices.platforms import platforms_for
from gateway.errors import PushUnavailable
from gateway.settings import Settings
from tests.devices.phones import TOKENS, Phones
from tests.fakes.platforms import Mood

BODIES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"Unregistered"',
    b"\xff\xfe\x00",
    b"<html>502</html>",
    b'{"error":null,"reason":null,"msg_id":null}',
    b'{"error":{"code":"1011"},"reason":["Unregistered"]}',
    b'{"error":{"details":{},"code":1.5},"reason":1}',
    b'{"error":{"details":[{"errorCode":null}],"code":1e400}}',
    b'{"error":{"details":[{"fieldViolations":[{"field":7}]}]}}',
    b'{"msg_id":"\\u0000","reason":"\\u0000"}',
    b'{"msg_id":' + b"9" * 5000 + b"}",
    b'{"error":' + b"[" * 16_000,
    b'{"error":{"code":1,"details":[{"errorCode":"\xff"}]},"reason":"\xff","msg_id":"\xff"}',
]


@pytest.mark.parametrize("name", list(TOKENS))
async def test_an_answer_that_nobody_expects_is_no_fault_of_ours_and_of_no_token(
    phones: Phones, note: Note, name: str
) -> None:
    fake = phones.platforms[name]
    settings = replace(Settings(), **phones.settings(name))
    async with platforms_for(settings) as platforms:
        platform = platforms[name]
        for body in BODIES:
            fake.moods.append(Mood(200, body))
            assert await platform.push(TOKENS[name], note, "") == Told()
            for status in (400, 403, 404, 410, 429, 500):
                fake.moods.append(Mood(status, body, {"Retry-After": "9" * 400}))
                with pytest.raises(PushUnavailable, match=f"answered {status}"):
                    assert await platform.push(TOKENS[name], note, "") != Dead()
        assert not fake.moods
        assert await platform.push(TOKENS[name], note, "") != Dead()
