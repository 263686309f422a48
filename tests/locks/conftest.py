"""Scripts against the real Valkey."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.locks.scripts import Scripts


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        yield redis


@pytest.fixture
def scripts(redis: Redis) -> Scripts:
    return Scripts(redis)
