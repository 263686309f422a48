"""Where the channels' callbacks arrive: nothing goes on to the gateway unless a step says so.

So a callback is late, lost, repeated and out of order exactly as the list of steps has it. To the
channel every one is acknowledged; whatever is delivered again here is its resend.
"""

import aiohttp
from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict

_OF_THE_WIRE = ("Host", "Content-Length", "Accept", "Accept-Encoding", "Transfer-Encoding")


class Letter(Struct):
    """A callback as the channel sent it."""

    path: str
    headers: CIMultiDict[str]
    body: bytes
    acknowledged: bool = False

    def __str__(self) -> str:
        return f"{self.path.rpartition('/')[2]} callback"


class Postbox:
    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.app = web.Application()
        self.app.router.add_post("/callbacks/{account}", self._take)

    async def _take(self, request: web.Request) -> web.Response:
        headers = CIMultiDict(request.headers)
        for name in _OF_THE_WIRE:
            headers.popall(name, None)
        self.letters.append(Letter(request.path, headers, await request.read()))
        return web.Response(text="success")  # the word that Alipay wants; WeChat Pay takes any 200


async def deliver(http: aiohttp.ClientSession, gateway: str, letter: Letter) -> str:
    """Hand a callback to the gateway; returns what it answered."""
    async with http.post(gateway + letter.path, data=letter.body, headers=letter.headers) as answer:
        said = await answer.text()
        # Alipay's refusals are a 200 that does not say success.
        taken = answer.status in (200, 204) and said in ("", "success", "ok")
        letter.acknowledged |= taken
        return "acknowledged" if taken else f"refused with {answer.status} {said[:60]}".strip()


def forged(letter: Letter) -> Letter:
    """The same with a little changed, as by somebody who saw one and has no key."""
    body = letter.body
    at = len(body) // 2
    while not chr(body[at]).isalnum():
        at += 1
    other = b"b" if body[at : at + 1] == b"a" else b"a"
    return Letter(letter.path, letter.headers.copy(), body[:at] + other + body[at + 1 :])
