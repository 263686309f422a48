"""A POST with an Idempotency-Key happens once."""

import asyncio
from hashlib import sha256

import asyncpg
import pytest
from multidict import CIMultiDict

from gateway.db import idempotency
from gateway.db.idempotency import Held, Kept, Mismatch, Running, Scope
from gateway.web.idempotency import HEADER
from tests.rig import until
from tests.web.api import H5, NATIVE, Api, another_merchant, new_order

SCOPE = Scope("demo", "POST", "/v1/orders", "key-1")
LEASE_S = 60.0


def body_hash(body: bytes = b"{}") -> bytes:
    return sha256(body).digest()


async def test_a_repeat_gets_the_first_answer_to_the_letter(api: Api) -> None:
    body = new_order()
    first = await api.post("/v1/orders", body, key="k")
    await api.apply(first.id)  # the order has moved on since
    again = await api.post("/v1/orders", body, key="k")
    assert (first.status, first.replayed) == (201, False)
    assert (again.status, again.replayed) == (201, True)
    assert again.body == first.body


async def test_a_problem_is_repeated_to_the_letter(api: Api) -> None:
    body = new_order(amount=0)
    first = await api.post("/v1/orders", body, key="k")
    again = await api.post("/v1/orders", body, key="k")
    assert (first.status, first.code) == (422, "invalid_request")
    assert again.body == first.body
    assert again.headers["Content-Type"] == "application/problem+json"
    assert again.replayed


async def test_another_body_is_a_mismatch(api: Api) -> None:
    await api.post("/v1/orders", new_order(), key="k")
    answer = await api.post("/v1/orders", new_order(), key="k")
    assert (answer.status, answer.code) == (422, "idempotency_mismatch")


async def test_a_key_is_good_for_one_merchant_and_one_path(api: Api) -> None:
    first = await api.post("/v1/orders", new_order(), key="k")
    other = await another_merchant(api.rig)
    theirs = await other.post("/v1/orders", new_order(), key="k")
    elsewhere = await api.post(f"/v1/orders/{first.id}/close", key="k")
    assert (first.status, theirs.status, elsewhere.status) == (201, 201, 200)
    assert not theirs.replayed
    assert not elsewhere.replayed


@pytest.mark.parametrize("key", ["", "k" * 256, "with space", "schlüssel", "tab\tkey"])
async def test_a_key_that_is_no_key_is_refused(api: Api, key: str) -> None:
    answer = await api.post("/v1/orders", new_order(), key=key)
    assert (answer.status, answer.json["field"]) == (422, HEADER)


async def test_two_keys_in_one_request_are_refused(api: Api) -> None:
    keys = CIMultiDict([(HEADER, "a"), (HEADER, "b")])
    answer = await api.call("POST", "/v1/orders", new_order(), headers=keys)
    assert (answer.status, answer.json["field"]) == (422, HEADER)


async def test_of_many_at_once_one_runs_and_the_rest_hear_of_it(api: Api) -> None:
    body = new_order()
    answers = await asyncio.gather(*(api.post("/v1/orders", body, key="k") for _ in range(20)))
    ran = [answer for answer in answers if answer.status == 201 and not answer.replayed]
    rest = [answer for answer in answers if answer not in ran]
    assert len(ran) == 1
    for answer in rest:
        if answer.status == 201:
            assert answer.replayed
            assert answer.body == ran[0].body
        else:
            assert (answer.status, answer.code) == (409, "request_in_progress")
            assert answer.headers["Retry-After"] == "1"


async def test_without_the_key_every_request_runs(api: Api) -> None:
    """The control: the handler, which the key lets run once, runs twenty times without it."""
    body = new_order()
    answers = await asyncio.gather(*(api.post("/v1/orders", body) for _ in range(20)))
    assert [answer.replayed for answer in answers] == [False] * 20
    assert sorted(answer.status for answer in answers) == [*[200] * 19, 201]


async def test_a_repeat_after_the_payment_hands_out_no_code(api: Api) -> None:
    order = await api.open_order()
    attempt = await api.apply(order.id, key="k")
    again = await api.apply(order.id, key="k")
    assert (again.status, again.replayed) == (200, True)
    assert again.json == attempt.json
    await api.pay(attempt)
    after = await api.apply(order.id, key="k")
    assert (after.status, after.code) == (409, "order_already_paid")
    assert b"weixin" not in after.body


async def test_a_repeat_for_an_attempt_that_was_replaced_hands_out_no_code(api: Api) -> None:
    order = await api.open_order()
    first = await api.apply(order.id, NATIVE, key="k")
    await api.apply(order.id, H5)
    again = await api.apply(order.id, NATIVE, key="k")
    assert again.json["id"] == first.id
    assert again.json["next_action"] is None
    assert len((await api.get(f"/v1/orders/{order.id}")).json["attempts"]) == 2  # type: ignore[arg-type]


