"""The message queue as a Redis stream: the newest part of the log, which Redis may lose.

Beside the stream stands the position of its last event, written in the same transaction. Where it
is missing, Redis was flushed or replaced, and the stream is filled again with what it would hold;
where it is behind, a failover lost the stream's end, and that is appended again.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from gateway.db.events import Message
from gateway.redis_connections import tell_their_end

STREAM: Final = "payonce:events"
# The braces keep both keys in one slot of a cluster.
POSITION: Final = "{payonce:events}:position"


class RedisStream:
    def __init__(self, url: str, kept: int) -> None:
        """Append to the stream at `url`, which keeps about the `kept` newest events.

        Whoever calls sets the time for it; nothing is tried twice here, but a master that became a
        replica is left, and found anew.
        """
        self._kept = kept
        # The time-out is for closing too, where a server stands still with our bytes unread.
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[ReadOnlyError],
        )
        tell_their_end(self._redis.connection_pool)

    async def ends_at(self, published: int) -> int:
        """Return after which position events are wanted; never later than after `published`."""
        position: bytes | None = await self._redis.get(POSITION)
        if position is None:
            return max(published - self._kept, 0)
        return min(int(position), published)

    async def append(self, messages: Sequence[Message]) -> None:
        """Append all of them, in their order and with nothing in between, or none."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for message in messages:
                pipeline.xadd(STREAM, _fields(message), maxlen=self._kept, approximate=True)
            pipeline.set(POSITION, messages[-1].position)
            await pipeline.execute()

    async def close(self) -> None:
        await self._redis.aclose()


def _fields(message: Message) -> dict[bytes | str, bytes | str | int]:
    return {
        "id": message.id,
        "type": message.type,
        "merchant": message.merchant,
        "order": message.order,
        "version": message.version,
        "position": message.position,
        "body": message.body,
    }
