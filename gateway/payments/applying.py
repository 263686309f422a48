"""Apply for payment (申请支付): claim, open, close the old, call the channel, remember.

Redis makes collisions rare (the claim) and answers fast (the cached answer); PostgreSQL makes them
harmless: the order's version, `one_offered_per_order` and the lease in `calling_until` hold without
it. No database connection is held while a channel is called.
"""

from datetime import datetime
from hashlib import blake2s
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.after import decode_final
from gateway.channels.base import Created, CreateRequest
from gateway.db import attempts, moves, orders
from gateway.db.orders import Reading
from gateway.errors import (
    ApplyInProgress,
    ChannelDown,
    ChannelRefusal,
    ChannelRefused,
    ChannelUnavailable,
    InvalidRequest,
    NotFound,
    OrderAlreadyPaid,
    OrderClosed,
    RateLimited,
)
from gateway.ids import AttemptId, OrderId
from gateway.jobs import Job
from gateway.locks.claims import Said
from gateway.model import (
    Attempt,
    AttemptState,
    ChannelReport,
    Order,
    OrderState,
    Outcome,
    Source,
)
from gateway.objects import attempt_object, encode
from gateway.payments.calling import call, query
from gateway.payments.claiming import claim_or_wait, renewed
from gateway.payments.closing import close_or_supersede
from gateway.payments.desk import Desk
from gateway.payments.planning import (
    CALL_LEASE,
    Step,
    Taker,
    Wish,
    choose,
    new_attempt,
    plan,
)
from gateway.telemetry import APPLY_SECONDS, ATTEMPTS, DUPLICATES_PREVENTED, log

# Each round closes an attempt or meets a rival's write; a buyer waits for so many, not for ever.
_ROUNDS: Final = 8


class Applied(Struct, frozen=True):
    """The answer: `body` is the attempt object as JSON; `replayed`: it had been given before."""

    body: bytes
    attempt: AttemptId
    replayed: bool
    first_ask: Job | None = None


class LiveAnswer(Struct, frozen=True):
    """A cached live answer, and whose it is."""

    merchant: str
    attempt: AttemptId
    body: msgspec.Raw


_decode_live: Final = msgspec.json.Decoder(LiveAnswer).decode
_decode_parameters: Final = msgspec.json.Decoder(CreateRequest).decode


async def apply_for_payment(
    desk: Desk, order_id: OrderId, wish: Wish, merchant: str | None
) -> Applied:
    """Give the buyer one thing to pay with, the same to everybody who asks for the same.

    `merchant` None: the checkout token was the credential. Raises OrderAlreadyPaid, OrderClosed,
    ApplyInProgress, RateLimited, ChannelNotConfigured, ChannelRefusal, ChannelDown or NotFound.
    """
    same = f"{wish.channel}|{wish.product or wish.terminal}|{wish.openid}"
    if wish.buyer.tax_id:
        same += f"|{_digest(wish.buyer.tax_id, order_id)}"
    claim = await claim_or_wait(desk, order_id, same)
    if claim.said is Said.FINAL:
        final = decode_final(claim.body)
        _must_be_theirs(merchant, final.merchant, order_id)
        raise final.problem()
    if claim.said is Said.LIVE:
        live = _decode_live(claim.body)
        _must_be_theirs(merchant, live.merchant, order_id)
        DUPLICATES_PREVENTED.labels(kind="attempt").inc()
        return Applied(bytes(live.body), live.attempt, replayed=True)
    application = Application(desk, order_id, wish, merchant)
    try:
        with APPLY_SECONDS.time():
            async with renewed(desk, order_id, claim):
                applied = await application.prepare()
        answer = LiveAnswer(application.owner, applied.attempt, msgspec.Raw(applied.body))
        await desk.claims.remember(order_id, claim, same, encode(answer), applied.first_ask)
    except BaseException:
        await desk.claims.release(order_id, claim)
        raise
    return applied


