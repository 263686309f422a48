"""`once`: of a caller's equal requests one runs within the window, whatever Redis is doing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import aiohttp
import asyncpg
import msgspec
import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.db import submissions
from gateway.embedded import start_valkey
from gateway.errors import InvalidRequest
from gateway.locks.claims import Claims
from gateway.locks.once import Guard, once
from gateway.ports import free_port
from tests.rig import until
from tests.web.counter import LONG_S, MANY, Counter, PatientClaims, standing

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@pytest.fixture
async def counter(pool: Pool, redis_url: str) -> AsyncIterator[Counter]:
    """A counter whose handler does not wait."""
    async with (
        Redis.from_url(redis_url) as redis,
        standing(PatientClaims(redis), redis, pool) as it,
    ):
        yield it


@pytest.fixture
async def blind_counter(pool: Pool) -> AsyncIterator[Counter]:
    """A counter whose Redis is away."""
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    async with Redis.from_url(nowhere) as redis, standing(Claims(redis), redis, pool) as it:
        yield it


def without_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lets_everybody_in(*_: object) -> None:
        return None

    monkeypatch.setattr(submissions, "claim", lets_everybody_in)


async def test_of_many_at_once_one_runs(counter: Counter) -> None:
    assert await counter.submit_together() == [200] + [409] * (MANY - 1)
    assert counter.runs == 1


async def test_with_redis_away_one_runs(blind_counter: Counter) -> None:
    assert await blind_counter.submit_together() == [200] + [409] * (MANY - 1)
    assert blind_counter.runs == 1


async def test_redis_alone_lets_one_in(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    without_postgresql(monkeypatch)
    assert await counter.submit_together() == [200] + [409] * (MANY - 1)


async def test_with_neither_redis_nor_postgresql_all_run(
    blind_counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the three tests above."""
    without_postgresql(monkeypatch)
    assert await blind_counter.submit_together() == [200] * MANY


async def test_without_the_decorator_all_run(counter: Counter) -> None:
    assert await counter.submit_together("/bare/tea") == [200] * MANY
    assert counter.runs == MANY


async def test_the_refusal_says_what_was_the_same_how_long_to_wait_and_what_to_do(
    counter: Counter,
) -> None:
    await counter.submit({"note": "x"})
    status, problem, retry_after = await counter.submit({"note": "x"})
    assert (status, problem["code"]) == (409, "duplicate_submission")
    assert problem["type"] == "urn:payonce:problem:duplicate_submission"
    assert retry_after is not None
    assert 0 < int(retry_after) <= LONG_S
    assert problem["detail"] == (
        "A request with the same `what`, `note` came a moment ago. See what came of it before you "
        f"repeat it; if you mean it twice, send it again in {retry_after} s."
    )


async def test_with_redis_away_the_refusal_is_the_same(blind_counter: Counter) -> None:
    await blind_counter.submit({"note": "x"})
    status, problem, retry_after = await blind_counter.submit({"note": "x"})
    assert (status, problem["code"]) == (409, "duplicate_submission")
    assert retry_after is not None
    assert 0 < int(retry_after) <= LONG_S


@pytest.mark.parametrize(
    "other",
    [
        {"body": {"note": "y"}},
        {"body": {}},
        {"body": {"note": ["x"]}},
        {"body": {"note": "x"}, "to": "/guarded/coffee"},
        {"body": {"note": "x"}, "to": "/by/tea"},
        {"body": {"note": "x"}, "caller": "bob"},
        {"body": {"note": "x"}, "method": "PUT"},
    ],
)
async def test_another_request_or_another_caller_is_let_in(
    counter: Counter, other: dict[str, object]
) -> None:
    await counter.submit({"note": "x", "items": []})
    other["body"] = {"items": [], **msgspec.convert(other["body"], dict[str, object])}
    status, problem, _ = await counter.submit(**other)  # type: ignore[arg-type]
    assert (status, counter.runs) == (200, 2), problem


async def test_fields_that_are_not_named_make_no_difference(counter: Counter) -> None:
    await counter.submit({"note": "x", "clicked_at": 1})
    assert (await counter.submit({"clicked_at": 2, "note": "x"}))[0] == 409


