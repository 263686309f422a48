"""HTTP as buyers' and merchants' programs do it: what was not answered is said again."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeVar

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from tests.chaos.sightings import Sightings

_ONE_CALL_S: Final = 8.0
_PATIENCE_S: Final = 20.0
_LONGEST_PAUSE_S: Final = 2.0
_PASSING: Final = ("apply_in_progress", "request_in_progress")

Wanted = TypeVar("Wanted")


class GaveUp(Exception):
    """Nothing came for so long that a person goes away."""


class Problem(Struct, frozen=True):
    code: str = ""
    detail: str = ""


class Answer(Struct, frozen=True):
    """`began` is when the call that was answered began, by the monotonic clock."""

    status: int
    body: bytes
    began: float

    @property
    def good(self) -> bool:
        return self.status < 300

    @property
    def code(self) -> str:
        """The code of a problem; of what is none, nothing."""
        try:
            return msgspec.json.decode(self.body, type=Problem).code
        except msgspec.DecodeError:
            return ""

    def read(self, kind: type[Wanted]) -> Wanted:
        return msgspec.json.decode(self.body, type=kind)


class Client:
    """Calls until there is an answer that says something."""

    def __init__(self, http: aiohttp.ClientSession, sightings: Sightings) -> None:
        self._http = http
        self.sightings = sightings

    async def call(
        self,
        method: str,
        url: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> Answer:
        """Raises GaveUp when nobody said anything, or only "not now", for `patience_s`."""
        until = time.monotonic() + patience_s
        pause_s = 0.1
        said = {"Content-Type": "application/json", **(headers or {})}
        data = None if body is None else msgspec.json.encode(body)
        while time.monotonic() < until:
            answer = await self._once(method, url, data, said)
            if answer is not None and not _passing(answer):
                return answer
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise GaveUp(url)

    async def visit(self, url: str, fields: Mapping[str, str]) -> None:
        """Open a page as a browser does, with a form where there are fields; once."""
        verb = "POST" if fields else "GET"
        there = URL(url, encoded=True)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with (
                asyncio.timeout(_ONE_CALL_S),
                self._http.request(verb, there, data=fields or None, allow_redirects=False),
            ):
                pass

    async def _once(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]
    ) -> Answer | None:
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(_ONE_CALL_S),
                self._http.request(method, url, data=data, headers=headers) as response,
            ):
                answer = Answer(response.status, await response.read(), began)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.sightings.answers[type(error).__name__] += 1
            return None
        self.sightings.answers[f"{answer.status} {answer.code}".rstrip()] += 1
        if answer.status == 500:
            said = answer.body.decode(errors="replace")
            self.sightings.problems.append(f"{method} {url} answered 500: {said}")
        return answer


def _passing(answer: Answer) -> bool:
    return answer.status >= 500 or answer.status == 429 or answer.code in _PASSING
