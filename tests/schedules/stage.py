"""The stage: one running gateway, on which each schedule plays with an order of its own.

The desk is the real one, on real PostgreSQL and Valkey; only its doors are gated (`seams.py`) and
the channels are in this process.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

import aiohttp
import asyncpg
import msgspec
import pytest
from cryptography.fernet import Fernet
from msgspec import Struct
from redis.asyncio import Redis

from gateway.after import After
from gateway.db import ordering, orders
from gateway.devices.telling import Devices
from gateway.errors import ChannelDown
from gateway.ids import (
    AttemptId,
    OperatorId,
    OrderId,
    RefundId,
    new_checkout_token,
    new_order_id,
    number_of,
)
from gateway.lifespan import pool_for
from gateway.merchants import add_channel, add_merchant
from gateway.model import (
    Attempt,
    ChannelReport,
    Evidence,
    NewOrder,
    Order,
    RefundState,
    Source,
)
from gateway.operators import add_operator
from gateway.payments import accounts
from gateway.payments.accounts import Accounts
from gateway.payments.applying import Applied, apply_for_payment
from gateway.payments.asking import ask, ask_once, ask_overdue
from gateway.payments.capturing import go_on
from gateway.payments.closing import close_order, expire_due
from gateway.payments.desk import Desk
from gateway.payments.planning import Wish
from gateway.payments.refund_requests import approve, mark_returned, retry
from gateway.payments.refunding import refund_due
from gateway.secrets import Cipher, new_webhook_secret
from gateway.settings import Settings
from gateway.webhooks import Webhooks
from tests.schedules import tills
from tests.schedules.ledger import Ledger
from tests.schedules.scheduler import current, step
from tests.schedules.seams import (
    Patience,
    SteppedClaims,
    SteppedErrands,
    SteppedPool,
    take_the_clock,
)

MERCHANT: Final = "demo"
PRICE: Final = 100
_BATCH: Final = 50
_NO_LIMITS: Final = {"refund_limit": "1000000000", "refund_daily_limit": "1000000000"}

# Leases have ended, and whatever is asked about is due.
_A_MINUTE_LATER: Final = """
    UPDATE attempts SET ask_at = now(), calling_until = NULL
    WHERE order_id = $1 AND ask_at IS NOT NULL
"""
# Nothing can be paid any more, the order has expired, and all that is due is due.
_DAYS_LATER: Final = """
    WITH later AS (
        UPDATE attempts SET ask_at = now(), calling_until = NULL,
            pay_by = pay_by - interval '3 days', live_until = live_until - interval '3 days'
        WHERE order_id = $1 AND ask_at IS NOT NULL RETURNING id
    ), expired AS (
        UPDATE orders SET expires_at = expires_at - interval '3 days', due_at = now()
        WHERE id = $1 AND due_at IS NOT NULL RETURNING id
    )
    SELECT EXISTS (SELECT FROM later) AS is_asked_about, EXISTS (SELECT FROM expired) AS expires
"""
# Refunds that are under way are due; returned with those that wait for persons.
_REFUNDS_LATER: Final = """
    UPDATE refunds SET check_at = CASE WHEN check_at IS NOT NULL THEN now() END
    WHERE order_id = $1 AND (check_at IS NOT NULL OR state IN ('held', 'failed'))
    RETURNING id, account, CASE WHEN check_at IS NULL THEN state END