async def test_a_form_is_read_like_json(counter: Counter) -> None:
    statuses = [(await counter.submit(form={"note": note}))[0] for note in ("x", "x", "y")]
    assert statuses == [200, 409, 200]


async def test_a_function_says_what_is_the_same(counter: Counter) -> None:
    await counter.submit({"items": ["a", "b"]}, to="/by/tea")
    status, problem, _ = await counter.submit({"items": ["b", "a"]}, to="/by/tea")
    assert status == 409
    assert "`what`, `items`" in str(problem["detail"])
    assert (await counter.submit({"items": ["b"]}, to="/by/tea"))[0] == 200


async def test_the_clients_address_makes_a_difference_where_that_is_said(counter: Counter) -> None:
    await counter.submit(to="/address/tea")
    status, problem, _ = await counter.submit(to="/address/tea", caller="bob")
    assert status == 409
    assert "`what`, `client_address`" in str(problem["detail"])
    assert (await counter.submit(to="/address/tea", address="127.0.0.2"))[0] == 200
    await counter.submit({"note": "x"})
    assert (await counter.submit({"note": "x"}, address="127.0.0.2"))[0] == 409


async def test_the_token_in_the_path_is_a_caller(counter: Counter) -> None:
    statuses = [(await counter.submit(to=f"/pay/{token}"))[0] for token in ("t1", "t1", "t2")]
    assert statuses == [200, 409, 200]


async def refuse() -> web.StreamResponse:
    raise InvalidRequest("note", "Send another note.")


async def answer_500() -> web.StreamResponse:
    return web.Response(status=500)


async def break_down() -> web.StreamResponse:
    raise ZeroDivisionError


async def refuse_as_aiohttp_does() -> web.StreamResponse:
    raise web.HTTPUnprocessableEntity


@pytest.mark.parametrize("fail", [refuse, answer_500, break_down, refuse_as_aiohttp_does])
async def test_a_handler_that_failed_lets_the_request_come_again(
    counter: Counter, fail: Callable[[], Awaitable[web.StreamResponse]]
) -> None:
    counter.answer = fail
    assert (await counter.submit({"note": "x"}))[0] >= 400
    counter.answer = None
    statuses = [(await counter.submit({"note": "x"}))[0] for _ in range(2)]
    assert statuses == [200, 409]


async def test_a_redirect_that_is_raised_is_no_failure(counter: Counter) -> None:
    async def go_elsewhere() -> web.StreamResponse:
        raise web.HTTPNotModified

    counter.answer = go_elsewhere
    statuses = [(await counter.submit({"note": "x"}))[0] for _ in range(2)]
    assert statuses == [304, 409]


async def test_a_body_that_cannot_be_read_is_left_to_the_handler(counter: Counter) -> None:
    counter.answer = refuse
    form = "application/x-www-form-urlencoded; charset="
    async with aiohttp.ClientSession(headers={"Caller": "ann"}) as http:
        for kind, body in (
            ("application/json", b"{"),
            ("application/json", b"[1]"),
            ("application/json", b"\xff"),
            ("application/json", b"[" * 60_000),
            (form + "utf-8", b"\xff"),
            (form + "klingon", b"note=x"),
        ):
            headers = {"Content-Type": kind}
            url = counter.url + "/guarded/tea"
            async with http.post(url, data=body, headers=headers) as got:
                assert (got.status, (await got.json())["field"]) == (422, "note")


async def test_with_redis_flushed_in_mid_window_the_second_is_refused_all_the_same(
    counter: Counter,
) -> None:
    await counter.submit({"note": "x"})
    await counter.redis.flushdb()
    assert (await counter.submit({"note": "x"}))[0] == 409
    assert await counter.redis.keys() == []  # what was refused opens no window of its own
    await counter.pool.execute("UPDATE submissions SET ends_at = now()")
    assert (await counter.submit({"note": "x"}))[0] == 200


