"""The wire to Alipay: each call is signed by us, and each answer must be signed by Alipay.

Every answer is HTTP 200, refusals too; what counts is the object inside, and only with a signature
over its very bytes. So it is cut out of the answer as it was sent and never written anew: Alipay
escapes what other writers of JSON do not. No call is repeated here.
"""

import asyncio
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from msgspec import Struct
from yarl import URL

from gateway import __version__
from gateway.channels import signing
from gateway.channels.alipay_certificates import Trust
from gateway.channels.alipay_codes import sentence_of
from gateway.channels.alipay_keys import AlipayKeys, Envelope
from gateway.channels.alipay_wire import (
    Answer,
    Method,
    china_time,
    read_body,
    write_certificate_query,
)
from gateway.channels.base import Clock
from gateway.channels.downloads import MOST_ANSWERED, MOST_DOWNLOADED, downloading, read_within
from gateway.channels.forms import text_to_sign
from gateway.errors import BadCallback, ChannelUnavailable

DEADLINE_S: Final = 5.0
SIGN_TYPE: Final = "RSA2"


class Credentials(Struct, frozen=True):
    """Who we are at Alipay, and whom we believe; its repr has no secret in it."""

    app_id: str
    app_key: RSAPrivateKey
    seller_id: str  # empty: not checked
    gateway: str  # the one URL of all calls
    fixed_keys: dict[str, RSAPublicKey]
    trust: Trust | None  # None: public-key mode

    def __repr__(self) -> str:
        return f"Credentials(app_id={self.app_id!r}, seller_id={self.seller_id!r})"


class _Inner(Struct, frozen=True):
    """What every answer says of itself."""

    code: str
    sub_code: str = ""
    msg: str = ""
    sub_msg: str = ""


class Connection:
    """Calls Alipay as one app, over a session that keeps its connections."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.clock = clock
        self.keys = AlipayKeys(
            credentials.fixed_keys, credentials.trust, self._download_certificate, clock
        )
        self._deadline_s = deadline_s
        self._credentials = credentials
        self._http = http

    async def call(self, method: Method, content: str, *, notify_url: str = "") -> Answer:
        """Return the signed answer to one call, whether it says yes or no.

        `content` is the `biz_content`. Raises ChannelUnavailable when nothing came within the
        deadline, downloading an unknown certificate included, or when it is not Alipay's: the
        gateway's own errors (a wrong app_id, say) carry no signature, and so tell nothing.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                envelope = await self._send(method, content, notify_url)
                await self.keys.check_answer(envelope)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error
        except BadCallback as error:
            raise ChannelUnavailable(
                f"an answer that is not Alipay's: {error}; check alipay_public_key, or "
                "alipay_certificate and root_certificate"
            ) from error
        inner = read_body(envelope.inner, _Inner)
        if inner is None:
            raise ChannelUnavailable("the answer has no code")
        return Answer(envelope.inner, inner.code, inner.sub_code, inner.sub_msg or inner.msg)

    async def download(self, url: str) -> bytes:
        """Return a file that a signed answer named. Raises ChannelUnavailable."""
        async with (
            downloading(),
            self._http.get(URL(url, encoded=True), allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ChannelUnavailable(f"no file: HTTP {response.status}")
            return await read_within(response, MOST_DOWNLOADED)

    def link(self, method: Method, content: str, *, notify_url: str, return_url: str) -> str:
        """Return the URL that a browser opens to pay. Alipay hears of it only then."""
        fields = self._signed(
            method, notify_url=notify_url, return_url=return_url, biz_content=content
        )
        return f"{self._credentials.gateway}?{_encoded(fields)}"

    def order_text(self, method: Method, content: str, *, notify_url: str) -> str:
        """Return what Alipay's SDK in the merchant's app is handed to pay with."""
        return _encoded(self._signed(method, notify_url=notify_url, biz_content=content))

    def _signed(self, method: Method, **more: str) -> dict[str, str]:
        mine = self._credentials
        fields = {
            "app_id": mine.app_id,
            "method": method.value,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": SIGN_TYPE,
            "timestamp": china_time(self.clock()),
            "version": "1.0",
        }
        if mine.trust is not None:
            fields["app_cert_sn"] = mine.trust.app_cert_sn
            fields["alipay_root_cert_sn"] = mine.trust.root_cert_sn
        fields |= {name: value for name, value in more.items() if value}
        text = text_to_sign((name.encode(), value.encode()) for name, value in fields.items())
        fields["sign"] = signing.sign(mine.app_key, text)
        return fields

    async def _send(self, method: Method, content: str, notify_url: str = "") -> Envelope:
        """The public fields go in the query and the content in the body, as Alipay's SDKs do."""
        fields = self._signed(method, notify_url=notify_url, biz_content=content)
        body = _encoded({"biz_content": fields.pop("biz_content")})
        url = URL(f"{self._credentials.gateway}?{_encoded(fields)}", encoded=True)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded;charset=utf-8",
            "User-Agent": f"PayOnce/{__version__}",
        }
        try:
            async with self._http.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                text = await read_within(response, MOST_ANSWERED)
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        if response.status != 200:
            raise ChannelUnavailable(f"HTTP {response.status}")
        return _opened(text, method)

    async def _download_certificate(self, serial: str) -> Envelope:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._send(
                    Method.DOWNLOAD_CERTIFICATE, write_certificate_query(serial)
                )
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {self._deadline_s:g} s") from error


def _opened(text: bytes, method: Method) -> Envelope:
    """Take an answer apart, the inner object byte by byte as it was sent."""
    members = read_body(text, dict[str, msgspec.Raw])
    name = method.value.replace(".", "_") + "_response"
    if members is None or not (inner := members.get(name) or members.get("error_response")):
        raise ChannelUnavailable("the answer is not one of Alipay's")
    signature = read_body(bytes(members.get("sign", b"")), str)
    serial = read_body(bytes(members.get("alipay_cert_sn", b'""')), str)
    if not signature or serial is None:
        said = read_body(bytes(inner), _Inner) or _Inner("")
        sentence = sentence_of(said.code, said.sub_code, said.sub_msg or said.msg)
        raise ChannelUnavailable(f"an answer without Alipay's signature: {sentence}")
    return Envelope(bytes(inner), signature, serial)


def _encoded(fields: dict[str, str]) -> str:
    return urlencode(fields, quote_via=quote)
