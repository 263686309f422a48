"""Doing many things at once, where one that fails stops no other."""

import asyncio
from collections.abc import Coroutine, Iterable

from gateway.telemetry import log


async def together(what: str, works: Iterable[Coroutine[object, object, None]]) -> int:
    """Run them all to their end, log each failure, and return how many there were."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            raise result
        if isinstance(result, BaseException):
            log.error("work_failed", work=what, exc_info=result)
    return len(results)
