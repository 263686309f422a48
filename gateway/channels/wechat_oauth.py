"""Who is at a browser inside WeChat: the openid, by OAuth with the scope snsapi_base.

The browser is sent to WeChat, which asks the buyer nothing, and comes back with a code; we exchange
the code server to server. WeChat wants the app's secret in the URL of that call, so nothing here
says a URL: errors carry WeChat's number of what was wrong, never its words or ours.
"""

import asyncio
import re
from typing import Final
from urllib.parse import urlencode

import aiohttp
from msgspec import Struct

from gateway.channels.downloads import MOST_ANSWERED, read_within
from gateway.channels.wechat_connection import Credentials
from gateway.channels.wechat_wire import read_body
from gateway.errors import ChannelRefused, ChannelUnavailable

_OPENID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_LONGEST_CODE: Final = 512
# Of no use: not WeChat's, used before, older than its five minutes, not there at all.
_USELESS_CODES: Final = frozenset({40029, 40163, 42003, 41008})
_HINTS: Final = {
    40013: "check appid",
    40125: "check app_secret",
}


class OAuthAnswer(Struct, frozen=True):
    """What the exchange answers, good or bad; its access_token is not read, for it is not used."""

    errcode: int = 0
    openid: str = ""


class WeChatOAuth:
    """One app at WeChat; see `gateway.channels.base.Recogniser`."""

    def __init__(
        self, credentials: Credentials, http: aiohttp.ClientSession, deadline_s: float
    ) -> None:
        self._credentials = credentials
        self._http = http
        self._deadline_s = deadline_s

    @property
    def app(self) -> str:
        return self._credentials.appid

    def address(self, way_back: str, state: str) -> str:
        """Return where the browser is sent; WeChat's documents fix the order and the fragment."""
        query = {
            "appid": self._credentials.appid,
            "redirect_uri": way_back,
            "response_type": "code",
            "scope": "snsapi_base",
            "state": state,
        }
        authorize = f"{self._credentials.oauth_base_url}/connect/oauth2/authorize"
        return f"{authorize}?{urlencode(query)}#wechat_redirect"

    async def payer(self, code: str) -> str:
        """Exchange a code, which lives five minutes and is good for one exchange."""
        if not 0 < len(code) <= _LONGEST_CODE:
            raise ChannelRefused("code", "that is no code of WeChat's")
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._exchange(code)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error
        except aiohttp.ClientError as error:
            # The cause is left out: aiohttp's errors may name the URL.
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from None
        if answer.errcode in _USELESS_CODES:
            raise ChannelRefused(str(answer.errcode), "the code is of no use, or no longer")
        if answer.errcode or not _OPENID.fullmatch(answer.openid):
            hint = _HINTS.get(answer.errcode, "no openid came")
            raise ChannelUnavailable(f"WeChat answered errcode {answer.errcode}: {hint}")
        return answer.openid

    async def _exchange(self, code: str) -> OAuthAnswer:
        query = {
            "appid": self._credentials.appid,
            "secret": self._credentials.app_secret,
            "code": code,
            "grant_type": "authorization_code",
        }
        url = f"{self._credentials.oauth_api_base_url}/sns/oauth2/access_token"
        async with self._http.get(url, params=query, allow_redirects=False) as response:
            # It is JSON that calls itself text/plain.
            answer = read_body(await read_within(response, MOST_ANSWERED), OAuthAnswer)
        if answer is None:
            raise ChannelUnavailable("the answer is not WeChat's")
        return answer
