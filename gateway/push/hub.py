"""The hub: who watches which order, and the one Redis subscription of a process that wakes them,
and the feeds.

A wake carries no news. Whoever is woken reads the truth from PostgreSQL again, so a message that is
lost, repeated or reordered is harmless, and all watchers of one order share one read. Redis makes
it fast and is not needed: beside it the hub asks PostgreSQL, in one statement for many orders,
which of the watched orders have moved on. It does so at once when the subscription was made
(again), every few seconds while Redis is away, and now and then otherwise, because a process may
die between its commit and its message.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from gateway.db import orders, watched
from gateway.db.orders import Reading
from gateway.errors import NotFound
from gateway.ids import OrderId
from gateway.locks.claims import LOG_CHANNEL, ORDERS_CHANNEL
from gateway.outages import tell
from gateway.push.feeds import Feeds
from gateway.push.sockets import Sockets
from gateway.telemetry import log
from gateway.together import end

# So that a thousand watchers who wake together leave the pool to those who pay.
_READS_AT_ONCE: Final = 4
_ORDERS_A_LOOK: Final = 1000
_TOKENS_KEPT: Final = 20_000


class Pace(Struct, frozen=True):
    """How often the hub does what nobody asked it to do, in seconds."""

    look_s: float = 15.0
    look_alone_s: float = 2.5  # while Redis is away
    reconnect_s: float = 0.1  # doubled with every failure
    reconnect_most_s: float = 3.0
    silence_s: float = 10.0  # from Redis, before it is asked whether it is still there
    ping_s: float = 25.0
    slow_reader_s: float = 10.0
    read_s: float = 10.0  # for a read and the wait for its turn: PostgreSQL may stand still


_USUAL_PACE: Final = Pace()


class Watch:
    """One watcher of one order, woken whenever there may be something newer than it has seen."""

    __slots__ = ("_hub", "_waiting", "_woken", "order_id", "seen")

    def __init__(self, hub: "Hub", order_id: OrderId) -> None:
        self.order_id = order_id
        self.seen = 0
        self._hub = hub
        self._woken = False
        self._waiting: asyncio.Future[None] | None = None  # a tenth of an asyncio.Event

    def wake(self) -> None:
        self._woken = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait for a wake; False when `timeout_s` is over first, or when the process stops."""
        if not self._woken:
            self._waiting = asyncio.get_running_loop().create_future()
            if timeout_s is None:
                await self._waiting
            else:
                await asyncio.wait([self._waiting], timeout=timeout_s)
            self._waiting = None
        woken, self._woken = self._woken, False
        return woken and not self._hub.stopping

    async def read(self) -> Reading:
        """Read the order and the database's clock. What commits from here on wakes this watch.

        Raises NotFound.
        """
        order, now = await self._hub.read(self.order_id)
        self.seen = max(self.seen, order.version)
        return order, now

    async def newer(self, version: int, wait_s: float) -> Reading:
        """Read the order once it is newer than `version`, or as it is when the time is over."""
        until = time.monotonic() + wait_s
        while True:
            order, now = await self.read()
            left_s = until - time.monotonic()
            if order.version > version or left_s <= 0 or not await self.changed(left_s):
                return order, now


