"""Sending callbacks the way channels do: until acknowledged, through whatever faults are set.

A channel hands over a callback with all that its sending needs; from there on it is not asked
again, so every channel is late, lost, repeated and out of order in the same ways.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import aiohttp
import msgspec

from gateway.sandbox.faults import FaultBoard

OVERTAKING_PATIENCE_S = 1.0
"""How long a callback waits for another one to overtake it before it goes alone."""

KEPT = 5000
"""How many callbacks are remembered for the control calls."""


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """News for a merchant. `sign` makes the headers of each send afresh."""

    id: str
    channel: str
    number: str
    kind: str
    url: str
    body: bytes
    sign: Callable[[bytes], dict[str, str]]
    accepted: Callable[[int, bytes], bool]
    acknowledged: Callable[[], None]
    waits_s: tuple[float, ...] = ()
    answer_within_s: float = 5.0


class CallbackRecord(msgspec.Struct, kw_only=True):
    """What became of one callback; `last_status` is None until something answered."""

    id: str
    channel: str
    number: str
    kind: str
    sends: int = 0
    dropped: int = 0
    last_status: int | None = None
    acknowledged: bool = False


class CallbackSender:
    """Sends callbacks in the background from `start` to `stop`."""

    def __init__(self, faults: FaultBoard) -> None:
        self._faults = faults
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_overtake: asyncio.Event | None = None
        self.records: list[CallbackRecord] = []

    def start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)

    async def stop(self) -> None:
        await self.forget_all()
        if self._session is not None:
            await self._session.close()

    async def forget_all(self) -> None:
        """Send nothing more of what is under way and remember none of it."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._to_overtake = None
        self.records.clear()

    def post(self, callback: Callback) -> None:
        """Begin to send; the answer does not wait for it."""
        record = CallbackRecord(
            id=callback.id, channel=callback.channel, number=callback.number, kind=callback.kind
        )
        del self.records[: -KEPT + 1]
        self.records.append(record)
        self._in_background(self._deliver(callback, record))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, callback: Callback, record: CallbackRecord) -> None:
        await asyncio.sleep(self._faults.of(callback.channel).delay_callbacks_s)
        overtaken = await self._wait_to_be_overtaken(callback.channel)
        for wait_s in (0.0, *callback.waits_s):
            await asyncio.sleep(wait_s * self._faults.of(callback.channel).pace)
            copies = 1 + self._faults.of(callback.channel).duplicate_callbacks
            accepted = await asyncio.gather(*(self._send(callback, record) for _ in range(copies)))
            if overtaken is not None:
                overtaken.set()
            if any(accepted):
                record.acknowledged = True
                callback.acknowledged()
                return

    async def _wait_to_be_overtaken(self, channel: str) -> asyncio.Event | None:
        """Hold this callback until the next one went first, when callbacks are to be reordered.

        Answers the event to set once the overtaking callback was sent.
        """
        if not self._faults.of(channel).reorder_callbacks:
            return None
        if self._to_overtake is not None:
            ahead, self._to_overtake = self._to_overtake, None
            return ahead
        self._to_overtake = passed = asyncio.Event()
        with suppress(TimeoutError):
            await asyncio.wait_for(passed.wait(), OVERTAKING_PATIENCE_S)
        if self._to_overtake is passed:
            self._to_overtake = None
        return None

    async def _send(self, callback: Callback, record: CallbackRecord) -> bool:
        """Send once; True when the merchant said it has it."""
        if self._session is None:
            raise RuntimeError("callbacks are sent between start and stop")
        if self._faults.drops_callback(callback.channel):
            record.dropped += 1
            return False
        record.sends += 1
        try:
            async with self._session.post(
                callback.url,
                data=callback.body,
                headers=callback.sign(callback.body),
                timeout=aiohttp.ClientTimeout(total=callback.answer_within_s),
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(64 * 1024)
                record.last_status = answer.status
                return callback.accepted(answer.status, body)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False  # as when the merchant cannot be reached: the next send tries again