"""
_GIVE_NOTHING_BACK: Final = frozenset(each.channel for each in tills.ALL if not each.refunds)
_MOST_ROUNDS: Final = 10
_MINUTES_S: Final = 120.0


class Answer(Struct, frozen=True):
    """What a buyer got to pay with, who asks with his next step after `asked_after` of them."""

    flow: str
    attempt: AttemptId
    wish: Wish
    asked_after: int


class Outbox:
    """Sends nothing: that an event is committed with its fact, and stays due, is what is judged."""

    async def deliver_order(self, _order: OrderId) -> None: ...


class Stage:
    """What flows are made of: the verbs, as the web, the worker and the buyer call them."""

    def __init__(
        self,
        desk: Desk,
        raw: Desk,
        ledger: Ledger,
        claims: SteppedClaims,
        patience: Patience,
        operators: Sequence[OperatorId],
    ) -> None:
        self.desk = desk
        self.raw = raw  # the same without gates
        self.ledger = ledger
        self.claims = claims
        self.patience = patience
        self.operators = operators
        self.order = OrderId("")
        self.answers: list[Answer] = []
        self._numbers = itertools.count(1)

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        return self.raw.pool

    async def new_order(self) -> None:
        order_id = new_order_id()
        self.answers.clear()
        self.patience.let_pass(0)
        async with self.pool.acquire() as conn:
            row = ordering.Row(order_id, MERCHANT, new_checkout_token(), None)
            new = NewOrder(f"no-{next(self._numbers)}", PRICE, "CNY", "tea", 1800)
            await ordering.insert(conn, row, new, 0)
        self.order = order_id

    async def read(self) -> Order:
        async with self.pool.acquire() as conn:
            reading = await orders.read(conn, self.order)
        assert reading is not None
        return reading[0]

    async def attempts(self) -> tuple[Attempt, ...]:
        return (await self.read()).attempts

    # What flows do.

    async def apply(self, wish: Wish) -> None:
        """A buyer asks for something to pay with; where the channel is down, once more."""
        flow = current()
        assert flow is not None
        asked_after = len(flow.scheduler.taken)
        try:
            applied = await self._apply(wish)
        except ChannelDown:
            asked_after = len(flow.scheduler.taken)
            applied = await self._apply(wish)
        self.answers.append(Answer(flow.name, applied.attempt, wish, asked_after))

    async def apply_twice(self, wish: Wish) -> None:
        """A buyer asks, and asks again for the same."""
        await self.apply(wish)
        await self.apply(wish)

    async def apply_and_pay(self, wish: Wish) -> None:
        """A buyer asks, and pays or approves what he is given."""
        await self.apply(wish)
        number = number_of(self.answers[-1].attempt)
        if self.ledger.entries[number].traits.captures:
            await self.approve(number)
        else:
            await self.pay(number)

    async def applied_before(self, wish: Wish) -> None:
        """The same before the schedule begins."""
        await apply_for_payment(self.raw, self.order, wish, MERCHANT)

    async def paid_before(self, number: str) -> None:
        self.ledger.pay(number)
        await self.raw.settle(self._report(number, Source.POLL))
        await self.errands_are_done()

    async def approved_before(self, number: str) -> None:
        self.ledger.approve(number)
        report = self._report(number, Source.POLL)
        await go_on(self.raw, await self.raw.settle(report), report)
        await self.errands_are_done()

    async def close_before(self) -> None:
        await close_order(self.raw, self.order, MERCHANT)
        await self.errands_are_done()

    async def _apply(self, wish: Wish) -> Applied:
        return await apply_for_payment(self.desk, self.order, wish, MERCHANT)

    async def pay(self, number: str) -> None:
        """A buyer pays, and the channel calls back."""
        await step("channel takes the money")
        if self.ledger.pay(number):
            await self._call_back(number)

    async def approve(self, number: str) -> None:
        """A buyer lets us debit him, and the channel calls back."""
        await step("channel is given the approval")
        if self.ledger.approve(number):
            await self._call_back(number)

    async def arrive(self, number: str) -> None:
        """What was on its way arrives, and the channel calls back."""
        await step("channel takes the money")
        self.ledger.end_payments()
        await self._call_back(number)

    async def _call_back(self, number: str) -> None:
        report = self._report(number, Source.CALLBACK)
        news = f"news-{number}-{report.outcome}"
        evidence = Evidence(report.account, news, number, "{}", number.encode())
        await go_on(self.desk, await self.desk.settle(report, evidence), report)

    def _report(self, number: str, source: Source) -> ChannelReport:
        return self.ledger.report(self.ledger.entries[number].account, number, source)

    async def pay_unheard(self, number: str) -> None:
        """A buyer pays, having typed the password before a close that the channel answers; the
        callback is lost.
        """
        await step("channel is given the password")
        begun = self.ledger.entries[number].payable
        await step("channel takes the money")
        self.ledger.pay(number, begun=begun)

    async def poll(self, attempt: Attempt) -> None:
        await ask(self.desk, attempt.id, attempt.asks)

    async def come_back(self, attempt: Attempt) -> None:
        await ask_once(self.desk, attempt.id)

    async def close(self) -> None:
        await close_order(self.desk, self.order, MERCHANT)

    async def expire(self) -> None:
        await expire_due(self.desk, _BATCH)

    # What time and a restarted process do.

    async def time_passes(self, seconds: float) -> None:
        """Whoever waits for a call that is on its way has waited for so long."""
        await step("db time passes")
        self.patience.let_pass(seconds)

    async def let_it_expire(self) -> None:
        """The sweep's clock is a little ahead: to it, the order's time is over."""
        await self.pool.execute("UPDATE orders SET due_at = now() WHERE id = $1", self.order)

    async def minutes_later(self) -> bool:
        """What is still asked about is asked about, until nothing is due; False: nothing was."""
        self.patience.let_pass(_MINUTES_S)
        if await self.pool.execute(_A_MINUTE_LATER, self.order) == "UPDATE 0":
            return False
        await self._ask_all()
        return True

    async def days_later(self) -> None:
        """Nothing can be paid any more; every sweep runs until nothing is due."""
        self.ledger.end_payments()
        due = await self.pool.fetchrow(_DAYS_LATER, self.order)
        assert due is not None
        if due["expires"]:
            await expire_due(self.raw, _BATCH)
        if due["is_asked_about"]:
            await self._ask_all()
        self.ledger.end_refunds()
        for _ in range(_MOST_ROUNDS):
            unfinished = await self.pool.fetch(_REFUNDS_LATER, self.order)
            if not unfinished:
                break
            for refund, account, waits_as in unfinished:
                if waits_as is not None and account in _GIVE_NOTHING_BACK:
                    who = self.operators[0]
                    await mark_returned(self.raw, refund, who, "by hand", f"transfer {refund}")
                elif waits_as is not None:
                    await self._two_persons_want(refund, RefundState(waits_as))
            await self.errands_are_done()
            await refund_due(self.raw, _BATCH)
        await self.errands_are_done()

    async def _two_persons_want(self, refund: RefundId, state: RefundState) -> None:
        first, second = self.operators[-2:]
        if state is RefundState.FAILED:
            await retry(self.raw, refund, first, "again")
            await approve(self.raw, refund, second, "again")
        elif (await approve(self.raw, refund, first, "send it")).state is RefundState.HELD:
            await approve(self.raw, refund, second, "send it")

    async def errands_are_done(self) -> None:
        await self.raw.errands.finish(60)

    async def _ask_all(self) -> None:
        """One after the other: it is known what was committed before each call."""
        while await ask_overdue(self.raw, 1):
            pass


@asynccontextmanager
async def staged(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Build the stage; it is used by one schedule after another."""
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        secret_keys=(Fernet.generate_key().decode(),),
        allow_private_webhooks=True,
    )
    ledger = Ledger()
    for traits in tills.ALL:
        monkeypatch.setitem(accounts.MAKERS, traits.channel, (tills.make(ledger, traits),))
    take_the_clock(monkeypatch)
    cipher = Cipher(settings.secret_keys)
    async with pool_for(settings) as pool, Redis.from_url(redis_url) as redis:
        async with pool.acquire() as conn:
            url = "https://shop.example/webhooks"
            await add_merchant(conn, cipher, MERCHANT, "Demo", url, new_webhook_secret())
            for traits in tills.ALL:
                account = kind = traits.channel
                await add_channel(conn, cipher, MERCHANT, account, kind, _NO_LIMITS)
            operators = [(await add_operator(conn, name))[0] for name in ("Li", "Wu", "Xu", "Yu")]
        claims = SteppedClaims(redis)
        webhooks = cast(Webhooks, Outbox())
        devices = Devices(pool, cipher, {})
        raw = Desk(
            pool=pool,
            redis=redis,
            claims=claims,
            accounts=Accounts(pool, cipher, cast(aiohttp.ClientSession, None)),
            webhooks=webhooks,
            devices=devices,
            after=After(claims, webhooks, devices),
            errands=SteppedErrands(),
            settings=settings,
        )
        stepped = cast("asyncpg.Pool[asyncpg.Record]", SteppedPool(pool))
        desk = msgspec.structs.replace(raw, pool=stepped)
        yield Stage(desk, raw, ledger, claims, Patience(monkeypatch), operators)
