"""What happened to an order, from its journal and from what buyers saw, in seconds of the run."""

import time
from collections.abc import Sequence
from typing import Final

import asyncpg

from tests.chaos.place import Place
from tests.chaos.sightings import Sightings

_JOURNAL: Final = """
    SELECT at, noun, noun_id, from_state, to_state, cause
    FROM journal WHERE order_id = $1 ORDER BY id
"""


async def timeline_of(
    place: Place,
    sightings: Sightings,
    faults: Sequence[tuple[float, str]],
    order: str,
    began: float,
) -> Sequence[str]:
    """Tell it line by line, with the faults meanwhile; `began` is the run's begin.

    Moments are those of the monotonic clock.
    """
    if not order:
        return ()
    began_at = time.time() - (time.monotonic() - began)
    told = [(at - began, what) for at, what in sightings.timeline(order)]
    conn = await asyncpg.connect(place.database_url)
    try:
        for at, noun, noun_id, before, after, cause in await conn.fetch(_JOURNAL, order):
            what = f"{noun} {noun_id}: {before} -> {after}, by {cause}"
            told.append((at.timestamp() - began_at, what))
    finally:
        await conn.close()
    first, last = min(told)[0], max(told)[0]
    told += [(at - began, f"* {fault}") for at, fault in faults if first <= at - began <= last]
    return [f"{at_s:7.3f} s  {what}" for at_s, what in sorted(told)]
