"""The wire to UnionPay: each call is signed by us, and each answer must be signed by UnionPay.

A call is a form. An answer looks like one and is not: its values stand there as they are, so that a
plus is a plus. No call is repeated here.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import urlencode

import aiohttp

from gateway import __version__
from gateway.channels import signing
from gateway.channels.base import Clock
from gateway.channels.downloads import (
    DOWNLOAD_DEADLINE_S,
    MOST_ANSWERED,
    MOST_DOWNLOADED,
    read_within,
)
from gateway.channels.forms import read_fields
from gateway.channels.unionpay_account import Credentials
from gateway.channels.unionpay_trust import Believed, digest_to_sign
from gateway.channels.unionpay_wire import (
    SIGN_METHOD,
    VERSION,
    Answer,
    Fields,
    FileAnswer,
    Path,
)
from gateway.errors import BadCallback, ChannelUnavailable

DEADLINE_S: Final = 5.0

Body = TypeVar("Body")


class Heard(Answer, frozen=True):
    """An answer that UnionPay signed, with all its fields."""

    fields: Mapping[bytes, bytes] = {}

    def expect(self, kind: type[Body]) -> Body:
        """Return what it says as `kind`. Raises ChannelUnavailable where it says something else."""
        body = read_fields(self.fields, kind)
        if body is None:
            raise ChannelUnavailable(f"the answer is not a {kind.__name__}")
        return body


class Connection:
    """Calls UnionPay as one merchant, over a session that keeps its connections."""

    def __init__(
        self,
        credentials: Credentials,
        http: aiohttp.ClientSession,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.clock = clock
        self.believed = Believed(credentials.trust, clock)
        self._deadline_s = deadline_s
        self._credentials = credentials
        self._http = http

    async def call(self, path: Path, fields: Fields) -> Heard:
        """Return the signed answer to one call, whether it says yes or no.

        Raises ChannelUnavailable when nothing came within the deadline, or when what came is not
        signed by UnionPay, or is about another transaction.
        """
        url = self._credentials.gateway + path
        said = await self._said(url, fields, self._deadline_s, MOST_ANSWERED)
        answer = read_fields(said, Answer)
        if answer is None:
            raise ChannelUnavailable("the answer does not say what it is about")
        asked = (self._credentials.mer_id, fields["orderId"], fields["txnTime"])
        if (answer.mer_id, answer.order_id, answer.txn_time) != asked:
            raise ChannelUnavailable("the answer is about another transaction")
        return Heard(
            answer.mer_id,
            answer.order_id,
            answer.txn_time,
            answer.resp_code,
            answer.txn_type,
            answer.resp_msg,
            said,
        )

    async def fetch_file(self, fields: Fields) -> FileAnswer:
        """Return the signed answer about a settlement day, the file in it if there is one.

        Raises ChannelUnavailable as `call` does.
        """
        mine = self._credentials
        said = await self._said(mine.file_gateway, fields, DOWNLOAD_DEADLINE_S, MOST_DOWNLOADED)
        answer = read_fields(said, FileAnswer)
        if answer is None:
            raise ChannelUnavailable("the answer does not say what it is about")
        if (answer.mer_id, answer.settle_date) != (mine.mer_id, fields["settleDate"]):
            raise ChannelUnavailable("the answer is about another merchant or day")
        return answer

    def form_url(self) -> str:
        """Return where a browser posts what `sign` returned."""
        return self._credentials.gateway + Path.FRONT

    def sign(self, fields: Fields) -> dict[str, str]:
        """Return the fields with ours and the signature: the same for the same fields."""
        mine = self._credentials
        said = {
            "version": VERSION,
            "encoding": "UTF-8",
            "signMethod": SIGN_METHOD,
            "certId": mine.cert_id,
            "accessType": "0",
            "merId": mine.mer_id,
            **fields,
        }
        digest = digest_to_sign({name.encode(): value.encode() for name, value in said.items()})
        return {**said, "signature": signing.sign(mine.key, digest)}

    async def _said(
        self, url: str, fields: Fields, deadline_s: float, most: int
    ) -> Mapping[bytes, bytes]:
        """Return what UnionPay answered and signed."""
        try:
            async with asyncio.timeout(deadline_s):
                text = await self._send(url, self.sign(fields), most)
        except TimeoutError as error:
            raise ChannelUnavailable(f"no answer within {deadline_s:g} s") from error
        said = _fields_in(text)
        try:
            self.believed.check(said)
        except BadCallback as error:
            raise ChannelUnavailable(
                f"an answer that is not UnionPay's: {error}; check root_cert and middle_cert"
            ) from error
        return said

    async def _send(self, url: str, fields: Fields, most: int) -> bytes:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8",
            "User-Agent": f"PayOnce/{__version__}",
        }
        body = urlencode(fields)
        try:
            async with self._http.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                text = await read_within(response, most)
        except aiohttp.ClientError as error:
            raise ChannelUnavailable(f"no answer: {type(error).__name__}") from error
        if response.status != 200:
            raise ChannelUnavailable(f"HTTP {response.status}")
        return text


def _fields_in(text: bytes) -> dict[bytes, bytes]:
    pairs = [part.partition(b"=") for part in text.split(b"&") if part]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs):
        raise ChannelUnavailable("the answer says a field twice")
    return fields
