"""What the programs' logs say: when Redis was not to be relied on, and what was a fault of ours.

The product logs an outage as a warning; an error is what nobody expected, whatever goes on.
"""

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
_MOST_QUOTED: Final = 4000


class Line(Struct, frozen=True):
    event: str
    timestamp: datetime
    exception: str = ""


def redis_troubles(programs: Sequence[Program]) -> Iterator[Trouble]:
    """Find them, as moments of this process's monotonic clock."""
    ahead_s = time.time() - time.monotonic()
    for _, line in _lines(programs, b'"redis_unavailable"'):
        at = line.timestamp.timestamp() - ahead_s
        yield Trouble(at, at + _SAID_EVERY_S)


def faults_of_ours(programs: Sequence[Program]) -> Iterator[str]:
    """Find the product's own errors; its events are words, a library's are sentences."""
    for name, line in _lines(programs, b'"level":"error"'):
        if line.event.isidentifier():
            yield f"{name} logged {line.event}: {line.exception[-_MOST_QUOTED:]}"


def _lines(programs: Sequence[Program], with_: bytes) -> Iterator[tuple[str, Line]]:
    for program in programs:
        for line in program.log.read_bytes().splitlines():
            if with_ in line:
                yield program.name, msgspec.json.decode(line, type=Line)
