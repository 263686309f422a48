"""JPush (极光推送), Push API v3.

What is sent: https://docs.jiguang.cn/jpush/server/push/rest_api_v3_push
What is answered: the return codes at the end of that page.

There is a `cid` against double pushes, but each must first be fetched from a pool of theirs: a
round trip for every note, to spare a buyer who has a note already the same note once more.
"""

import re
from typing import Final

import aiohttp
from msgspec import Struct

from gateway.devices.base import KEPT_FOR_S, Dead, Note, Told, encode, post, read
from gateway.errors import PushUnavailable

_TOKEN: Final = re.compile(r"[0-9a-zA-Z]{1,64}")
_MESSAGE: Final = re.compile(r"[0-9]{1,19}")
_NOBODY_THERE: Final = 1011  # no such registration id, or silent for 255 days


class _Error(Struct, frozen=True):
    code: int


class _Answered(Struct, frozen=True):
    """The message's id, which comes as text or as a number, or an error."""

    msg_id: str | int = ""
    error: _Error | None = None


class JPush:
    def __init__(
        self, http: aiohttp.ClientSession, app_key: str, master_secret: str, url: str
    ) -> None:
        self._http = http
        self._url = f"{url.rstrip('/')}/v3/push"
        self._headers = {
            "Authorization": aiohttp.encode_basic_auth(app_key, master_secret),
            "Content-Type": "application/json",
        }

    def takes(self, token: str) -> bool:
        """Is it what their SDK calls a registration id?"""
        return _TOKEN.fullmatch(token) is not None

    async def push(self, token: str, note: Note, replaces: str) -> Told | Dead:
        """Push a notification over the one before it: Android's by its message id, which holds for
        a day, Apple's by the collapse id.
        """
        answer = await post(
            self._http, self._url, encode(_body(token, note, replaces)), self._headers
        )
        answered = read(answer.body, _Answered) or _Answered()
        if answer.status == 200:
            message = str(answered.msg_id)
            return Told(message if _MESSAGE.fullmatch(message) else "")
        if answered.error is None:
            raise PushUnavailable(f"answered {answer.status}", answer.wait_s)
        if answered.error.code == _NOBODY_THERE:
            return Dead()
        raise PushUnavailable(f"answered {answer.status} {answered.error.code}", answer.wait_s)


def _body(token: str, note: Note, replaces: str) -> dict[str, object]:
    options: dict[str, object] = {
        "time_to_live": KEPT_FOR_S,
        "apns_production": True,
        "apns_collapse_id": note.order,
    }
    if replaces:
        options["override_msg_id"] = int(replaces)
    return {
        "platform": ["android", "ios"],
        "audience": {"registration_id": [token]},
        "notification": {
            "android": {"title": note.title, "alert": note.body, "extras": note.data()},
            "ios": {
                "alert": {"title": note.title, "body": note.body},
                "sound": "default",
                "thread-id": note.order,
                "extras": note.data(),
            },
        },
        "options": options,
    }