async def test_with_redis_stopped_in_mid_window_the_second_is_refused_all_the_same(
    counter: Counter, tmp_path: Path
) -> None:
    valkey = await start_valkey(tmp_path)
    async with Redis.from_url(valkey.url) as redis:
        guard = Guard(PatientClaims(redis), counter.pool)
        try:
            assert await guard.enter(b"digest", b"first", LONG_S) is None
            assert len(await redis.keys()) == 1
        finally:
            await valkey.stop()
        left_s = await guard.enter(b"digest", b"second", LONG_S)
        assert left_s is not None
        assert 0 < left_s <= LONG_S
        await guard.leave(b"digest", b"first")
        assert await guard.enter(b"digest", b"third", LONG_S) is None


async def test_after_the_window_the_same_is_let_in(counter: Counter) -> None:
    await counter.submit({"note": "x"})
    await counter.end_windows()
    statuses = [(await counter.submit({"note": "x"}))[0] for _ in range(2)]
    assert statuses == [200, 409]


async def test_a_window_ends_by_itself_though_the_first_has_not_come_back(counter: Counter) -> None:
    counter.open.clear()
    first = asyncio.create_task(counter.submit({"note": "x"}, to="/short/tea"))
    await until(lambda: counter.runs)

    async def look() -> bool:
        second = asyncio.create_task(counter.submit({"note": "x"}, to="/short/tea"))
        await until(lambda: second.done() or counter.runs == 2)
        if second.done():
            assert second.result()[0] == 409
            return False
        counter.open.set()
        return (await second)[0] == 200

    assert await until(look)
    assert (await first)[0] == 200


async def test_who_comes_back_late_does_not_end_another_ones_window(counter: Counter) -> None:
    digest, late, other = b"digest", b"late", b"other"
    assert await counter.guard.enter(digest, late, LONG_S) is None
    await counter.end_windows()
    assert await counter.guard.enter(digest, other, LONG_S) is None
    await counter.guard.leave(digest, late)
    assert await counter.guard.enter(digest, b"third", LONG_S) is not None
    await counter.redis.flushdb()
    assert await counter.guard.enter(digest, b"third", LONG_S) is not None


async def test_with_postgresql_away_nobody_is_let_in_and_nothing_is_held(
    counter: Counter, database_url: str
) -> None:
    async with asyncpg.create_pool(database_url, min_size=1) as closed:
        pass
    guard = Guard(PatientClaims(counter.redis), closed)
    with pytest.raises(asyncpg.InterfaceError):
        await guard.enter(b"digest", b"token", LONG_S)
    assert await counter.redis.keys() == []
    assert await counter.guard.enter(b"digest", b"token", LONG_S) is None
    await guard.leave(b"digest", b"token")  # no error: the window ends by itself


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_only_reads_cannot_carry_it(counter: Counter, method: str) -> None:
    assert (await counter.submit(method=method))[0] == 500
    assert counter.runs == 0


def test_a_guard_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(TypeError, match="which fields"):
        once()(handler)
    with pytest.raises(TypeError, match="who calls"):
        once("note")(handler)


async def test_windows_that_are_over_are_tidied_away(counter: Counter) -> None:
    async with counter.pool.acquire() as conn:
        for digest, window_s in ((b"over", 0.0), (b"open", LONG_S)):
            assert await submissions.claim(conn, digest, b"token", window_s) is None
        await submissions.forget_over(conn, 100)
        assert await conn.fetchval("SELECT array_agg(digest) FROM submissions") == [b"open"]


async def test_a_window_that_is_opened_again_while_it_is_tidied_stays(counter: Counter) -> None:
    async with counter.pool.acquire() as ours, counter.pool.acquire() as tidying:
        await submissions.claim(ours, b"again", b"first", 0.0)
        async with ours.transaction():
            assert await submissions.claim(ours, b"again", b"second", LONG_S) is None
            tidied = asyncio.create_task(submissions.forget_over(tidying, 100))
            await until(lambda: _waits_for_a_lock(counter.pool))
        await tidied
        assert await submissions.claim(ours, b"again", b"third", LONG_S) is not None


async def _waits_for_a_lock(pool: "asyncpg.Pool[asyncpg.Record]") -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(await pool.fetchval(waiting + " AND datname = current_database()"))
