"""Asking while other things happen: rivals' writes, clocks that are off, silent channels."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Self

import pytest
from aiohttp import web

from gateway.db import attempts
from gateway.db.attempts import Asking
from gateway.model import Attempt, AttemptState, Order, OrderState
from gateway.payments import asking, calling
from gateway.payments.accounts import Account
from gateway.payments.asking import ask, ask_overdue
from gateway.payments.closing import end_at_channel
from gateway.payments.desk import Desk
from gateway.ports import free_port
from gateway.together import Crew
from gateway.up import serving
from tests.payments.test_settling import number_in, paid, two_attempts
from tests.rig import ACCOUNT, H5, Rig, until
from workers import sweep
from workers.sweep import keep_sweeping

SILENT = "silent"
NEVER_S = 3600.0
OFF = timedelta(hours=2)


async def seconds_until_asked(rig: Rig, attempt: str) -> float:
    seconds = await rig.desk.pool.fetchval(
        "SELECT extract(epoch FROM ask_at - now())::float FROM attempts WHERE id = $1", attempt
    )
    return float(seconds)


@pytest.mark.parametrize(
    ("guarded", "put_off"),
    [
        pytest.param(True, False, id="as shipped"),
        pytest.param(False, True, id="control: whoever asked says when"),
    ],
)
async def test_a_loser_is_due_at_once_though_an_ask_about_it_was_under_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, guarded: bool, put_off: bool
) -> None:
    order, first, second = await two_attempts(rig)
    if not guarded:
        unguarded = attempts._ASK_NEXT.replace("ask_at = $2", "$2::timestamptz IS NOT NULL")
        unguarded = unguarded.replace("a.$2", "$2")
        assert unguarded != attempts._ASK_NEXT
        monkeypatch.setattr(attempts, "_ASK_NEXT", unguarded)
    query = asking._query

    async def query_slowly(desk: Desk, account: Account, asked: Attempt | Asking) -> Attempt | None:
        """The other attempt is paid between the channel's answer and our note of it."""
        answered = await query(desk, account, asked)
        assert asked.number == second
        await rig.desk.settle(paid(first))
        return answered

    monkeypatch.setattr(asking, "_query", query_slowly)
    loser = (await rig.read(order)).attempts[1]
    await ask(rig.desk, loser.id, loser.asks)
    after = (await rig.read(order)).attempts[1]
    assert (after.superseded, after.state) == (True, AttemptState.PAYING)
    assert (await seconds_until_asked(rig, loser.id) > 1) == put_off


@pytest.mark.parametrize(
    ("reread", "ends"),
    [
        pytest.param(True, AttemptState.PAYING, id="as shipped"),
        pytest.param(False, AttemptState.CLOSED, id="control: closed as it was queried"),
    ],
)
async def test_what_was_offered_again_while_it_was_queried_is_not_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, reread: bool, ends: AttemptState
) -> None:
    order = await rig.order()
    await rig.faults(close="refuse")
    first = await rig.apply(order)
    await rig.apply(order, H5)
    query = asking._query

    async def query_slowly(desk: Desk, account: Account, asked: Attempt | Asking) -> Attempt | None:
        """The buyer comes back to the first between the channel's answer and our close of it."""
        answered = await query(desk, account, asked)
        again = await rig.apply(order)
        assert again.attempt == first.attempt
        await rig.faults(close="default")
        return answered

    async def close_at_once(desk: Desk, seen: Attempt) -> Attempt:
        _, settled = await end_at_channel(desk, seen)
        return settled.attempt if settled else seen

    monkeypatch.setattr(asking, "_query", query_slowly)
    if not reread:
        monkeypatch.setattr(asking, "_close_unoffered", close_at_once)
    superseded = (await rig.read(order)).attempts[0]
    await ask(rig.desk, superseded.id, superseded.asks)
    assert (await rig.read(order)).attempts[0].state is ends


