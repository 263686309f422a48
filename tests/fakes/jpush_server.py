"""JPush's Push API v3 on a local server."""

import json
from base64 import b64encode
from itertools import count

import msgspec
from aiohttp import web
from msgspec import Struct

from tests.fakes.platforms import FakePlatform, Shown

APP_KEY = "7d431e42dfa6a6d693ac2d04"
MASTER_SECRET = "5e987ac6d2e04d95a9d8f0d1"
_BASIC = "Basic " + b64encode(f"{APP_KEY}:{MASTER_SECRET}".encode()).decode()


class Audience(Struct, forbid_unknown_fields=True):
    registration_id: list[str]


class AndroidNotification(Struct, forbid_unknown_fields=True):
    title: str
    alert: str
    extras: dict[str, str]


class Alert(Struct, forbid_unknown_fields=True):
    title: str
    body: str


class IosNotification(Struct, forbid_unknown_fields=True, rename={"thread_id": "thread-id"}):
    alert: Alert
    sound: str
    thread_id: str
    extras: dict[str, str]


class Notification(Struct, forbid_unknown_fields=True):
    android: AndroidNotification
    ios: IosNotification


class Options(Struct, forbid_unknown_fields=True):
    time_to_live: int
    apns_production: bool
    apns_collapse_id: str
    override_msg_id: int | None = None


class PushRequest(Struct, forbid_unknown_fields=True):
    platform: list[str]
    audience: Audience
    notification: Notification
    options: Options


class FakeJPush(FakePlatform):
    def __init__(self) -> None:
        super().__init__()
        self.overridden: list[int | None] = []
        self._ids = count(1_828_256_757)
        self._collapse: dict[int, str] = {}  # what an Android screen keeps a message under
        self.app = web.Application()
        self.app.router.add_post("/v3/push", self._push)

    async def _push(self, request: web.Request) -> web.Response:
        mood = self.mood()
        if mood is not None and mood.instead == "stall":
            await self.stand_still()
        elif mood is not None and mood.instead == "answer":
            return web.Response(status=mood.status, body=mood.body, headers=mood.headers)
        if request.headers.get("Authorization") != _BASIC:
            return error(401, 1004)
        try:
            said = msgspec.json.decode(await request.read(), type=PushRequest)
            [token] = said.audience.registration_id
            assert said.platform == ["android", "ios"], "platform"
            assert 0 < said.options.time_to_live <= 864_000, "time_to_live"
            assert len(said.options.apns_collapse_id) <= 64, "apns_collapse_id"
        except (msgspec.ValidationError, ValueError, AssertionError) as fault:
            self.refused.append(repr(fault))
            return error(400, 1003)
        if token not in self.living:
            return error(400, 1011)
        replaced = said.options.override_msg_id
        self.overridden.append(replaced)
        message_id = next(self._ids)
        collapse = self._collapse.get(replaced or 0, str(message_id))
        self._collapse[message_id] = collapse
        android = said.notification.android
        self.taken.append(Shown(token, collapse, android.title, android.alert, android.extras))
        if mood is not None and mood.instead == "lose":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"sendno": "0", "msg_id": str(message_id)})


def error_body(code: int) -> bytes:
    return json.dumps({"error": {"code": code, "message": "It is not so."}}).encode()


def error(status: int, code: int) -> web.Response:
    return web.Response(status=status, body=error_body(code), content_type="application/json")
