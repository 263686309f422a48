"""One address for all gateways, as in front of any installation: whichever is up takes the call."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from tests.chaos.place import HOST

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Balancer:
    """Passes connections on, in turn. A caller is hung up on when no gateway is up."""

    def __init__(self, port: int, gateways: Sequence[int]) -> None:
        self._port = port
        self._gateways = gateways
        self._turn = 0
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Balancer":
        self._server = await asyncio.start_server(self._take, HOST, self._port, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse((reader, writer)))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, caller: Stream) -> None:
        gateway = await self._connect()
        if gateway is not None:
            await asyncio.gather(_pass(caller, gateway), _pass(gateway, caller))
        caller[1].close()

    async def _connect(self) -> Stream | None:
        """Connect to the gateway whose turn it is, or to the next that is up."""
        self._turn += 1
        for later in range(len(self._gateways)):
            port = self._gateways[(self._turn + later) % len(self._gateways)]
            with suppress(OSError):
                return await asyncio.open_connection(HOST, port)
        return None


async def _pass(one: Stream, other: Stream) -> None:
    """Pass on what one side says, and hang up on the other when it has nothing more to say."""
    try:
        with suppress(OSError):
            while said := await one[0].read(64 * 1024):
                if other[1].is_closing():
                    return
                other[1].write(said)
                await other[1].drain()
    finally:
        other[1].close()
