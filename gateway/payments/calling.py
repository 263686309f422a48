"""Calling a channel: one deadline, one measure, and two ways to fail.

Every verb that waits for a channel calls it through here, and holds no database connection
meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Final, TypeVar

from gateway.channels.base import Callback, CallbackRead, Channel
from gateway.db.attempts import Asking
from gateway.errors import ChannelRefused, ChannelUnavailable, UnknownKey
from gateway.model import Attempt, ChannelReport
from gateway.payments.accounts import Account
from gateway.telemetry import CHANNEL_CALL_SECONDS, span

DEADLINE_S: Final = 5.0
_LACKS: Final = 2  # things that a callback may lack, one behind the other

Answer = TypeVar("Answer")


async def query(account: Account, attempt: Attempt | Asking) -> ChannelReport:
    """Ask the channel about an attempt. Raises ChannelUnavailable."""
    asked = account.adapter.query(attempt.number, attempt.channel_ref)
    return await call(account, "query", asked)


async def call(account: Account, verb: str, answer: Awaitable[Answer]) -> Answer:
    """Wait for the channel's answer; one that is late is none.

    Raises ChannelUnavailable (nothing is known), and ChannelRefused where the verb asks for
    something.
    """
    began = time.perf_counter()
    channel = account.adapter.traits.channel
    result = "unavailable"
    try:
        with span(f"channel.{verb}", channel=channel, account=account.id):
            async with asyncio.timeout(DEADLINE_S):
                answered = await answer
        result = "answered"
    except ChannelRefused:
        result = "refused"
        raise
    except TimeoutError as error:
        raise ChannelUnavailable(f"no answer within {DEADLINE_S:g} s") from error
    finally:
        CHANNEL_CALL_SECONDS.labels(channel=channel, verb=verb, result=result).observe(
            time.perf_counter() - began
        )
    return answered


async def read_callback(adapter: Channel, callback: Callback) -> CallbackRead:
    """Read a callback; what it is signed with may first have to be fetched from the channel, and,
    where the channel is asked besides whether it is its own, the answer to that.

    Raises BadCallback, or ChannelUnavailable where that could not be fetched.
    """
    for _ in range(_LACKS):
        try:
            return adapter.read(callback)
        except UnknownKey:
            await adapter.refresh_keys()
    return adapter.read(callback)
