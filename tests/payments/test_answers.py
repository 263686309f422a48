"""Cached answers: no code that a buyer could pay outlives a payment, a close or another attempt,
also while Redis comes and goes.
"""

import hashlib
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from msgspec import Struct

from gateway.errors import ApplyInProgress, ChannelDown
from gateway.ids import AttemptId, OrderId
from gateway.locks.claims import Claim, Claims, Run, Said, Script
from gateway.payments import claiming
from gateway.payments.closing import close_order
from tests.payments.test_settling import number_in, paid
from tests.rig import H5, MERCHANT, Rig

SAME = "wechat|pc|"  # what the cached answer of `rig.apply(order)` is kept for


class Shown(Struct, frozen=True):
    id: AttemptId
    next_action: dict[str, object] | None


def without(script: Script, guard: str, instead: str) -> None:
    """Take a guard out of a Lua script."""
    assert guard in script._text
    script._text = script._text.replace(guard, instead)
    script._sha = hashlib.sha1(script._text.encode(), usedforsecurity=False).hexdigest()


async def pause_scripts(rig: Rig) -> None:
    """Let Redis hold back every script that writes, until `go_on`."""
    run: Run = rig.desk.redis.execute_command
    await run("CLIENT", "PAUSE", 60_000, "WRITE")


async def go_on(rig: Rig) -> None:
    run: Run = rig.desk.redis.execute_command
    await run("CLIENT", "UNPAUSE")


@pytest.mark.parametrize(
    ("rests", "said"),
    [
        pytest.param(False, Said.FINAL, id="as shipped"),
        pytest.param(True, Said.LIVE, id="control: Redis is left in peace for a second"),
    ],
)
async def test_a_redis_that_paused_during_the_hush_keeps_no_code_of_a_paid_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, rests: bool, said: Said
) -> None:
    if rests:
        ask = Claims._ask

        async def ask_unless_it_rests(
            self: Claims,
            call: Callable[[], Awaitable[object]],
            deadline_s: float = 0.5,
            *,
            rests: bool = True,
        ) -> object:
            return await ask(self, call, deadline_s)

        monkeypatch.setattr(Claims, "_ask", ask_unless_it_rests)
    order = await rig.order()
    applied = await rig.apply(order)
    await pause_scripts(rig)
    await rig.desk.settle(paid(number_in(applied.body)))
    await go_on(rig)
    await rig.desk.errands.finish(within_s=5)
    healthy = Claims(rig.desk.redis)  # as in another process
    assert (await healthy.claim(order.id, SAME)).said is said


@pytest.mark.parametrize(
    ("guarded", "said"),
    [
        pytest.param(True, Said.BUSY, id="as shipped"),
        pytest.param(False, Said.LIVE, id="control: any news lifts the hush"),
    ],
)
async def test_older_news_does_not_lift_a_newer_hush(rig: Rig, guarded: bool, said: Said) -> None:
    """The errand of an earlier move comes late, between the hush of a payment and its commit."""
    asks = rig.desk.claims
    if not guarded:
        newer = "tonumber(redis.call('GET', KEYS[3]) or '0') < tonumber(ARGV[5])"
        without(asks._conclude, newer, "true")
    order = await rig.order()
    await rig.apply(order)
    version = (await rig.read(order)).version
    await asks.hush(order.id, version)
    await asks.conclude(order.id, version, b"")
    # Were the hush lifted, whoever applies now would cache a code that is about to be paid.
    claim = await asks.claim(order.id, SAME)
    await asks.remember(order.id, claim, SAME, b"a code", None)
    assert (await asks.claim(order.id, SAME)).said is said
    await asks.conclude(order.id, version + 1, b"")
    assert (await asks.claim(order.id, SAME)).said is Said.CLAIMED


async def test_an_older_hush_does_not_shorten_a_newer_one(rig: Rig) -> None:
    asks = rig.desk.claims
    order = await rig.order()
    await asks.hush(order.id, 5)
    await asks.hush(order.id, 3)
    await asks.conclude(order.id, 5, b"")
    assert (await asks.claim(order.id, SAME)).said is Said.BUSY
    await asks.conclude(order.id, 6, b"")
    assert (await asks.claim(order.id, SAME)).said is Said.CLAIMED


@pytest.mark.parametrize(
    ("forgets", "superseded"),
    [
        pytest.param(True, False, id="as shipped"),
        pytest.param(False, True, id="control: it is kept"),
    ],
)
async def test_a_cached_answer_is_forgotten_when_another_attempt_is_prepared(
    rig: Rig, forgets: bool, superseded: bool
) -> None:
    """The old attempt makes way, and then the new one cannot be made: its code is in the cache."""
    if not forgets:
        without(rig.desk.claims._claim, "redis.call('DEL', KEYS[1])", "")
    order = await rig.order()
    await rig.apply(order)
    error = {"verb": "create", "status": 500, "after_executing": False, "times": 1}
    await rig.faults(close="refuse", error=error)
    with pytest.raises(ChannelDown):
        await rig.apply(order, H5)
    shown = msgspec.json.decode((await rig.apply(order)).body, type=Shown)
    assert shown.next_action is not None
    assert (await rig.read(order)).attempt(shown.id).superseded == superseded


@pytest.mark.parametrize("hushes", [True, pytest.param(False, id="control: no hush")])
async def test_after_a_merchants_close_no_code_is_handed_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, hushes: bool
) -> None:
    """Also where the process dies between its commit and telling Redis."""

    async def nothing(_order: OrderId, *_: object) -> None:
        pass

    monkeypatch.setattr(rig.desk.claims, "conclude", nothing)
    monkeypatch.setattr(claiming, "_WAIT_FOR_RIVAL_S", 0.1)
    if not hushes:
        monkeypatch.setattr(rig.desk.claims, "hush", nothing)
    order = await rig.order()
    await rig.apply(order)
    await rig.faults(close="refuse")  # so there is something that can be paid
    await close_order(rig.desk, order.id, MERCHANT)
    if hushes:
        with pytest.raises(ApplyInProgress):
            await rig.apply(order)
    else:
        assert (await rig.apply(order)).replayed


def lose_answer_to_claim(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis takes the next claim, and its answer does not come in time."""
    take = rig.desk.claims._claim

    async def take_and_lose(keys: list[bytes], arguments: list[bytes]) -> object:
        monkeypatch.setattr(rig.desk.claims, "_claim", take)
        await take(keys, arguments)
        raise TimeoutError

    monkeypatch.setattr(rig.desk.claims, "_claim", take_and_lose)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("remembers", "said"),
    [
        pytest.param(True, Said.CLAIMED, id="as shipped"),
        pytest.param(False, Said.BUSY, id="control: the token is forgotten"),
    ],
)
async def test_a_claim_whose_answer_was_lost_is_released(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, remembers: bool, said: Said, fails: bool
) -> None:
    order = await rig.order()
    lose_answer_to_claim(rig, monkeypatch)
    claim = rig.desk.claims.claim

    async def forget_token(order_id: OrderId, same: str) -> Claim:
        return Claim((await claim(order_id, same)).said)

    if not remembers:
        monkeypatch.setattr(rig.desk.claims, "claim", forget_token)
    if fails:
        error = {"verb": "create", "status": 500, "after_executing": False, "times": 1}
        await rig.faults(error=error)
        with pytest.raises(ChannelDown):
            await rig.apply(order)
    else:
        await rig.apply(order)
    elsewhere = Claims(rig.desk.redis)  # this process leaves Redis in peace for a second
    assert (await elsewhere.claim(order.id, "another")).said is said
