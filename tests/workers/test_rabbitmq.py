"""Publishing to RabbitMQ: durable, confirmed, in the log's order, through broken connections."""

import asyncio
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from gateway.errors import QueueUnavailable
from gateway.settings import Settings
from gateway.together import end
from tests.rig import until
from tests.workers.log import MERCHANT, numbered_events
from tests.workers.rabbitmq import Wire, running_rabbitmq
from workers.amqp_exchange import EXCHANGE
from workers.publish import Queue, keep_publishing, publish_some, queue_of

pytestmark = pytest.mark.timeout(150)  # Erlang takes its time where others are busy
QUEUE = "order-service"


async def bind(url: str) -> None:
    """Bind a durable queue to some of the events, as an order service does once."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True
        )
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(exchange, "order.*")


async def read(url: str) -> list[AbstractIncomingMessage]:
    """Take what is in the queue."""
    taken = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(QUEUE)
        while (message := await queue.get(fail=False)) is not None:
            await message.ack()
            taken.append(message)
    return taken


async def in_queue(url: str) -> list[str | None]:
    return [message.message_id for message in await read(url)]


async def test_rabbitmq_gets_every_event_in_order_whatever_the_network_does(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    """One broker for all of it, because it takes seconds to start."""
    async with running_rabbitmq(tmp_path) as url:
        await bind(url)
        await many_are_confirmed_in_order(pool, url)
        wire = Wire(url)
        queue = queue_of(Settings(events_url=wire.url))
        await what_was_not_confirmed_is_repeated(pool, wire, queue, url)
        await a_broker_that_is_away_gets_everything_when_it_is_back(pool, wire, queue, url)
        await queue.close()


async def many_are_confirmed_in_order(pool: asyncpg.Pool, url: str) -> None:
    queue = queue_of(Settings(events_url=url))
    log = await numbered_events(pool, 250)
    while await publish_some(pool, queue):
        pass
    await queue.close()
    messages = await read(url)
    assert [message.message_id for message in messages] == log
    first = messages[0]
    body = await pool.fetchval("SELECT body FROM events ORDER BY position LIMIT 1")
    assert first.body.decode() == body
    assert (first.routing_key, first.type) == ("order.paid", "order.paid")
    assert first.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert first.headers["merchant"] == MERCHANT


async def what_was_not_confirmed_is_repeated(
    pool: asyncpg.Pool, wire: Wire, queue: Queue, url: str
) -> None:
    async with wire.there():
        first = await numbered_events(pool, 1)
        assert await publish_some(pool, queue) == 1
        then = await numbered_events(pool, 3)
        wire.loses_answers = True
        with pytest.raises(QueueUnavailable):
            await publish_some(pool, queue)
        wire.loses_answers = False
        assert await publish_some(pool, queue) == 3
        assert await in_queue(url) == [*first, *then, *then]
        await queue.close()


async def a_broker_that_is_away_gets_everything_when_it_is_back(
    pool: asyncpg.Pool, wire: Wire, queue: Queue, url: str
) -> None:
    log = await numbered_events(pool, 2)
    with capture_logs() as lines:
        publishing = asyncio.create_task(keep_publishing(pool, queue, asyncio.Event(), 0.05))
        await until(lambda: bool(lines))
        log += await numbered_events(pool, 1)
        async with wire.there():
            await until(lambda: len(lines) > 1, within_s=30)
            await end([publishing])
            await queue.close()
    assert await in_queue(url) == log
    assert [line["event"] for line in lines] == ["events_not_published", "events_published_again"]
    assert lines[0]["outage"] == "queue"