class Hub:
    def __init__(
        self, redis_url: str, pool: "asyncpg.Pool[asyncpg.Record]", pace: Pace = _USUAL_PACE
    ) -> None:
        self.live = False  # is the subscription there?
        self.stopping = False
        self.pace = pace
        self.sockets = Sockets(pace.ping_s)
        self.feeds = Feeds()
        self._redis_url = redis_url
        self._pool = pool
        self._watches: dict[OrderId, set[Watch]] = {}
        self._readings: dict[OrderId, asyncio.Task[Reading]] = {}
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._look_now = asyncio.Event()
        self._orders: dict[str, OrderId] = {}  # by token

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, look and ping for as long as the block runs."""
        tasks = [
            asyncio.create_task(self._keep_listening()),
            asyncio.create_task(self._keep_looking()),
            asyncio.create_task(self.sockets.keep_pinging()),
        ]
        for task in tasks:
            task.add_done_callback(_report)
        try:
            yield
        finally:
            self.let_go()
            await end(tasks)
            await asyncio.gather(*self._readings.values(), return_exceptions=True)

    def let_go(self) -> None:
        """Send every watcher home: a long-poll answers what it has, a socket says it goes away."""
        self.stopping = True
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()
        self.feeds.wake_all()

    @contextmanager
    def watch(self, order_id: OrderId) -> Iterator[Watch]:
        """Watch an order. Watch first and read then: so nothing is missed between the two."""
        watch = Watch(self, order_id)
        self._watches.setdefault(order_id, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[order_id]
            watches.discard(watch)
            if not watches:
                del self._watches[order_id]

    def watchers(self, order_id: OrderId) -> int:
        return len(self._watches.get(order_id, ()))

    async def read(self, order_id: OrderId) -> Reading:
        """Read an order, sharing the read that is in flight, if no wake came since it began."""
        reading = self._readings.get(order_id)
        if reading is None:
            reading = asyncio.create_task(self._read(order_id))
            self._readings[order_id] = reading
            reading.add_done_callback(lambda done: self._forget(order_id, done))
        return await asyncio.shield(reading)

    async def order_of(self, token: str) -> OrderId:
        """Return the order behind a checkout token, which never changes. Raises NotFound."""
        known = self._orders.get(token)
        if known is None:
            async with self._pool.acquire() as conn:
                known = await orders.order_of_token(conn, token)
            if known is None:
                raise NotFound("There is no such checkout.")
            if len(self._orders) >= _TOKENS_KEPT:
                self._orders.clear()
            self._orders[token] = known
        return known

    async def _read(self, order_id: OrderId) -> Reading:
        async with asyncio.timeout(self.pace.read_s), self._reads, self._pool.acquire() as conn:
            # From here on it may miss what commits now, so nobody new may share it.
            self._readings.pop(order_id, None)
            reading = await orders.read(conn, order_id)
        if reading is None:
            raise NotFound(f"There is no order {order_id}.")
        return reading

    def _forget(self, order_id: OrderId, reading: asyncio.Task[Reading]) -> None:
        if self._readings.get(order_id) is reading:
            del self._readings[order_id]
        if not reading.cancelled():
            reading.exception()  # whoever waited for it has it; nobody may be left to take it

    def _wake(self, order_id: OrderId, version: int | None = None) -> None:
        """Wake who has not seen that version, and share no more what is just being read."""
        self._readings.pop(order_id, None)
        for watch in self._watches.get(order_id, ()):
            if version is None or watch.seen < version:
                watch.wake()

    async def _keep_listening(self) -> None:
        pause_s = self.pace.reconnect_s
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try may do
                log.warning("hub_does_not_listen", outage="redis", error=type(error).__name__)
            if self.live:
                self._set_live(False)
                pause_s = self.pace.reconnect_s
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, self.pace.reconnect_most_s)

    async def _listen(self) -> None:
        """Listen until Redis goes away: by an error, or by not answering a ping after a silence."""
        connect_s = self.pace.reconnect_most_s
        async with (
            # The second limit is for the log-in, to a server that takes calls and answers none.
            Redis.from_url(
                self._redis_url, socket_connect_timeout=connect_s, socket_timeout=connect_s
            ) as redis,
            redis.pubsub() as subscription,
        ):
            await subscription.subscribe(ORDERS_CHANNEL, LOG_CHANNEL)
            asked = False
            while True:
                message = await subscription.get_message(timeout=self.pace.silence_s)
                if message is None and asked:
                    raise TimeoutError
                asked = message is None
                if message is None:
                    await subscription.ping()
                elif message["type"] == "subscribe":
                    # It also comes after a reconnection that the client made by itself.
                    self._set_live(True)
                elif message["type"] == "message":
                    self._hear(message["channel"], message["data"])

    def _hear(self, channel: bytes, text: bytes) -> None:
        if channel == LOG_CHANNEL:
            self.feeds.wake(text.decode(errors="replace").split(" "))
            return
        order_id, _, version = text.decode(errors="replace").partition(" ")
        self._wake(OrderId(order_id), int(version) if version.isdecimal() else None)

    def _set_live(self, live: bool) -> None:
        self.live = live
        self._look_now.set()
        self.feeds.wake_all()

    async def _keep_looking(self) -> None:
        while True:
            pause_s = self.pace.look_s if self.live else self.pace.look_alone_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.8, 1.2)):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look may do
                tell("hub_does_not_look", error)

    async def _look(self) -> None:
        """Wake the watchers of every order that one of them has not seen as new as it is."""
        seen = [
            (order_id, min(watch.seen for watch in watches))
            for order_id, watches in self._watches.items()
        ]
        for start in range(0, len(seen), _ORDERS_A_LOOK):
            order_ids, versions = zip(*seen[start : start + _ORDERS_A_LOOK], strict=True)
            async with self._reads, self._pool.acquire() as conn:
                moved = await watched.newer(conn, order_ids, versions)
            for order_id in moved:
                self._wake(order_id)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell("hub_task_ended", error)
