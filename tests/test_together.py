"""Ending what runs, also when the ending is itself ended."""

import asyncio
from contextlib import suppress

from gateway.together import end


async def test_who_is_ended_while_ending_others_ends_them_first() -> None:
    """A cancellation meets an answer and is lost, and the outer end speaks again meanwhile."""
    let_go, deaf = asyncio.Event(), asyncio.Event()

    async def loop_that_loses_a_cancellation() -> None:
        with suppress(asyncio.CancelledError):
            await let_go.wait()
        deaf.set()
        await let_go.wait()

    inner = asyncio.create_task(loop_that_loses_a_cancellation())
    closed = False

    async def outer() -> None:
        nonlocal closed
        try:
            await let_go.wait()
        finally:
            try:
                await end([inner])
            finally:
                closed = True

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task.cancel()
    await deaf.wait()
    task.cancel()  # while it waits for the other
    await end([task])
    assert task.cancelled()
    assert inner.cancelled()
    assert closed
