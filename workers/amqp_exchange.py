"""The message queue as a topic exchange of RabbitMQ, for those who run one (`payonce[amqp]`).

An event counts as published when the broker confirmed it: then it is in every durable queue that is
bound. What the broker loses after that is not told again; the log has it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange

from gateway.db.events import Message

EXCHANGE: Final = "payonce.events"
_CLOSE_WITHIN_S: Final = 1.0


class AmqpExchange:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    async def ends_at(self, published: int) -> int:
        """Return `published`: what the broker confirmed, it keeps."""
        await self._connected()
        return published

    async def append(self, messages: Sequence[Message]) -> None:
        """Publish them in their order; returns when the broker has confirmed them all."""
        try:
            exchange = await self._connected()
            # They are written one after another, and the confirmations come together.
            await asyncio.gather(
                *(
                    exchange.publish(_message(each), routing_key=each.type, mandatory=False)
                    for each in messages
                )
            )
        except BaseException:
            await self.close()  # nothing of them must still be on its way when they are repeated
            raise

    async def close(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await connection.close()

    async def _connected(self) -> AbstractExchange:
        if self._exchange and self._connection and not self._connection.is_closed:
            return self._exchange
        await self.close()
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel(publisher_confirms=True)
        self._exchange = await channel.declare_exchange(
            EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True
        )
        return self._exchange


def _message(message: Message) -> aio_pika.Message:
    return aio_pika.Message(
        message.body.encode(),
        message_id=message.id,
        type=message.type,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        headers={
            "merchant": message.merchant,
            "order": message.order,
            "version": message.version,
            "position": message.position,
        },
    )
