"""Connections to Redis whose end is told as such, whichever event loop runs.

On uvloop a write to a connection that was closed a moment ago raises RuntimeError, which nobody
takes for an outage: a buyer would get a 500 where PostgreSQL alone could have answered.
"""

from collections.abc import Iterable

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError


class _TellingItsEnd(AbstractConnection):
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError("the connection was closed") from error


def tell_their_end(pool: ConnectionPool) -> None:
    """Let the pool make connections that raise ConnectionError where they were closed."""
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_TellingItsEnd, kind), {})
