"""What the programs' logs say of Redis: when one could not rely on it, by whatever fault."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from tests.chaos.processes import Program
from tests.chaos.sightings import Trouble

# A process says it once in so many seconds while it goes on.
_SAID_EVERY_S: Final = 10.0


class Line(Struct, frozen=True):
    event: str
    timestamp: datetime


def redis_troubles(programs: Sequence[Program]) -> Iterator[Trouble]:
    """Find them, as moments of this process's monotonic clock."""
    ahead_s = time.time() - time.monotonic()
    for program in programs:
        for line in program.log.read_bytes().splitlines():
            if b'"redis_unavailable"' in line:
                at = msgspec.json.decode(line, type=Line).timestamp.timestamp() - ahead_s
                yield Trouble(at, at + _SAID_EVERY_S)