def set_our_clock_off(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """Set the clock off by which every payment verb could go."""

    class OffClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + off

    for name, module in list(sys.modules.items()):
        if name.startswith("gateway.payments.") and hasattr(module, "datetime"):
            monkeypatch.setattr(module, "datetime", OffClock)


def go_by_our_clock(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """As it would be if asking took the time from the application and not from the database."""
    schedule = asking._schedule

    async def by_our_clock(
        desk: Desk, claimed: Asking, account: Account, attempt: Attempt | None, now: datetime
    ) -> None:
        await schedule(desk, claimed, account, attempt, now + off)

    monkeypatch.setattr(asking, "_schedule", by_our_clock)


CLOCKS = pytest.mark.parametrize(
    ("off", "ours_decides"),
    [
        pytest.param(-OFF, False, id="2 h behind"),
        pytest.param(OFF, False, id="2 h ahead"),
        pytest.param(-OFF, True, id="control: 2 h behind, and gone by"),
        pytest.param(OFF, True, id="control: 2 h ahead, and gone by"),
    ],
)


@CLOCKS
async def test_an_application_clock_that_is_off_changes_nothing_in_when_a_channel_is_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, off: timedelta, ours_decides: bool
) -> None:
    set_our_clock_off(monkeypatch, off)
    if ours_decides:
        go_by_our_clock(monkeypatch, off)
    applied = await rig.apply(await rig.order())
    assert await seconds_until_asked(rig, applied.attempt) == pytest.approx(3, abs=2)
    await ask(rig.desk, applied.attempt, 0)
    on_time = await seconds_until_asked(rig, applied.attempt) == pytest.approx(10, abs=3)
    assert on_time != ours_decides


@CLOCKS
async def test_an_application_clock_that_is_off_forgets_no_late_money(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, off: timedelta, ours_decides: bool
) -> None:
    """A close can race a password, so what was closed is asked about until nothing can come."""
    set_our_clock_off(monkeypatch, off)
    if ours_decides:
        go_by_our_clock(monkeypatch, off)
    order = await rig.order()
    await rig.apply(order)
    await rig.apply(order, H5)
    await rig.desk.pool.execute(
        "UPDATE attempts SET ask_at = now(), updated_at = now() - interval '1 minute' "
        "WHERE state = 'closed'"
    )
    assert await ask_overdue(rig.desk, 10) == 1
    closed = (await rig.read(order)).attempts[0]
    assert closed.state is AttemptState.CLOSED
    assert (closed.ask_at == closed.live_until) != ours_decides


@asynccontextmanager
async def an_account_that_never_answers(rig: Rig, waiting: int) -> AsyncIterator[list[str]]:
    """Give the merchant another account, with so many attempts on it that are long overdue.

    Yields the paths that it was asked for; nobody is answered before the block ends.
    """
    asked: list[str] = []
    over = asyncio.Event()

    async def keep_waiting(request: web.Request) -> web.Response:
        asked.append(request.path)
        await over.wait()
        return web.Response(status=500)

    app, port = web.Application(), free_port()
    app.router.add_route("*", "/{path:.*}", keep_waiting)
    pool = rig.desk.pool
    await pool.execute(
        "INSERT INTO channel_accounts (id, merchant, kind, settings, secrets, priority) "
        "SELECT $1, merchant, kind, settings || jsonb_build_object('base_url', $2::text), secrets, "
        "900 FROM channel_accounts WHERE id = $3",
        SILENT,
        f"http://127.0.0.1:{port}",
        ACCOUNT,
    )
    for _ in range(waiting):
        await rig.apply(await rig.order())
    await pool.execute(
        "UPDATE attempts SET account = $1, ask_at = now() - interval '1 hour'", SILENT
    )
    async with serving(app, "127.0.0.1", port):
        try:
            yield asked
        finally:
            over.set()


async def paid_unnoticed(rig: Rig) -> Order:
    order = await rig.order()
    await rig.faults(drop_callbacks=1)
    await rig.pay(number_in((await rig.apply(order)).body))
    await rig.desk.pool.execute("UPDATE attempts SET ask_at = now() WHERE order_id = $1", order.id)
    return order


@pytest.mark.parametrize(
    ("most_for_one", "held_up"),
    [
        pytest.param(2, False, id="as shipped: so many for one"),
        pytest.param(6, True, id="control: one may take all"),
    ],
)
async def test_an_account_that_never_answers_holds_up_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, most_for_one: int, held_up: bool
) -> None:
    monkeypatch.setattr(calling, "DEADLINE_S", NEVER_S)
    async with an_account_that_never_answers(rig, waiting=8) as asked:
        order = await paid_unnoticed(rig)
        crew = Crew("ask", most=6, most_for_one=most_for_one)
        for _ in range(4):
            await ask_overdue(rig.desk, min(2, crew.room), crew)
        await until(lambda: len(asked) == most_for_one)
        if held_up:
            assert crew.room == 0
            assert (await rig.read(order)).attempts[0].asks == 0
        else:
            await rig.until_order(order, OrderState.PAID)
        assert len(asked) == most_for_one
        await crew.end()


async def test_the_sweep_goes_on_while_an_account_never_answers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "DEADLINE_S", NEVER_S)
    monkeypatch.setattr(sweep, "Crew", partial(Crew, most=6, most_for_one=2))
    monkeypatch.setattr(sweep, "_HANDFUL", 2)
    async with an_account_that_never_answers(rig, waiting=8) as asked:
        order = await paid_unnoticed(rig)
        sweeping = asyncio.create_task(keep_sweeping(rig.desk))
        try:
            await rig.until_order(order, OrderState.PAID)
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
        assert len(asked) == 2
