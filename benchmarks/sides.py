"""The two sides of a figure: what each is asked to do, made ready before the clock runs, and what
must have risen in its database, by so much for every answer, when it stops.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from benchmarks.channel import ask_channel
from benchmarks.floors import answer_key
from benchmarks.load import Plan, send_load
from benchmarks.place import Place, Program
from benchmarks.product import HMAC_CHANNEL
from benchmarks.rows import Database, Template, add_orders, add_paying, add_paying_to_floor
from benchmarks.stage import WECHAT_ACCOUNT, Stage
from benchmarks.wechat import paid_notification, rsa_signing, signed_headers
from benchmarks.wire import post
from gateway.ids import new_order_id

Counts = dict[str, int]

_REPLAYED_ORDERS: Final = 256
# A cached answer of the product's size.
_CANNED: Final = b'{"id":"att_0","next_action":{"content":"%s"}}' % (b"0" * 550)

_FLOOR_APPLIED: Final = """
    SELECT (SELECT count(*) FROM orders) AS orders,
        (SELECT count(*) FROM attempts WHERE state = 'paying') AS attempts
"""
_FLOOR_PAID: Final = """
    SELECT (SELECT count(*) FROM orders WHERE state = 'paid') AS paid_orders,
        (SELECT count(*) FROM attempts WHERE state = 'captured') AS captured_attempts,
        (SELECT count(*) FROM outbox) AS outbox_rows
"""
_PRODUCT_APPLIED: Final = """
    SELECT count(*) AS attempts, count(DISTINCT order_id) AS orders_with_attempts,
        count(DISTINCT number) AS numbers
    FROM attempts WHERE state = 'paying'
"""
_PRODUCT_PAID: Final = """
    SELECT (SELECT count(*) FROM orders WHERE state = 'paid') AS paid_orders,
        (SELECT count(*) FROM attempts WHERE state = 'captured') AS captured_attempts,
        (SELECT count(*) FROM events WHERE type = 'order.paid') AS outbox_rows,
        (SELECT count(*) FROM callbacks WHERE settled_at IS NOT NULL) AS callbacks_kept
"""


class Wrong(Exception):
    """Something was answered wrongly, lost or doubled: the run's figures are worth nothing."""


class Work(Struct, frozen=True):
    """Requests that are ready to be sent; `again`: over and over."""

    requests: list[bytes]
    again: bool = False


class Side(Protocol):
    """A program with something to do over and over."""

    status: int  # what every answer must be
    rises: int  # by how much each count rises with every answer
    program: Program

    async def prepare(self, count: int) -> Work:
        """Make ready about `count` requests."""
        ...

    async def count(self) -> Counts:
        """Count what must rise."""
        ...


class FloorReplay:
    """Answers that wait in Redis, asked for again and again."""

    status, rises = 200, 0

    def __init__(self, stage: Stage) -> None:
        self.program = stage.floors["replay"]
        self._redis = stage.floor_redis
        self._api_key = stage.api_key

    async def prepare(self, count: int) -> Work:
        orders = [new_order_id() for _ in range(_REPLAYED_ORDERS)]
        for order in orders:
            await self._redis.set(answer_key(order), _CANNED, ex=60)
        return Work(_applications(orders, "wechat", self._api_key), again=True)

    async def count(self) -> Counts:
        return {}


class FloorApply:
    """Orders that do not exist yet: this floor inserts them with their attempts."""

    status, rises = 201, 1

    def __init__(self, stage: Stage, name: str) -> None:
        self.program = stage.floors[name]
        self._stage = stage

    async def prepare(self, count: int) -> Work:
        orders = [new_order_id() for _ in range(count)]
        return Work(_applications(orders, "wechat", self._stage.api_key))

    async def count(self) -> Counts:
        return await _count(self._stage.floor_db, _FLOOR_APPLIED) | await _told(self._stage)


class FloorCallback:
    """Notifications of attempts that are being paid."""

    status, rises = 204, 1

    def __init__(self, stage: Stage) -> None:
        self.program = stage.floors["callback"]
        self._stage = stage

    async def prepare(self, count: int) -> Work:
        numbers = await add_paying_to_floor(self._stage.floor_db, count)
        return Work(await _callbacks(self._stage.place, numbers))

    async def count(self) -> Counts:
        return await _count(self._stage.floor_db, _FLOOR_PAID)


class ProductReplay:
    """Orders that were applied for a moment ago: the live answer is cached for ten seconds."""

    status, rises = 200, 0

    def __init__(self, stage: Stage, template: Template) -> None:
        self.program = stage.product
        self._stage = stage
        self._template = template

    async def prepare(self, count: int) -> Work:
        orders = await add_orders(self._stage.product_db, self._template, _REPLAYED_ORDERS)
        requests = _applications(orders, HMAC_CHANNEL, self._stage.api_key)
        applied = await send_load(Plan(self.program.port, 16, 10.0, requests))
        if applied.answers != {201: len(orders)}:
            raise Wrong(f"orders to be replayed: answered {applied.answers}, not only 201")
        return Work(requests, again=True)

    async def count(self) -> Counts:
        return await _count(self._stage.product_db, _PRODUCT_APPLIED)


class ProductApply:
    """Orders that were made before and have no attempt yet."""

    status, rises = 201, 1

    def __init__(self, stage: Stage, template: Template, channel: str) -> None:
        self.program = stage.product
        self._stage = stage
        self._template = template
        self._channel = channel

    async def prepare(self, count: int) -> Work:
        orders = await add_orders(self._stage.product_db, self._template, count)
        return Work(_applications(orders, self._channel, self._stage.api_key))

    async def count(self) -> Counts:
        return await _count(self._stage.product_db, _PRODUCT_APPLIED) | await _told(self._stage)


class ProductCallback:
    """Notifications of attempts that are being paid."""

    status, rises = 204, 1

    def __init__(self, stage: Stage, template: Template) -> None:
        self.program = stage.product
        self._stage = stage
        self._template = template

    async def prepare(self, count: int) -> Work:
        numbers = await add_paying(self._stage.product_db, self._template, count)
        return Work(await _callbacks(self._stage.place, numbers))

    async def count(self) -> Counts:
        return await _count(self._stage.product_db, _PRODUCT_PAID)


async def _count(db: Database, query: str) -> Counts:
    row = await db.fetchrow(query)
    assert row is not None
    return {name: int(value) for name, value in row.items()}


async def _told(stage: Stage) -> Counts:
    """Count what the channel heard."""
    heard = await ask_channel(stage.place.channel_port)
    return {"channel_calls": heard.calls, "channel_numbers": heard.numbers}


def _applications(orders: Sequence[str], channel: str, api_key: str) -> list[bytes]:
    body = msgspec.json.encode({"channel": channel, "terminal": "pc"})
    headers = {"Authorization": f"Bearer {api_key}"}
    return [post(f"/v1/orders/{order}/attempts", headers, body) for order in orders]


async def _callbacks(place: Place, numbers: Sequence[str]) -> list[bytes]:
    """Sign a notification for each number; the signing lets two threads compute at once."""
    sign = rsa_signing(place.keys.public_key_pair)

    def signed(number: str) -> bytes:
        body = paid_notification(place.keys, number)
        headers = signed_headers(sign, place.keys.public_key_id, body)
        return post(f"/callbacks/{WECHAT_ACCOUNT}", headers, body)

    with ThreadPoolExecutor(2) as threads:
        return await asyncio.to_thread(lambda: list(threads.map(signed, numbers)))
