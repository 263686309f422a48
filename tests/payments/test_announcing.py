"""Telling the order service: at once, then for days, never other bytes, and a log that skips
nothing.
"""

import asyncio
from datetime import timedelta

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from gateway.db import events, orders
from gateway.db.orders import Connection
from gateway.ids import EventId
from gateway.model import Order, OrderState
from gateway.payments.closing import close_order
from gateway.payments.settle import settle
from gateway.ports import free_port
from gateway.secrets import Cipher
from gateway.up import serving
from gateway.webhooks import LADDER_S, SYNC_TRIES, Webhooks, webhook_session
from tests.payments.test_settling import number_in, paid
from tests.rig import MERCHANT, Rig, StartRig, until


async def a_paid_order(rig: Rig) -> Order:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    return (await rig.desk.settle(paid(number, f"ref-{number}"))).order


async def deliver_overdue(rig: Rig) -> None:
    await rig.desk.pool.execute("UPDATE events SET deliver_at = now() WHERE deliver_at IS NOT NULL")
    await rig.desk.webhooks.deliver_overdue(10)


async def test_a_webhook_is_tried_three_times_at_once_and_then_on_the_ladder(rig: Rig) -> None:
    """F17: the order service answers 500, for however long."""
    rig.receiver.status = 500
    await a_paid_order(rig)
    await until(lambda: rig.receiver.refused == SYNC_TRIES)

    async def put_off() -> object:
        return await rig.desk.pool.fetchval(
            "SELECT extract(epoch FROM deliver_at - now())::int FROM events "
            "WHERE last_error = 'answered 500'"
        )

    assert await until(put_off) == pytest.approx(LADDER_S[0], abs=2)
    rig.receiver.status = 204
    await deliver_overdue(rig)
    assert len(rig.receiver.received) == 1


