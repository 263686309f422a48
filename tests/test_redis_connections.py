"""A connection to Redis that was closed under us is an outage, on uvloop too."""

import asyncio

import pytest
import uvloop
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.redis_connections import tell_their_end


async def _write_to_a_closed_connection(pool: ConnectionPool) -> None:
    connection = await pool.get_connection()
    connection._writer.transport.abort()
    await asyncio.sleep(0)  # the loop closes it
    try:
        await connection.send_command("PING")
    finally:
        await pool.disconnect()


def test_a_connection_that_was_closed_a_moment_ago_is_told_as_lost(redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url, socket_timeout=5)
    tell_their_end(pool)
    with pytest.raises(RedisConnectionError):
        uvloop.run(_write_to_a_closed_connection(pool))


def test_by_itself_it_would_be_told_as_a_fault_of_ours(redis_url: str) -> None:
    """The control: nobody who waits for an outage would see this one."""
    pool = ConnectionPool.from_url(redis_url, socket_timeout=5)
    with pytest.raises(RuntimeError, match="closed"):
        uvloop.run(_write_to_a_closed_connection(pool))
