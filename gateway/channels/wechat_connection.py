"""The wire to WeChat Pay: each call is signed by us, and each good answer is verified.

No call is repeated here, save that aiohttp sends a GET once more whose connection was cut.
A 2xx counts only with a fresh signature of WeChat Pay over its body, the empty body of a 204 too.
Refusals carry no signature, so the status is looked at first, and what they say is never evidence
of money.
"""

import asyncio
import secrets
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct
from yarl import URL

from gateway import __version__
from gateway.channels import signing
from gateway.channels.base import Clock
from gateway.channels.downloads import MOST_ANSWERED, MOST_DOWNLOADED, downloading, read_within
from gateway.channels.wechat_codes import sentence_of
from gateway.channels.wechat_keys import (
    SIGNATURE_TYPE,
    PlatformKey,
    PlatformKeys,
    read_certificates,
)
from gateway.channels.wechat_wire import Answer
from gateway.errors import BadCallback, ChannelUnavailable, UnknownKey

DEADLINE_S: Final = 5.0
CERTIFICATES: Final = "/v3/certificates"


class Credentials(Struct, frozen=True):
    """Who we are at WeChat Pay, and what we share with it; its repr has no secret in it."""

    mchid: str
    appid: str
    merchant_serial: str
    merchant_key: RSAPrivateKey
    apiv3_key: bytes
    base_url: str
    public_key_id: str  # empty: WeChat Pay signs with a platform certificate
    fixed_keys: dict[str, PlatformKey]
    download_certificates: bool
    app_secret: str  # empty: nobody is asked for an openid
    oauth_base_url: str
    oauth_api_base_url: str

    def __repr__(self) -> str:
        return f"Credentials(mchid={self.mchid!r}, appid={self.appid!r})"


class Connection:
    """Calls WeChat Pay as one merchant, over a session that keeps its connections."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.clock = clock
        self._deadline_s = deadline_s
        self.keys = PlatformKeys(
            credentials.fixed_keys,
            credentials.apiv3_key,
            self._download_certificates if credentials.download_certificates else None,
            clock,
        )
        self._credentials = credentials
        self._http = http
        self._origin = str(URL(credentials.base_url).origin())
        self._path = URL(credentials.base_url).raw_path.rstrip("/")

    async def call(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Return the answer to one signed call; a 2xx is verified, anything else is not.

        `target` is path and query, escaped. Raises ChannelUnavailable when nothing came within the
        deadline, downloading unknown keys included, or when a 2xx is not WeChat Pay's.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._send(method, target, body)
                if answer.good:
                    await self._verify(answer)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        self.keys.refresh_when_old()
        return answer

    async def prove(self) -> None:
        """Ask for the certificates, which are signed, and sealed with the APIv3 key.

        A merchant that has only the public key is told that there are none, and that is not signed.
        Raises ChannelUnavailable.
        """
        answer = await self.call("GET", CERTIFICATES)
        if answer.status == 404:
            return
        if answer.status != 200:
            raise ChannelUnavailable(sentence_of(answer))
        read_certificates(answer, self._credentials.apiv3_key)

    async def download(self, url: str) -> Answer:
        """Return a file that an answer named; nobody signs it. Raises ChannelUnavailable.

        It is asked for where all else is: what is signed with our key goes to no other host.
        """
        async with downloading():
            target = URL(url, encoded=True).raw_path_qs.removeprefix(self._path)
            return await self._send("GET", target, b"", MOST_DOWNLOADED)

    def sign(self, *lines: str) -> str:
        """Sign lines that each end in a line break, as the merchant; inline, see `signing`."""
        message = "".join(f"{line}\n" for line in lines)
        return signing.sign(self._credentials.merchant_key, message.encode())

    async def _send(
        self, method: str, target: str, body: bytes, most: int = MOST_ANSWERED
    ) -> Answer:
        path = self._path + target
        headers = {
            "Authorization": self._authorization(method, path, body.decode()),
            "Accept": "application/json",
            "User-Agent": f"PayOnce/{__version__}",
            # The signature is over the body as it was before any compression.
            "Accept-Encoding": "identity",
        }
        if body:
            headers["Content-Type"] = "application/json"
        if self._credentials.public_key_id:
            headers["Wechatpay-Serial"] = self._credentials.public_key_id
        url = URL(self._origin + path, encoded=True)
        async with self._http.request(
            method, url, data=body or None, headers=headers, allow_redirects=False
        ) as response:
            content = await read_within(response, most)
            return Answer(response.status, response.headers, content)

    def _authorization(self, method: str, path: str, body: str) -> str:
        timestamp = str(int(self.clock().timestamp()))
        nonce = secrets.token_hex(16)
        signature = self.sign(method, path, timestamp, nonce, body)
        mine = self._credentials
        return (
            f'{SIGNATURE_TYPE} mchid="{mine.mchid}",nonce_str="{nonce}",signature="{signature}",'
            f'timestamp="{timestamp}",serial_no="{mine.merchant_serial}"'
        )

    async def _verify(self, answer: Answer) -> None:
        try:
            try:
                self.keys.current.check(answer.headers, answer.body, self.clock())
            except UnknownKey:
                await self.keys.refresh()
                self.keys.current.check(answer.headers, answer.body, self.clock())
        except BadCallback as error:
            raise ChannelUnavailable(
                f"an answer that is not WeChat Pay's: {error}; check public_key and public_key_id, "
                "or platform_certificates"
            ) from error

    async def _download_certificates(self) -> Answer:
        """Fetch the sealed list. It is not verified here: its own certificates must do that."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._send("GET", CERTIFICATES, b"")
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