async def test_a_webhook_is_delivered_though_the_process_died_after_the_commit(rig: Rig) -> None:
    """F17: the fact is committed with its event; nothing else of that process survives."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await settle(rig.desk.pool, paid(number), rig.url)  # and no errand follows
    assert not rig.receiver.received
    await deliver_overdue(rig)
    assert [(r.type, r.order) for r in rig.receiver.received] == [("order.paid", order.id)]


async def test_two_workers_send_a_webhook_once(rig: Rig) -> None:
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await settle(rig.desk.pool, paid(number), rig.url)
    await rig.desk.pool.execute("UPDATE events SET deliver_at = now()")
    await asyncio.gather(*(rig.desk.webhooks.deliver_overdue(10) for _ in range(4)))
    assert len(rig.receiver.received) == 1


async def test_after_three_days_it_waits_for_an_operator_who_can_send_it_again(rig: Rig) -> None:
    rig.receiver.status = 500
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await settle(rig.desk.pool, paid(number), rig.url)
    await rig.desk.pool.execute("UPDATE events SET created_at = now() - interval '4 days'")
    await deliver_overdue(rig)
    event, given_up = await rig.desk.pool.fetchrow("SELECT id, given_up_at FROM events") or ("", 0)
    assert given_up
    rig.receiver.status = 204
    async with rig.desk.pool.acquire() as conn:
        assert await events.redeliver(conn, MERCHANT, EventId(event))
        assert not await events.redeliver(conn, "somebody", EventId(event))
    await deliver_overdue(rig)
    assert len(rig.receiver.received) == 1


def test_the_ladder_ends_within_three_days() -> None:
    assert timedelta(seconds=sum(LADDER_S)) < timedelta(days=3)
    assert list(LADDER_S) == sorted(LADDER_S)


async def test_a_private_notify_url_is_not_called_unless_allowed(start_rig: StartRig) -> None:
    rig = await start_rig(allow_private_webhooks=False)
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    await settle(rig.desk.pool, paid(number), rig.url)
    for url in (
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://0x7f.1:1/",
    ):
        await rig.desk.pool.execute("UPDATE events SET url = $1", url)
        await deliver_overdue(rig)
        error = await rig.desk.pool.fetchval("SELECT last_error FROM events")
        assert "public address" in error or "could not be reached" in error
        assert not rig.receiver.received


async def test_the_log_gives_positions_in_commit_order_and_skips_no_late_commit(rig: Rig) -> None:
    """An event is written first and commits last: a reader who has read on must still see it."""
    for _ in range(3):
        await a_paid_order(rig)
    pool = rig.desk.pool
    first, second, third = await pool.fetch("DELETE FROM events RETURNING *")

    async def put(conn: "Connection | asyncpg.Pool[asyncpg.Record]", row: asyncpg.Record) -> None:
        await conn.execute(
            "INSERT INTO events SELECT (jsonb_populate_record(NULL::events, $1::jsonb)).*",
            await pool.fetchval("SELECT to_jsonb($1::events)", row),
        )

    async with pool.acquire() as slow, pool.acquire() as numberer:
        late = slow.transaction()
        await late.start()
        await put(slow, first)
        await put(pool, second)
        assert [e.id for e in await events.number_fresh(numberer, 10)] == [second["id"]]
        page = await events.page(numberer, MERCHANT, None, 10)
        await put(pool, third)
        await late.commit()
        await events.number_fresh(numberer, 10)
        rest = await events.page(numberer, MERCHANT, EventId(second["id"]), 10)
    assert len(page) == 1
    assert len(rest) == 2


async def test_concurrent_numberers_leave_no_gap(rig: Rig) -> None:
    for _ in range(6):
        await a_paid_order(rig)

    async def number() -> None:
        async with rig.desk.pool.acquire() as conn:
            await events.number_fresh(conn, 2)

    await asyncio.gather(*(number() for _ in range(8)))
    rows = await rig.desk.pool.fetch("SELECT position FROM events ORDER BY position")
    assert [row[0] for row in rows] == list(range(1, 7))


async def test_an_event_shows_the_order_as_its_move_left_it(rig: Rig) -> None:
    order = await a_paid_order(rig)
    async with rig.desk.pool.acquire() as conn:
        reading = await orders.read(conn, order.id)
    assert reading is not None
    now = reading[0]
    # What settle() said it would write is what is there.
    assert (now.state, now.version, now.paid_attempt, now.paid_at) == (
        OrderState.PAID,
        order.version,
        order.paid_attempt,
        order.paid_at,
    )
    assert now.attempts == order.attempts


async def test_a_closed_order_is_announced_as_it_is(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    closed = await close_order(rig.desk, order.id, MERCHANT)
    assert await rig.read(order) == closed


@pytest.mark.parametrize("queues", [False, pytest.param(True, id="control: 20 at a time")])
async def test_a_slow_order_service_is_given_its_whole_deadline_however_many_wait(
    rig: Rig, queues: bool
) -> None:
    """It answers nobody before it has heard them all, so whoever queues behind others is late."""
    many = 30
    for _ in range(many):
        number = number_in((await rig.apply(await rig.order())).body)
        await settle(rig.desk.pool, paid(number, number), rig.url)
    all_are_there = asyncio.Barrier(many)

    async def answer(_request: web.Request) -> web.Response:
        await all_are_there.wait()
        return web.Response(status=204)

    app, port = web.Application(), free_port()
    app.router.add_post("/", answer)
    await rig.desk.pool.execute(
        "UPDATE events SET deliver_at = now(), url = $1", f"http://127.0.0.1:{port}/"
    )
    session = webhook_session(allow_private=True)
    if queues:
        await session.close()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=20), timeout=aiohttp.ClientTimeout(total=0.5)
        )
    cipher = Cipher(rig.settings.secret_keys)
    async with serving(app, "127.0.0.1", port), session:
        webhooks = Webhooks(rig.desk.pool, rig.desk.redis, session, cipher, allow_private=True)
        assert await webhooks.deliver_overdue(many) == many
        if queues:
            await all_are_there.abort()
    late = await rig.desk.pool.fetchval(
        "SELECT count(*) FROM events WHERE last_error = 'no answer within 5 s'"
    )
    assert (late > 0) == queues


async def test_a_malformed_webhook_secret_fails_like_any_other_try(rig: Rig) -> None:
    """It is shown, and gets on the ladder; when it is put right, the event arrives."""
    order = await rig.order()
    number = number_in((await rig.apply(order)).body)
    rightly = await rig.desk.pool.fetchval("SELECT webhook_secrets FROM merchants")
    malformed = Cipher(rig.settings.secret_keys).encrypt(["whsec_x"])
    await rig.desk.pool.execute("UPDATE merchants SET webhook_secrets = $1", malformed)
    await settle(rig.desk.pool, paid(number), rig.url)
    for tries in (1, 2, 3):
        await deliver_overdue(rig)
        said, error, wait_s = await rig.desk.pool.fetchrow(
            "SELECT tries, last_error, extract(epoch FROM deliver_at - now())::int FROM events"
        ) or (0, "", 0)
        assert said == tries
        assert "cannot be signed" in error
        assert "whsec_x" not in error
        assert wait_s == pytest.approx(LADDER_S[tries - 1], abs=2)
    await rig.desk.pool.execute("UPDATE merchants SET webhook_secrets = $1", rightly)
    await deliver_overdue(rig)
    assert [(r.type, r.order) for r in rig.receiver.received] == [("order.paid", order.id)]
