"""A channel that costs almost nothing: it accepts every payment and says so, signed.

It stands for WeChat Pay's prepay call, twice: under /wechat it signs with RSA, as WeChat Pay does,
and under /hmac with a shared secret. All its answers are alike, so they are signed ahead, twice a
minute. What it has counted, GET /numbers tells: calls, and distinct payment numbers.
"""

import asyncio
import re
import sys
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.place import HOST, Place, read_place
from benchmarks.wechat import hmac_signing, rsa_signing, signed_headers
from benchmarks.wire import end_of_message, get, ok

_CREATED: Final = b'{"code_url":"weixin://wxpay/bizpayurl?pr=benchmark0000000"}'
_NUMBER: Final = re.compile(rb'"out_trade_no":"([^"]+)"')
_SIGN_EVERY_S: Final = 30.0


class Heard(Struct, frozen=True):
    """What the channel has counted since it started."""

    calls: int
    numbers: int


async def ask_channel(port: int) -> Heard:
    """Ask a running channel what it has counted."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(get("/numbers"))
        answer = await reader.read()
    finally:
        writer.close()
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Heard)


class _Till:
    """What the channel remembers, and its two answers."""

    def __init__(self, place: Place) -> None:
        self._by_rsa = rsa_signing(place.keys.public_key_pair)
        self._by_hmac = hmac_signing(place.hmac_key)
        self._serial = place.keys.public_key_id
        self._calls = 0
        self._numbers: set[bytes] = set()
        self._wechat = self._hmac = b""

    async def keep_signing(self) -> None:
        while True:
            self._wechat = ok(signed_headers(self._by_rsa, self._serial, _CREATED), _CREATED)
            self._hmac = ok(signed_headers(self._by_hmac, self._serial, _CREATED), _CREATED)
            await asyncio.sleep(_SIGN_EVERY_S)

    def answer(self, request: bytes) -> bytes:
        if request.startswith(b"GET /numbers "):
            return ok({}, msgspec.json.encode(Heard(self._calls, len(self._numbers))))
        number = _NUMBER.search(request)
        assert number is not None, "a payment without a number"
        self._calls += 1
        self._numbers.add(number[1])
        return self._hmac if request.startswith(b"POST /hmac/") else self._wechat


class _Caller(asyncio.Protocol):
    """One keep-alive connection of a caller."""

    def __init__(self, till: _Till) -> None:
        self._till = till
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is not derived from it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        if (length := end_of_message(self._received)) is None:
            return
        request, self._received = self._received[:length], self._received[length:]
        self._transport.write(self._till.answer(request))
        if request.startswith(b"GET "):
            self._transport.close()


async def _serve(place: Place) -> None:
    till = _Till(place)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Caller(till), HOST, place.channel_port, backlog=1024
    )
    async with server:
        await till.keep_signing()


if __name__ == "__main__":
    uvloop.run(_serve(read_place(sys.argv[-1])))