async def test_a_repeat_after_the_close_says_closed(api: Api) -> None:
    order = await api.open_order()
    await api.apply(order.id, key="k")
    await api.post(f"/v1/orders/{order.id}/close")
    again = await api.apply(order.id, key="k")
    assert (again.status, again.code) == (409, "order_closed")


async def test_no_code_is_ever_stored_with_a_key(api: Api) -> None:
    order = await api.open_order()
    attempt = await api.apply(order.id, key="k")
    async with api.rig.desk.pool.acquire() as conn:
        kept = await conn.fetchval("SELECT answer FROM idempotency_keys WHERE key = 'k'")
    assert kept == attempt.id.encode()


async def test_a_failure_of_the_channel_is_not_kept(api: Api) -> None:
    order = await api.open_order()
    lost = {"verb": "create", "after_executing": True, "times": 1}
    await api.rig.faults(lose_answer=lost)
    failed = await api.apply(order.id, key="k")
    assert failed.status == 503
    again = await api.apply(order.id, key="k")
    assert again.status == 201
    assert not again.replayed


async def test_the_wrong_content_type_does_not_use_up_the_key(api: Api) -> None:
    body = new_order()
    refused = await api.call(
        "POST", "/v1/orders", body, key="k", headers={"Content-Type": "text/plain"}
    )
    assert refused.code == "unsupported_media_type"
    assert (await api.post("/v1/orders", body, key="k")).status == 201


async def test_one_of_many_claims_holds_the_key(rig_pool: asyncpg.Pool) -> None:
    async def claim() -> idempotency.Claim:
        async with rig_pool.acquire() as conn:
            return await idempotency.claim(conn, SCOPE, body_hash(), LEASE_S)

    claims = await asyncio.gather(*(claim() for _ in range(20)))
    assert sorted(type(each).__name__ for each in claims) == ["Held", *["Running"] * 19]


async def test_who_dies_with_a_key_holds_it_for_the_lease_alone(rig_pool: asyncpg.Pool) -> None:
    async with rig_pool.acquire() as conn:
        dead = await idempotency.claim(conn, SCOPE, body_hash(), 0.0)
        mismatch = await idempotency.claim(conn, SCOPE, body_hash(b"other"), LEASE_S)
        heir = await idempotency.claim(conn, SCOPE, body_hash(), LEASE_S)
        assert isinstance(dead, Held)
        assert isinstance(mismatch, Mismatch)
        assert isinstance(heir, Held)
        # The dead one comes back late: the key is not its any more.
        await idempotency.keep(conn, SCOPE, dead, 201, b"late")
        await idempotency.give_back(conn, SCOPE, dead)
        assert isinstance(await idempotency.claim(conn, SCOPE, body_hash(), LEASE_S), Running)
        await idempotency.keep(conn, SCOPE, heir, 201, b"right")
        kept = await idempotency.claim(conn, SCOPE, body_hash(), LEASE_S)
        assert kept == Kept(201, b"right")


async def test_a_key_is_forgotten_after_a_day(rig_pool: asyncpg.Pool) -> None:
    async with rig_pool.acquire() as conn:
        held = await idempotency.claim(conn, SCOPE, body_hash(), LEASE_S)
        assert isinstance(held, Held)
        await idempotency.keep(conn, SCOPE, held, 201, b"first")
        assert await idempotency.forget_old(conn, 100) == 0
        await conn.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        fresh = await idempotency.claim(conn, SCOPE, body_hash(b"other"), LEASE_S)
        assert isinstance(fresh, Held)
        await conn.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        assert await idempotency.forget_old(conn, 100) == 0  # it is held
        await idempotency.keep(conn, SCOPE, fresh, 201, b"second")
        assert await idempotency.forget_old(conn, 100) == 1


@pytest.fixture
def rig_pool(api: Api) -> "asyncpg.Pool[asyncpg.Record]":
    """The gateway's own connections, to a database that has a merchant."""
    return api.rig.desk.pool


async def test_a_key_that_is_used_again_while_old_ones_are_tidied_stays(
    rig_pool: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    async def somebody_waits() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(await rig_pool.fetchval(waiting + " AND datname = current_database()"))

    async with rig_pool.acquire() as ours, rig_pool.acquire() as tidying:
        held = await idempotency.claim(ours, SCOPE, body_hash(), LEASE_S)
        assert isinstance(held, Held)
        await idempotency.keep(ours, SCOPE, held, 200, b"{}")
        await ours.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        async with ours.transaction():
            assert isinstance(await idempotency.claim(ours, SCOPE, body_hash(), LEASE_S), Held)
            tidied = asyncio.create_task(idempotency.forget_old(tidying, 100))
            await until(somebody_waits)
        assert await tidied == 0
