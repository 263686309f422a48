"""The wire to Stripe: forms with brackets there, JSON back, and TLS to say whose it is.

Answers are not signed. What is repeated under the same Idempotency-Key is answered what the first
call was, for a day, and that is said by a header; an error inside Stripe is answered again so, too.
No call is repeated here, and no redirect followed: the key goes to one host.

Stripe's own package would be the client, but it is 31 MB with four more packages, takes 0.2 s and
33 MB to load, and keeps connections of its own. It runs in the tests, against the sandbox.
"""

import asyncio
from typing import Final, TypeVar
from urllib.parse import urlencode

import aiohttp
from msgspec import Struct
from yarl import URL

from gateway.channels.downloads import MOST_ANSWERED, read_within
from gateway.channels.stripe_account import Credentials
from gateway.channels.stripe_codes import nothing_known
from gateway.channels.stripe_wire import (
    API_VERSION,
    ErrorAnswer,
    ErrorBody,
    Fields,
    read_body,
)
from gateway.errors import ChannelUnavailable

DEADLINE_S: Final = 5.0
# After these, it was refused and nothing was done.
_REFUSALS: Final = frozenset({400, 402, 404})
# After these too, but the key is wrong, and not what was asked for: with another it is done.
_NOT_LET_IN: Final = frozenset({401, 403})

Body = TypeVar("Body")


class Heard(Struct, frozen=True):
    """An answer; `error` is there where it is no. `replayed`: it was given before."""

    body: bytes
    error: ErrorBody | None
    replayed: bool

    def expect(self, kind: type[Body]) -> Body:
        """Return what it says as `kind`. Raises ChannelUnavailable where it says something else."""
        if self.error is not None:
            raise nothing_known(self.error)
        body = read_body(self.body, kind)
        if body is None:
            raise ChannelUnavailable(f"the answer is not a {kind.__name__}")
        return body

    @property
    def missing(self) -> bool:
        """Does it say that there is no such thing?"""
        return self.error is not None and self.error.code == "resource_missing"


class Connection:
    """Calls Stripe as one merchant, over a session that keeps its connections."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.deadline_s = deadline_s
        self._host = credentials.host
        self._headers = {
            "Authorization": f"Bearer {credentials.secret_key}",
            "Stripe-Version": API_VERSION,
        }
        self._http = http

    async def get(self, path: str, fields: Fields | None = None) -> Heard:
        """Read something. Raises ChannelUnavailable where no answer came."""
        query = f"?{urlencode(fields)}" if fields else ""
        return await self._call("GET", path + query, None, {})

    async def post(self, path: str, fields: Fields, key: str | None = None) -> Heard:
        """Do something, once for a `key`. Raises ChannelUnavailable where no answer came."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._call("POST", path, urlencode(fields), headers)

    async def _call(self, method: str, path: str, data: str | None, headers: Fields) -> Heard:
        try:
            async with (
                asyncio.timeout(self.deadline_s),
                self._http.request(
                    method,
                    URL(self._host + path, encoded=True),
                    data=data,
                    headers=self._headers | headers,
                    allow_redirects=False,
                ) as response,
            ):
                body = await read_within(response, MOST_ANSWERED)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self.deadline_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        if response.status == 200:
            return Heard(body, None, replayed)
        answer = read_body(body, ErrorAnswer)
        # An error inside Stripe is believed when it is said again: it will not change any more.
        told = response.status in _REFUSALS or (response.status >= 500 and replayed)
        if answer is not None and response.status in _NOT_LET_IN:
            raise nothing_known(answer.error)
        if answer is None or not told:
            raise ChannelUnavailable(f"HTTP {response.status}")
        return Heard(body, answer.error, replayed)
