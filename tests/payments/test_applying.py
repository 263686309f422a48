"""Applying for payment: one number however many ask, and nothing to pay with once it is paid."""

import asyncio

import msgspec
import pytest

from gateway.db import moves
from gateway.errors import (
    ApplyInProgress,
    ChannelDown,
    ChannelRefusal,
    InvalidRequest,
    OrderAlreadyPaid,
    OrderClosed,
    PayOnceError,
    RateLimited,
)
from gateway.locks.claims import Claim, Said
from gateway.model import AttemptState, OrderState
from gateway.payments import applying, claiming
from gateway.payments.applying import Applied
from gateway.payments.closing import close_order
from gateway.payments.planning import Wish
from tests.payments.test_settling import number_in, paid
from tests.rig import H5, MERCHANT, NATIVE, Rig, StartRig, until


async def ten_clicks(rig: Rig, wish: Wish = NATIVE) -> tuple[list[Applied], list[PayOnceError]]:
    order = await rig.order()
    answers = await asyncio.gather(
        *(rig.apply(order, wish) for _ in range(10)), return_exceptions=True
    )
    applied = [answer for answer in answers if isinstance(answer, Applied)]
    refused = [answer for answer in answers if isinstance(answer, PayOnceError)]
    assert len(applied) + len(refused) == 10, answers
    return applied, refused


