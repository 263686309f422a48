"""Which errors say that something is away, and which are faults of ours."""

from pathlib import Path

import asyncpg
import pytest
from redis.exceptions import RedisError

from gateway.errors import ChannelUnavailable, QueueUnavailable, ServiceUnavailable
from gateway.outages import Missing, missing


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (RedisError(), "redis"),
        (ChannelUnavailable(), "channel"),
        (QueueUnavailable(), "queue"),
        (ServiceUnavailable(), "postgresql"),
        (ConnectionRefusedError(), "postgresql"),
        (TimeoutError(), "postgresql"),
        (asyncpg.TooManyConnectionsError(), "postgresql"),
        (asyncpg.UndefinedColumnError(), None),
        (asyncpg.DataError("what we passed was wrong"), None),
        (TypeError(), None),
    ],
)
def test_what_is_away_is_told_by_the_error(error: Exception, away: Missing | None) -> None:
    assert missing(error) == away


async def test_a_server_whose_socket_is_gone_is_away(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as gone:
        await asyncpg.connect(f"postgresql://payonce@/payonce?host={tmp_path}")
    assert missing(gone.value) == "postgresql"


def test_a_file_of_ours_that_is_gone_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as gone:
        (tmp_path / "template.html").read_text()
    assert missing(gone.value) is None
