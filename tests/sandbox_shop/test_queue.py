"""News from the message queue: shared, taken over from the dead, acted on once, lost never."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.embedded import start_valkey
from gateway.sandbox.shop_queue import GROUP, STREAM
from tests.rig import until
from tests.sandbox_shop.conftest import (
    MERCHANT,
    OpenAShop,
    OpenShop,
    settings_for,
    shop_street,
)
from tests.sandbox_shop.fake_payonce import FakePayOnce, PayOnceOrder, event_body


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
async def shop(open_shop: OpenAShop, redis_url: str) -> OpenShop:
    """A shop that reads the queue beside its webhooks."""
    return await open_shop(events_url=redis_url)


async def put(
    redis: Redis, order: PayOnceOrder, event_id: str = "evt_1", merchant: str = MERCHANT
) -> None:
    """Put an event on the stream, as PayOnce does."""
    body = event_body(order, event_id)
    await redis.xadd(STREAM, {"id": event_id, "merchant": merchant, "body": body})


async def all_acknowledged(redis: Redis) -> None:
    """Wait until the group has taken in all that there is."""

    async def nothing_left() -> bool:
        (group,) = await redis.xinfo_groups(STREAM)
        newest = (await redis.xinfo_stream(STREAM))["last-generated-id"]
        return bool(group["last-delivered-id"] == newest and group["pending"] == 0)

    await until(nothing_left)


async def test_an_event_from_the_queue_acts_as_a_webhook_does(
    payonce: FakePayOnce, shop: OpenShop, redis: Redis
) -> None:
    no = await shop.place()
    stock = await shop.stock()
    await put(redis, payonce.move(no, "paid"))
    order = await shop.until(no, "awaiting_shipment")
    assert (order.paid_times, order.version) == (1, 2)
    assert await shop.stock() == stock - 2
    await all_acknowledged(redis)
    assert await shop.received() == []


async def test_queue_and_webhook_together_act_once_however_often_they_repeat(
    payonce: FakePayOnce, shop: OpenShop, redis: Redis
) -> None:
    no = await shop.place()
    stock = await shop.stock()
    paid = payonce.move(no, "paid")
    await asyncio.gather(*(put(redis, paid) for _ in range(10)), *(shop.tell(paid) for _ in "ab"))
    await all_acknowledged(redis)
    assert (await shop.order(no)).paid_times == 1
    assert await shop.stock() == stock - 2
    assert await shop.tell(paid) == 200
    assert (await shop.received())[-1].effect == "repeated"


async def test_what_is_not_the_shops_is_passed_over(
    payonce: FakePayOnce, shop: OpenShop, redis: Redis
) -> None:
    """Another merchant's events, another program's orders, other money, and what is no event."""
    no = await shop.place()
    paid = payonce.move(no, "paid")
    await put(redis, paid, "evt_1", merchant="somebody")
    stranger = PayOnceOrder("ord_x", "X-1", 1, "CNY", "tea", "", None, None, "paid", 2)
    await put(redis, stranger, "evt_2")
    other_money = PayOnceOrder(paid.id, no, 1, "CNY", "tea", "", None, None, "paid", 3)
    await put(redis, other_money, "evt_3")
    await redis.xadd(STREAM, {"merchant": MERCHANT, "body": "no event"})
    await redis.xadd(STREAM, {"note": "by hand"})
    await all_acknowledged(redis)
    assert (await shop.order(no)).state == "unpaid"


async def test_an_entry_is_acknowledged_after_its_commit(
    payonce: FakePayOnce, shop: OpenShop, redis: Redis, tmp_path: Path
) -> None:
    no = await shop.place()
    book = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
    book.execute("BEGIN IMMEDIATE")  # nobody else commits now
    await put(redis, payonce.move(no, "paid"))

    async def handed_out() -> bool:
        (group,) = await redis.xinfo_groups(STREAM)
        return bool(group["pending"] == 1)

    await until(handed_out)
    book.execute("ROLLBACK")
    book.close()
    await all_acknowledged(redis)
    assert (await shop.order(no)).paid_times == 1


async def test_what_a_dead_consumer_left_is_taken_over(
    payonce: FakePayOnce, open_shop: OpenAShop, redis: Redis, redis_url: str
) -> None:
    """One died before it committed anything, another between its commit and its acknowledgement."""
    shop = await open_shop()
    unpaid, paid = await shop.place(), await shop.place(items=[{"sku": "taster"}])
    await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    committed = payonce.move(paid, "paid")
    await put(redis, payonce.move(unpaid, "paid"), "evt_1")
    await put(redis, committed, "evt_2")
    await redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    assert await shop.tell(committed, "evt_2") == 200
    shop = await open_shop(events_url=redis_url, claim_after_s=0.01)
    await shop.until(unpaid, "awaiting_shipment")
    await all_acknowledged(redis)
    assert [(await shop.order(no)).paid_times for no in (unpaid, paid)] == [1, 1]


async def test_two_processes_of_the_shop_share_the_entries(
    payonce: FakePayOnce, tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    async with shop_street(payonce, tmp_path) as here, shop_street(payonce, tmp_path) as there:
        shop, _ = [await open_one(events_url=redis_url) for open_one in (here, there)]
        numbers = [await shop.place(buyer_id=f"b{each}") for each in range(12)]
        stock = await shop.stock()
        for each, no in enumerate(numbers):
            await put(redis, payonce.move(no, "paid"), f"evt_{each}")
        await all_acknowledged(redis)
        assert {(await shop.order(no)).paid_times for no in numbers} == {1}
        assert await shop.stock() == stock - 2 * len(numbers)
        assert len(await redis.xinfo_consumers(STREAM, GROUP)) == 2


async def test_a_redis_that_is_flushed_or_restarted_is_read_on(
    payonce: FakePayOnce, open_shop: OpenAShop, tmp_path: Path
) -> None:
    valkey = await start_valkey(tmp_path)
    shop = await open_shop(events_url=valkey.url)
    numbers = [await shop.place(buyer_id=f"b{each}") for each in range(3)]
    moved = [payonce.move(no, "paid") for no in numbers]
    async with Redis.from_url(valkey.url) as redis:
        await put(redis, moved[0], "evt_0")
        await shop.until(numbers[0], "awaiting_shipment")
        await redis.flushall()
        for each in (0, 1):  # PayOnce fills the stream again
            await put(redis, moved[each], f"evt_{each}")
        await shop.until(numbers[1], "awaiting_shipment")
    await valkey.stop()
    back = await start_valkey(tmp_path, port=int(valkey.url.rpartition(":")[2][:-2]))
    async with Redis.from_url(back.url) as redis:
        await put(redis, moved[2], "evt_2")
        await shop.until(numbers[2], "awaiting_shipment")
    assert {(await shop.order(no)).paid_times for no in numbers} == {1}
    await back.stop()


@pytest.mark.parametrize(("url", "merchant"), [("amqp://there", "tea"), ("redis://there", "")])
def test_a_queue_that_cannot_be_read_is_refused_at_the_start(
    payonce: FakePayOnce, tmp_path: Path, url: str, merchant: str
) -> None:
    settings = settings_for(payonce, tmp_path, "http://shop")
    with pytest.raises(ValueError, match=r"events_url|merchant"):
        replace(settings, events_url=url, merchant=merchant)