def without_redis(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Redis does not answer; the real thing is stopped in test_processes.py."""

    async def unavailable(*_: object) -> Claim:
        return Claim(Said.UNAVAILABLE)

    monkeypatch.setattr(rig.desk.claims, "claim", unavailable)


async def test_ten_clicks_make_one_number(rig: Rig) -> None:
    applied, refused = await ten_clicks(rig)
    assert not refused
    assert len({each.body for each in applied}) == 1
    assert sum(not each.replayed for each in applied) == 1
    assert list((await rig.calls("create")).values()) == [1]


async def test_ten_clicks_make_one_number_without_redis(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_redis(rig, monkeypatch)
    applied, refused = await ten_clicks(rig)
    assert len({each.body for each in applied}) == 1
    assert all(isinstance(each, ApplyInProgress) for each in refused)
    assert list((await rig.calls("create")).values()) == [1]


@pytest.mark.parametrize(
    ("version", "index", "more_than_one"),
    [
        pytest.param(True, True, False, id="as shipped, without Redis"),
        pytest.param(True, False, False, id="version alone"),
        pytest.param(False, True, False, id="index alone"),
        pytest.param(False, False, True, id="control: neither"),
    ],
)
async def test_without_guards_ten_clicks_make_more_numbers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, version: bool, index: bool, more_than_one: bool
) -> None:
    without_redis(rig, monkeypatch)
    if not version:
        unguarded = moves._OPEN_ATTEMPT.replace("AND version = $3", "AND $3::bigint > 0")
        assert unguarded != moves._OPEN_ATTEMPT
        monkeypatch.setattr(moves, "_OPEN_ATTEMPT", unguarded)
    if not index:
        await rig.desk.pool.execute("DROP INDEX one_offered_per_order")
    everyone_has_read = asyncio.Barrier(10)
    order = await rig.order()
    read = applying.Application._read
    first_reads = set(range(10))

    async def read_together(application: applying.Application) -> object:
        """All ten read before any of them writes; what comes later reads as it likes."""
        reading = await read(application)
        if first_reads:
            first_reads.pop()
            await everyone_has_read.wait()
        return reading

    monkeypatch.setattr(applying.Application, "_read", read_together)
    await asyncio.gather(*(rig.apply(order) for _ in range(10)), return_exceptions=True)
    assert (len(await rig.calls("create")) > 1) == more_than_one
    assert (len(await rig.ledger()) > 1) == more_than_one


@pytest.mark.parametrize("after_executing", [False, True])
async def test_a_lost_answer_to_create_is_repeated_with_the_same_number(
    rig: Rig, after_executing: bool
) -> None:
    order = await rig.order()
    await rig.faults(lose_answer={"verb": "create", "after_executing": after_executing, "times": 1})
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    assert (await rig.read(order)).attempts[0].state is AttemptState.CREATED
    applied = await rig.apply(order)
    assert list(await rig.calls("create")) == [number_in(applied.body)]
    assert len((await rig.read(order)).attempts) == 1


async def test_an_error_of_the_channel_is_not_a_refusal(rig: Rig) -> None:
    order = await rig.order()
    await rig.faults(error={"verb": "create", "status": 500, "after_executing": True, "times": 1})
    with pytest.raises(ChannelDown):
        await rig.apply(order)
    applied = await rig.apply(order)
    assert len(await rig.calls("create")) == 1
    assert applied.attempt == (await rig.read(order)).attempts[0].id


async def set_appid(rig: Rig, appid: str) -> str:
    """Set the account up with another app id; returns the one that it had."""
    had = await rig.desk.pool.fetchval("SELECT settings ->> 'appid' FROM channel_accounts")
    await rig.desk.pool.execute(
        "UPDATE channel_accounts SET settings = settings || jsonb_build_object('appid', $1::text)",
        appid,
    )
    rig.desk.accounts._of_merchant.clear()
    return str(had)


async def test_a_refusal_ends_the_attempt_and_the_next_one_has_a_new_number(rig: Rig) -> None:
    order = await rig.order()
    rightly = await set_appid(rig, "wx0000000000000000")
    with pytest.raises(ChannelRefusal, match="APPID_MCHID_NOT_MATCH"):
        await rig.apply(order)
    assert (await rig.read(order)).attempts[0].state is AttemptState.DECLINED
    await set_appid(rig, rightly)
    await rig.apply(order)
    assert len((await rig.read(order)).attempts) == 2


@pytest.mark.parametrize(("product", "field"), [("jsapi", "buyer.openid"), ("h5", "buyer.ip")])
async def test_what_no_channel_could_take_is_refused_before_anything_is_closed(
    rig: Rig, product: str, field: str
) -> None:
    order = await rig.order()
    await rig.apply(order)
    before = await rig.read(order)
    with pytest.raises(InvalidRequest) as refused:
        await rig.apply(order, Wish("wechat", NATIVE.terminal, product=product))
    assert refused.value.members["field"] == field
    assert await rig.read(order) == before


@pytest.mark.parametrize("expires_in_s", [1, 60, 61])
async def test_an_order_can_be_paid_until_its_last_second(rig: Rig, expires_in_s: int) -> None:
    """The channel wants to be given more time than is left; money that comes late is surplus."""
    order = await rig.order(expires_in_s=expires_in_s)
    await rig.apply(order)
    assert (await rig.read(order)).attempts[0].state is AttemptState.PAYING


async def test_another_product_closes_the_old_attempt_first(rig: Rig) -> None:
    """F14: and the new one has a number of its own."""
    order = await rig.order()
    first = await rig.apply(order)
    second = await rig.apply(order, H5)
    after = await rig.read(order)
    assert [a.state for a in after.attempts] == [AttemptState.CLOSED, AttemptState.PAYING]
    assert first.attempt != second.attempt
    states = {entry["number"]: entry["state"] for entry in await rig.ledger()}
    assert str(states[number_in(first.body)]).lower() == "closed"


async def test_what_cannot_be_closed_is_superseded_and_offered_again(rig: Rig) -> None:
    order = await rig.order()
    first = await rig.apply(order)
    await rig.faults(close="refuse")
    second = await rig.apply(order, H5)
    after = await rig.read(order)
    assert [(a.state, a.superseded) for a in after.attempts] == [
        (AttemptState.PAYING, True),
        (AttemptState.PAYING, False),
    ]
    again = await rig.apply(order)
    assert again.attempt == first.attempt != second.attempt
    offered = (await rig.read(order)).offered
    assert offered is not None
    assert offered.id == first.attempt


async def test_a_paid_old_attempt_makes_the_order_paid_instead_of_a_new_attempt(rig: Rig) -> None:
    order = await rig.order()
    await rig.faults(drop_callbacks=1)
    await rig.pay(number_in((await rig.apply(order)).body))
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order, H5)
    assert (await rig.read(order)).state is OrderState.PAID
    assert len(await rig.ledger()) == 1


async def test_nothing_is_known_of_the_old_attempt_so_it_is_superseded(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(error={"verb": "close", "status": 500, "after_executing": False, "times": 1})
    await rig.apply(order, H5)
    first = (await rig.read(order)).attempts[0]
    assert (first.state, first.superseded) == (AttemptState.PAYING, True)
    assert first.ask_at is not None


async def test_an_answer_that_comes_after_the_order_was_paid_leaves_nothing_to_pay_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F31: it is superseded, and due to be asked about."""
    order = await rig.order()
    first = await rig.apply(order)
    await rig.faults(close="refuse")
    accept = moves.accept

    async def accept_late(*args: object, **said: object) -> object:
        """The first attempt is paid between the channel's answer and our write of it."""
        await rig.desk.settle(paid(number_in(first.body)))
        return await accept(*args, **said)  # type: ignore[arg-type]

    monkeypatch.setattr(moves, "accept", accept_late)
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order, H5)
    late = (await rig.read(order)).attempts[1]
    assert late.superseded
    assert late.state is AttemptState.PAYING
    assert late.ask_at is not None


