"""A buyer: somebody who holds a checkout URL and a browser without scripts."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from multidict import CIMultiDictProxy

from gateway.model import Order
from tests.rig import Rig

PC: Final = "Mozilla/5.0 (X11; Linux x64) Chrome/130.0 Safari/537.36"
PHONE: Final = "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/130.0 Mobile Safari/537.36"
WECHAT: Final = f"{PHONE} MicroMessenger/8.0.49"


class Shown(Struct, frozen=True):
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def kind(self) -> str:
        (kind,) = re.findall(r'data-kind="(\w+)"', self.text)
        return str(kind)

    @property
    def version(self) -> int:
        (version,) = re.findall(r'data-version="(\d+)"', self.text)
        return int(version)

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.text, type=dict[str, object])


class Buyer:
    def __init__(self, rig: Rig, order: Order, user_agent: str = PC) -> None:
        self.rig = rig
        self.path = f"/checkout/{order.token}"
        self.url = rig.url + self.path
        self.user_agent = user_agent

    async def get(self, path: str = "", headers: Mapping[str, str] | None = None) -> Shown:
        return await self.call("GET", path, headers=headers)

    async def call(
        self,
        method: str,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | bytes | None = None,
        json: object = None,
    ) -> Shown:
        said = {"User-Agent": self.user_agent, "Accept-Language": "en", **(headers or {})}
        async with self.rig.http.request(
            method, self.url + path, headers=said, data=form, json=json, allow_redirects=False
        ) as answer:
            return Shown(answer.status, answer.headers, await answer.text())

    async def choose(self, channel: str = "wechat", terminal: str = "pc") -> Shown:
        """Press the button as a browser without scripts does, and look where that leads."""
        form = {"channel": channel, "terminal": terminal}
        answer = await self.call("POST", "/attempts", form=form)
        assert answer.status == 303, answer.text
        location = answer.headers["Location"]
        assert location.startswith(self.path)
        return await self.get(location.removeprefix(self.path))