class Application:
    """One buyer's application to pay one order: reads, takes a step, reads again, until there is
    an answer.
    """

    def __init__(self, desk: Desk, order_id: OrderId, wish: Wish, merchant: str | None) -> None:
        self.owner = ""  # the merchant whose order it is
        self._desk = desk
        self._order_id = order_id
        self._wish = wish
        self._merchant = merchant
        self._spent: frozenset[AttemptId] = frozenset()

    async def prepare(self) -> Applied:
        for _ in range(_ROUNDS):
            order, now = await self._read()
            _must_be_theirs(self._merchant, order.merchant, order.id)
            _must_be_payable(order, now)
            self.owner = order.merchant
            taker = await self._taker(order)
            planned = plan(order, taker, now, self._spent)
            if planned is None or planned[0] in (Step.CLOSE_OLD, Step.SUPERSEDE):
                # Said before anything is closed for an attempt that cannot be made.
                self._must_have_room(order)
                if taker.names_buyer:
                    self._wish.buyer.details(taker.product)
            if planned is None:
                applied = await self._open_and_call(order, taker, now)
            else:
                applied = await self._take(*planned, order, taker, now)
            if applied is not None:
                return applied
        raise ApplyInProgress

    async def _read(self) -> Reading:
        async with self._desk.pool.acquire() as conn:
            reading = await orders.read(conn, self._order_id)
        if reading is None:
            raise NotFound(f"There is no order {self._order_id}.")
        return reading

    async def _taker(self, order: Order) -> Taker:
        wish = self._wish
        able = await self._desk.accounts.able(
            order.merchant, wish.channel, wish.terminal, wish.product, order.money
        )
        traits = able[0].adapter.traits
        product = wish.product or traits.products[wish.terminal]
        # Said before anything is closed or opened for a request that no channel can take.
        if product in traits.needs_payer and not wish.openid:
            raise InvalidRequest(
                "buyer.openid", f"`{product}` is made for one payer; send its openid."
            )
        if product in traits.needs_client_ip and not wish.client_ip:
            raise InvalidRequest(
                "buyer.ip", f"`{product}` needs the address of the buyer's device."
            )
        tax_id = wish.buyer.tax_id if product in traits.needs_buyer else ""
        takers = [Taker(account, product, wish.openid, tax_id) for account in able]
        return choose(order, takers, self._spent)

    async def _take(
        self, step: Step, attempt: Attempt, order: Order, taker: Taker, now: datetime
    ) -> Applied | None:
        """Take one step; None: read the order again and see."""
        match step:
            case Step.ANSWER:
                return _answer(attempt)
            case Step.WAIT:
                raise ApplyInProgress
            case Step.CLOSE_OLD:
                await close_or_supersede(self._desk, order, attempt)
                return None
            case Step.SUPERSEDE:
                await self._supersede(order, attempt)
                return None
            case Step.REPEAT | Step.OFFER_AGAIN:
                leased = await self._lease(step, order, attempt, now)
                if leased is None:
                    return None
                version = order.version + (step is Step.OFFER_AGAIN)
                return await self._call(leased, taker, version, repeat=True)

    async def _open_and_call(self, order: Order, taker: Taker, now: datetime) -> Applied | None:
        """Commit the attempt as `created` before the channel hears of it."""
        attempt = new_attempt(order, taker, self._wish, now, self._desk.settings.base_url)
        waits = taker.account.adapter.traits.voucher is not None
        try:
            async with self._desk.pool.acquire() as conn:
                opened = await moves.open_attempt(conn, order, attempt, order_waits=waits)
        except asyncpg.UniqueViolationError:
            return None  # a rival was first
        if not opened:
            return None
        try:
            return await self._call(attempt, taker, order.version + 1, repeat=False)
        except ChannelRefusal:
            if waits:
                await self._wait_no_longer(order, attempt)
            raise

    async def _wait_no_longer(self, before: Order, refused: Attempt) -> None:
        """Let the order expire as it did before; where it has moved again, it keeps its time."""
        order, _ = await self._read()
        async with self._desk.pool.acquire() as conn:
            shown = await moves.wait_no_longer(conn, order, before.expires_at, refused.channel)
        if shown:
            self._desk.errands.run(self._desk.claims.tell_pages(order.id, order.version + 1))

    def _must_have_room(self, order: Order) -> None:
        if len(order.attempts) >= self._desk.settings.max_attempts:
            raise RateLimited(
                f"The order has {len(order.attempts)} attempts to pay it, which is the limit; "
                "make a new order."
            )

    async def _lease(
        self, step: Step, order: Order, attempt: Attempt, now: datetime
    ) -> Attempt | None:
        """Take the right to repeat `create`, offering the attempt again where it was superseded."""
        until = now + CALL_LEASE
        async with self._desk.pool.acquire() as conn:
            if step is Step.REPEAT:
                taken = await attempts.lease(conn, attempt.id, until)
            else:
                try:
                    taken = await moves.offer_again(conn, order, attempt, until)
                except asyncpg.UniqueViolationError:
                    taken = False
        return replace(attempt, calling_until=until, superseded=False) if taken else None

    async def _call(
        self, attempt: Attempt, taker: Taker, version: int, *, repeat: bool
    ) -> Applied | None:
        """Call `create`: no answer changes nothing, a listed refusal of a first call ends the
        attempt.

        A refusal of a repeat, or one that says the number is spent, is about a payment that may
        exist: only a query knows, and the number is not tried again.
        """
        request = _decode_parameters(attempt.parameters)
        try:
            created = await call(taker.account, "create", taker.account.adapter.create(request))
        except ChannelUnavailable as error:
            await self._end_lease(attempt)
            raise ChannelDown from error
        except ChannelRefused as refusal:
            await self._end_lease(attempt)
            if repeat or refusal.number_spent:
                await self._query_spent(attempt, taker)
            else:
                report = ChannelReport(
                    taker.account.id, attempt.number, Outcome.DECLINED, Source.CREATE
                )
                await self._desk.settle(report)
            if refusal.number_spent:
                return None
            # What it says of a person may repeat what it was told of them.
            said = "" if request.buyer else f": {refusal.detail}"
            raise ChannelRefusal(f"The channel refused it ({refusal.code}){said}") from None
        return await self._accept(attempt, taker, created, version)

    async def _query_spent(self, attempt: Attempt, taker: Taker) -> None:
        account = taker.account
        try:
            report = await query(account, attempt)
        except ChannelUnavailable as error:
            raise ChannelDown from error
        settled = await self._desk.settle(report)
        self._spent |= {attempt.id}
        if settled.attempt.offered:
            await self._supersede(settled.order, settled.attempt)

    async def _supersede(self, order: Order, attempt: Attempt) -> None:
        async with self._desk.pool.acquire() as conn:
            await moves.supersede(conn, order, attempt)

    async def _end_lease(self, attempt: Attempt) -> None:
        """Let the buyer's next click go on at once; without this the lease ends by itself."""
        if attempt.calling_until is not None:
            async with self._desk.pool.acquire() as conn:
                await attempts.end_lease(conn, attempt.id, attempt.calling_until)

    async def _accept(
        self, attempt: Attempt, taker: Taker, created: Created, version: int
    ) -> Applied | None:
        """Write `created -> paying`; nothing to pay with leaves us unless that found the order
        open.

        Where somebody wrote to the order while the channel was called, it is read and written
        again.
        """
        next_action = encode(created.next_action).decode()
        ask_in_s = taker.account.next_ask_s(attempt.asks)
        for _ in range(_ROUNDS):
            async with self._desk.pool.acquire() as conn:
                accepted = await moves.accept(
                    conn,
                    self._order_id,
                    version,
                    attempt.id,
                    next_action=next_action,
                    usable_until=created.usable_until,
                    ask_in_s=ask_in_s,
                    channel_ref=created.channel_ref,
                )
            if accepted is not None:
                return self._accepted(
                    attempt, accepted, next_action, created, version + 1, ask_in_s
                )
            order, _ = await self._read()
            version = order.version
            if not order.attempt(attempt.id).state.live:
                break  # it was paid or ended meanwhile: the order says what to answer
        return None

    def _accepted(
        self,
        attempt: Attempt,
        accepted: moves.Accepted,
        next_action: str,
        created: Created,
        version: int,
        ask_in_s: float,
    ) -> Applied | None:
        ATTEMPTS.labels(channel=attempt.channel, state=AttemptState.PAYING.value).inc()
        log.info("attempt_paying", order=attempt.order_id, attempt=attempt.id)
        if accepted.superseded:
            return None
        self._desk.errands.run(self._desk.claims.tell_pages(self._order_id, version))
        paying = replace(
            attempt,
            state=AttemptState.PAYING,
            next_action=next_action,
            next_action_until=created.usable_until,
            updated_at=accepted.updated_at,
        )
        return _answer(paying, Job("ask", attempt.id, attempt.asks, ask_in_s))


def _answer(attempt: Attempt, first_ask: Job | None = None) -> Applied:
    body = encode(attempt_object(attempt, payable=True))
    return Applied(body, attempt.id, replayed=first_ask is None, first_ask=first_ask)


def _digest(tax_id: str, order_id: OrderId) -> str:
    """Tell tax ids of an order apart in Redis, which is not to hold one."""
    return blake2s(tax_id.encode(), key=order_id.encode(), digest_size=16).hexdigest()


def _must_be_theirs(merchant: str | None, owner: str, order_id: OrderId) -> None:
    if merchant is not None and merchant != owner:
        raise NotFound(f"There is no order {order_id}.")


def _must_be_payable(order: Order, now: datetime) -> None:
    if order.state is OrderState.PAID:
        raise OrderAlreadyPaid
    if order.state is OrderState.CLOSED or now >= order.expires_at:
        raise OrderClosed
