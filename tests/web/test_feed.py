"""The feed: the event log read along, without a gap and without a repeat, wherever it was left."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import WSCloseCode, WSMsgType
from msgspec.structs import replace

from gateway.embedded import start_valkey
from gateway.merchants import let_key_in
from gateway.secrets import new_api_key
from gateway.web import auth
from gateway.web.feed import MOST_FEEDS
from tests.payments.test_processes import serving_too
from tests.push.watched import open_order
from tests.rig import Rig, StartRig, until
from tests.web.api import Api, another_merchant
from tests.web.test_events import numbered, paid_orders
from tests.web.test_push_page import another_gateway, goodbye
from tests.workers.log import MERCHANT as LOG_MERCHANT
from tests.workers.log import commit_event, insert_event, numbered_events, the_log

PATIENCE_S = 20.0


class Feed:
    """An order service that reads along."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE_S):
            frame = await self.socket.receive()
        assert frame.type is WSMsgType.TEXT, frame
        return msgspec.json.decode(frame.data, type=dict[str, object])

    async def ids(self, count: int) -> list[str]:
        return [str((await self.next())["id"]) for _ in range(count)]


@asynccontextmanager
async def feed(api: Api, after: str = "", url: str = "") -> AsyncIterator[Feed]:
    query = f"?after={after}" if after else ""
    headers = {"Authorization": f"Bearer {api.api_key}"}
    address = f"{url or api.rig.url}/v1/feed{query}"
    async with api.rig.http.ws_connect(address, headers=headers) as socket:
        yield Feed(socket)


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    """With its worker, which numbers the events."""
    return await start_rig(worker=True)


async def reader_of_the_log(rig: Rig) -> Api:
    """The merchant of events without payments behind them."""
    api_key = new_api_key()
    await open_order(rig.desk.pool)
    async with rig.desk.pool.acquire() as conn:
        await let_key_in(conn, LOG_MERCHANT, api_key)
    return Api(rig, api_key)


async def test_the_feed_sends_what_the_log_has_and_then_what_happens(api: Api) -> None:
    await paid_orders(api, 2)
    log = (await numbered(api, 2)).data
    async with feed(api) as events:
        assert [await events.next(), await events.next()] == log
        (order,) = await paid_orders(api, 1)
        event = await events.next()
        assert (event["type"], event["order"]) == ("order.paid", order)
    async with feed(api, str(log[0]["id"])) as events:
        assert [await events.next(), await events.next()] == [log[1], event]


@pytest.mark.parametrize("after", ["evt_" + "0" * 26, "evt_x"], ids=["unknown", "no id"])
async def test_what_is_not_in_the_log_is_refused_before_the_upgrade(api: Api, after: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with feed(api, after):
            pass
    answer = await api.get(f"/v1/feed?after={after}")
    assert refused.value.status == answer.status
    assert (answer.status, answer.code) in ((404, "not_found"), (422, "invalid_request"))


async def test_another_merchants_event_and_a_wrong_key_are_refused(api: Api) -> None:
    await paid_orders(api, 1)
    (event,) = (await numbered(api, 1)).data
    other = await another_merchant(api.rig)
    for who, after, status in ((other, str(event["id"]), 404), (Api(api.rig, "po_no"), "", 401)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with feed(who, after):
                pass
        assert refused.value.status == status


async def test_a_merchant_sees_nothing_of_another(api: Api) -> None:
    other = await reader_of_the_log(api.rig)
    async with feed(other) as events:
        await paid_orders(api, 1)
        await numbered(api, 1)
        event = await commit_event(api.rig.desk.pool)
        assert await events.ids(1) == [event]


async def test_feeds_of_a_merchant_are_counted(api: Api) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MOST_FEEDS):
            await stack.enter_async_context(feed(api))
        answer = await api.get("/v1/feed")
        assert (answer.status, answer.code) == (429, "rate_limited")
    async with feed(await another_merchant(api.rig)):
        pass


async def test_a_reader_who_breaks_off_and_comes_back_misses_and_repeats_nothing(
    api: Api,
) -> None:
    """Four write at once, and commit in another order than they began, while one reads along."""
    pool, reader = api.rig.desk.pool, await reader_of_the_log(api.rig)
    total = 4 * 15

    async def write() -> None:
        for _ in range(total // 4):
            await commit_event(pool)

    writing = asyncio.gather(*(write() for _ in range(4)))
    seen: list[str] = []
    while len(seen) < total:
        async with feed(reader, seen[-1] if seen else "") as events:
            seen += await events.ids(min(random.randint(1, 20), total - len(seen)))
    await writing
    assert seen == await the_log(pool)


async def test_what_was_written_first_and_committed_last_is_not_skipped(api: Api) -> None:
    pool, reader = api.rig.desk.pool, await reader_of_the_log(api.rig)
    order = await open_order(pool)
    async with feed(reader) as events, pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        first = await insert_event(slow, order)
        second = await commit_event(pool)
        assert await events.ids(1) == [second]
        await transaction.commit()
        assert await events.ids(1) == [first]
    assert first < second, "control: a reader who goes by the ids would have skipped it"


async def test_a_feed_at_another_process_sends_what_this_one_numbered(api: Api) -> None:
    async with serving_too(api.rig) as url, feed(api, url=url) as events:
        for _ in range(2):
            (order,) = await paid_orders(api, 1)
            assert (await events.next())["order"] == order


async def test_a_key_that_ends_reads_no_further(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "BELIEVED_S", 0.0)
    reader = await reader_of_the_log(rig)
    async with feed(reader) as events:
        event = await commit_event(rig.desk.pool)
        assert await events.ids(1) == [event]
        await rig.desk.pool.execute("UPDATE api_keys SET expires_at = now()")
        await commit_event(rig.desk.pool)
        assert await goodbye(events.socket) == WSCloseCode.TRY_AGAIN_LATER
    answer = await reader.get("/v1/feed")
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_without_redis_the_log_is_read_again_every_few_seconds(
    start_rig: StartRig, tmp_path: Path
) -> None:
    valkey = await start_valkey(tmp_path)
    rig = await start_rig(redis_url=valkey.url)
    reader = await reader_of_the_log(rig)
    async with another_gateway(rig) as other:
        other.hub.pace = replace(other.hub.pace, look_s=3600.0, look_alone_s=0.05)
        async with feed(reader, url=other.url) as events:
            before = await numbered_events(rig.desk.pool, 1)
            await valkey.stop()
            after = await numbered_events(rig.desk.pool, 1)
            assert await events.ids(2) == before + after


async def test_feeds_are_told_when_the_process_stops(rig: Rig) -> None:
    reader = await reader_of_the_log(rig)
    async with AsyncExitStack() as stack:
        async with another_gateway(rig) as other:
            events = await stack.enter_async_context(feed(reader, url=other.url))
            event = await commit_event(rig.desk.pool)
            assert await events.ids(1) == [event]
        assert await goodbye(events.socket) == WSCloseCode.GOING_AWAY


async def test_a_reader_who_does_not_read_is_let_go(rig: Rig) -> None:
    reader = await reader_of_the_log(rig)
    await numbered_events(rig.desk.pool, 20)
    await rig.desk.pool.execute("UPDATE events SET body = repeat('x', 1000000)")
    async with another_gateway(rig) as other:
        other.hub.pace = replace(other.hub.pace, slow_reader_s=0.2)
        async with feed(reader, url=other.url):
            await until(lambda: other.hub.feeds.count(LOG_MERCHANT) == 0)
