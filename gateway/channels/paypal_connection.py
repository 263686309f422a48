"""The wire to PayPal: each call carries a token, which is asked for once for all who need it.

Answers are not signed: that they came over TLS from the host that we called is what makes them
PayPal's. No call is repeated here, save one that a token was refused for, and that did nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

import aiohttp
from msgspec import Meta, Struct

from gateway import __version__
from gateway.channels.base import Clock
from gateway.channels.downloads import MOST_ANSWERED, read_within
from gateway.channels.paypal_account import Credentials
from gateway.channels.paypal_wire import Refusal, read_body
from gateway.errors import ChannelUnavailable

DEADLINE_S: Final = 5.0
TOKEN: Final = "/v1/oauth2/token"
RENEW_BEFORE: Final = timedelta(minutes=5)

Body = TypeVar("Body")


class Answer(Struct, frozen=True):
    """What came back, good or bad."""

    status: int
    body: bytes

    @property
    def refusal(self) -> Refusal:
        return read_body(self.body, Refusal) or Refusal()

    def expect(self, kind: type[Body]) -> Body:
        """Return what it says as `kind`. Raises ChannelUnavailable where it says something else."""
        body = read_body(self.body, kind)
        if body is None:
            raise ChannelUnavailable(f"the answer is not a {kind.__name__}")
        return body


class Granted(Struct, frozen=True):
    """The answer to the token call."""

    access_token: str
    expires_in: Annotated[int, Meta(ge=0, le=10**9)]


class Tokens:
    """The token of one app, renewed before it ends, once for all who wait for it."""

    def __init__(self, fetch: Callable[[], Awaitable[Granted]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token = ""
        self._ends_at = datetime.min.replace(tzinfo=UTC)
        self._renewing: asyncio.Task[None] | None = None
        self._why: ChannelUnavailable | None = None

    async def current(self) -> str:
        """Return a token that is good for minutes. Raises ChannelUnavailable."""
        if not self._token or self._clock() >= self._ends_at - RENEW_BEFORE:
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew())
            await asyncio.shield(self._renewing)
        if not self._token or self._clock() >= self._ends_at:
            raise ChannelUnavailable(f"no token: {self._why}") from self._why
        return self._token

    async def instead_of(self, refused: str) -> str:
        """Return another token than one that PayPal refused. Raises ChannelUnavailable."""
        if self._token == refused:
            self._token = ""
        return await self.current()

    async def _renew(self) -> None:
        asked_at = self._clock()
        try:
            granted = await self._fetch()
        except ChannelUnavailable as error:
            self._why = error  # the one that we have may be good for a while yet
        else:
            self._token = granted.access_token
            self._ends_at = asked_at + timedelta(seconds=granted.expires_in)
        finally:
            self._renewing = None


class Connection:
    """Calls PayPal as one app, over a session that keeps its connections."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.clock = clock
        self._deadline_s = deadline_s
        self._credentials = credentials
        self._http = http
        self._tokens = Tokens(self._grant, clock)

    async def call(
        self, method: str, path: str, body: bytes = b"", *, request_id: str = ""
    ) -> Answer:
        """Return the answer to one call; `request_id` makes it one call however often it is made.

        Raises ChannelUnavailable when nothing came within the deadline, asking for a token
        included.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                token = await self._tokens.current()
                answer = await self._send(method, path, body, request_id, token)
                if answer.status == 401:
                    token = await self._tokens.instead_of(token)
                    answer = await self._send(method, path, body, request_id, token)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        return answer

    async def _send(
        self, method: str, path: str, body: bytes, request_id: str, token: str
    ) -> Answer:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": f"PayOnce/{__version__}",
        }
        if body:
            headers |= {"Content-Type": "application/json", "Prefer": "return=representation"}
        if request_id:
            headers["PayPal-Request-Id"] = request_id
        async with self._http.request(
            method,
            self._credentials.base_url + path,
            data=body or None,
            headers=headers,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, await read_within(response, MOST_ANSWERED))

    async def _grant(self) -> Granted:
        mine = self._credentials
        headers = {
            "Authorization": aiohttp.encode_basic_auth(mine.client_id, mine.client_secret),
            "Accept": "application/json",
            "User-Agent": f"PayOnce/{__version__}",
        }
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._http.post(
                    mine.base_url + TOKEN,
                    data={"grant_type": "client_credentials"},
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                answer = Answer(response.status, await read_within(response, MOST_ANSWERED))
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        if answer.status != 200:
            said = f"{answer.status} {answer.refusal.error}"
            raise ChannelUnavailable(f"{said} (check client_id, client_secret and base_url)")
        granted = answer.expect(Granted)
        if not granted.access_token.isascii() or not granted.access_token.isprintable():
            raise ChannelUnavailable("the token cannot be sent")
        return granted