async def test_no_cached_answer_survives_the_payment(rig: Rig) -> None:
    """F32: the callback's script has taken it away."""
    order = await rig.order()
    applied = await rig.apply(order)
    assert (await rig.apply(order)).replayed
    await rig.desk.settle(paid(number_in(applied.body)))
    with pytest.raises(OrderAlreadyPaid):
        await rig.apply(order)


async def test_a_claim_that_was_revoked_by_a_payment_stores_no_answer(rig: Rig) -> None:
    order = await rig.order()
    claim = await rig.desk.claims.claim(order.id, "same")
    await rig.desk.claims.hush(order.id, 1)
    await rig.desk.claims.remember(order.id, claim, "same", b"a QR", None)
    assert (await rig.desk.claims.claim(order.id, "same")).said is Said.BUSY
    await rig.desk.claims.conclude(order.id, 2, b"")
    assert (await rig.desk.claims.claim(order.id, "same")).said is Said.CLAIMED


async def test_a_claim_is_renewed_while_the_channel_is_slow(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "RENEW_EVERY_S", 0.05)
    rig.desk.claims._ttl = b"150"
    order = await rig.order()
    await rig.faults(latency_s=0.6)
    slow = asyncio.create_task(rig.apply(order))
    await until(lambda: rig.calls("create"))
    rival = await rig.desk.claims.claim(order.id, "rival")
    assert rival.said is Said.BUSY
    await slow
    assert len(await rig.calls("create")) == 1


async def test_an_expired_order_cannot_be_applied_for(rig: Rig) -> None:
    order = await rig.order()
    await rig.desk.pool.execute("UPDATE orders SET expires_at = now() - interval '1 second'")
    with pytest.raises(OrderClosed):
        await rig.apply(order)


async def test_a_closed_order_cannot_be_applied_for(rig: Rig) -> None:
    order = await rig.order()
    await close_order(rig.desk, order.id, MERCHANT)
    with pytest.raises(OrderClosed):
        await rig.apply(order)


async def test_the_number_of_attempts_has_a_limit(start_rig: StartRig) -> None:
    rig = await start_rig(max_attempts=3)
    order = await rig.order()
    for wish in (NATIVE, H5, NATIVE):
        await rig.apply(order, wish)
    with pytest.raises(RateLimited):
        await rig.apply(order, H5)


async def test_the_limit_of_attempts_is_said_before_anything_is_closed(start_rig: StartRig) -> None:
    rig = await start_rig(max_attempts=1)
    order = await rig.order()
    applied = await rig.apply(order)
    before = await rig.read(order)
    with pytest.raises(RateLimited):
        await rig.apply(order, H5)
    assert await rig.read(order) == before
    assert await rig.calls("close") == {}
    assert (await rig.apply(order)).body == applied.body


async def test_an_expired_code_is_renewed_under_the_same_number(rig: Rig) -> None:
    order = await rig.order()
    first = await rig.apply(order)
    await rig.desk.pool.execute("UPDATE attempts SET next_action_until = now()")
    await rig.desk.redis.flushdb()
    again = await rig.apply(order)
    assert again.attempt == first.attempt
    assert list((await rig.calls("create")).values()) == [2]


async def test_an_attempt_shows_what_the_contract_says(rig: Rig) -> None:
    order = await rig.order()
    shown = msgspec.json.decode((await rig.apply(order)).body)
    assert shown["object"] == "attempt"
    assert shown["order"] == order.id
    assert shown["state"] == "paying"
    assert shown["next_action"]["type"] == "qr"
    assert shown["next_action"]["content"].startswith("weixin://")
    assert len(shown["number"]) == 26
