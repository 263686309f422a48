"""News from the message queue: the events that webhooks bring, read from PayOnce's Redis stream.

The shop is one consumer group, and its processes share the entries. An entry is acknowledged after
the commit of what it did; whoever dies before that leaves it pending, and another process claims
it. So an entry may come twice, and the same event comes by webhook too: all of them end in `apply`,
which acts once.

There is no signature: whoever can write to that Redis is believed, so it must be your own.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.sandbox.shop_orders import ContradictionError, UnknownOrderError
from gateway.sandbox.shop_paying import Shop
from gateway.sandbox.shop_payonce import MalformedError, read_event
from gateway.sandbox.shop_store import apply

log = logging.getLogger(__name__)

STREAM = "payonce:events"
GROUP = "shop"
BATCH = 50
BLOCK_MS = 2_000
# A round takes two seconds of waiting and what its entries need; after this Redis hangs.
PATIENCE_S = 30.0
SLOWEST_RETURN_S = 5.0

Entry: TypeAlias = tuple[bytes, Mapping[bytes, bytes] | None]


async def listen_forever(shop: Shop, url: str) -> None:
    """Read the queue, and come back to it whenever Redis goes away or loses it."""
    pause_s = 0.1
    while True:
        began = time.monotonic()
        try:
            await listen(shop, url)
        except (RedisError, OSError) as error:
            log.warning("the message queue is away: %s", type(error).__name__)
        except Exception:
            log.exception("an entry of the message queue failed; it stays pending, and comes again")
        lasted = time.monotonic() - began > SLOWEST_RETURN_S
        pause_s = 0.1 if lasted else min(2 * pause_s, SLOWEST_RETURN_S)
        await asyncio.sleep(pause_s)


async def listen(shop: Shop, url: str) -> None:
    """Read until something goes wrong: what others left behind now and then, and what is new."""
    consumer = shop.settings.public_url  # a name that a restart keeps
    connection = Redis.from_url(url, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))
    async with connection as redis:
        claim_at = 0.0
        while True:
            async with asyncio.timeout(PATIENCE_S):
                if time.monotonic() >= claim_at:
                    await join(redis)
                    await claim_what_is_left(shop, redis, consumer)
                    claim_at = time.monotonic() + shop.settings.claim_after_s
                read = await redis.xreadgroup(
                    GROUP, consumer, {STREAM: ">"}, count=BATCH, block=BLOCK_MS
                )
                for _, entries in read:
                    await take_in(shop, redis, entries)


async def join(redis: Redis) -> None:
    """Make the group where it is missing: it begins with the oldest entry that the stream has."""
    try:
        await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


async def claim_what_is_left(shop: Shop, redis: Redis, consumer: str) -> None:
    """Take over what was handed out and not acknowledged in time, by whomever, ourselves too."""
    cursor = b"0-0"
    idle_ms = int(shop.settings.claim_after_s * 1000)
    while True:
        claimed = await redis.xautoclaim(STREAM, GROUP, consumer, idle_ms, cursor, BATCH)
        cursor = claimed[0]
        await take_in(shop, redis, claimed[1])
        if cursor == b"0-0":
            return


async def take_in(shop: Shop, redis: Redis, entries: Iterable[Entry]) -> None:
    """Act on each entry that is the shop's, then acknowledge it."""
    ours = shop.settings.merchant.encode()
    for entry_id, fields in entries:
        # One that was trimmed away while it was pending has no fields any more.
        if fields is not None and fields.get(b"merchant") == ours:
            await act(shop, fields.get(b"body", b""))
        await redis.xack(STREAM, GROUP, entry_id)


async def act(shop: Shop, body: bytes) -> None:
    """Let an event act on the shop's order, once; returns after the commit.

    What can never act is logged and passed over: it would only come again. As a webhook the same
    event was refused, so PayOnce's operator sees it too.
    """
    try:
        event = read_event(body)
        effect = await shop.store.run(apply, event.data.order, event.id)
        log.debug("event %s from the queue: %s", event.id, effect)
    except UnknownOrderError as error:
        log.info("an event from the queue is about another program's order: %s", error)
    except (MalformedError, ContradictionError) as error:
        log.error("an event from the queue was refused: %s", error)
