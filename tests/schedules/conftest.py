"""A stage for each test."""

import logging
from collections.abc import AsyncIterator

import pytest
import structlog

from tests.schedules.stage import Stage, staged


@pytest.fixture
async def stage(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """A gateway whose steps can be held; its log is not read, and would be most of its work."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        async with staged(database_url, redis_url, monkeypatch) as built:
            yield built
    finally:
        structlog.configure(**before)
