"""Telling devices: what is due in PostgreSQL, read anew each time, and given to the platforms.

Nothing here is hurried on by a queue: who settles tells at once, and whatever was lost, refused or
left by a process that died is found by the sweep, from the row that committed with the fact.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final

import asyncpg

from gateway.db import devices, orders
from gateway.db.devices import Due, NewDevice
from gateway.devices.base import Dead, Note, PushPlatform, Told
from gateway.devices.platforms import Address, address_of
from gateway.devices.words import news_of, note_of
from gateway.errors import ConfigurationError, PushUnavailable
from gateway.ids import OrderId
from gateway.secrets import Cipher
from gateway.telemetry import PUSHES, log
from gateway.together import Crew, together

LADDER_S: Final = (5.0, 30.0, 300.0, 1800.0)
_TRIES: Final = len(LADDER_S) + 1
_LONGEST_WAIT_S: Final = 3600.0  # whatever a platform asks for
# Signing in, a push, and both again when the platform wants a new signature.
_PUSH_WITHIN_S: Final = 15.0
# Nobody else pushes to the device meanwhile.
_LEASE_S: Final = 30.0
_MOST_OF_AN_ORDER: Final = 5


class Devices:
    """The devices that want to know of orders."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        cipher: Cipher,
        platforms: Mapping[str, PushPlatform],
    ) -> None:
        self._pool = pool
        self._cipher = cipher
        self._platforms = platforms

    def address_of(self, said: str) -> Address | None:
        """Say where a device is; None: pushes are off. Raises InvalidRequest."""
        return address_of(said, self._platforms)

    async def add(self, order: OrderId, address: Address, language: str) -> None:
        """Tell this device of the order from now on; for one that is there already, nothing."""
        said = f"{order} {address.platform} {address.token}"
        device = NewDevice(
            order,
            hashlib.sha256(said.encode()).digest(),
            address.platform,
            self._cipher.encrypt([address.token]),
            language,
        )
        async with self._pool.acquire() as conn:
            await devices.add(conn, device, _MOST_OF_AN_ORDER)

    async def tell_order(self, order: OrderId) -> None:
        """Tell the order's devices what they do not know yet."""
        if not self._platforms:
            return
        async with self._pool.acquire() as conn:
            claimed = await devices.claim_of_order(conn, order, _LEASE_S, list(self._platforms))
        await together("push", (self._tell(due) for due in claimed))

    async def tell_overdue(self, limit: int, crew: Crew) -> int:
        """Begin to tell whom nobody told, whoever lost it; returns how many were claimed.

        A platform that keeps the crew busy is left for later.
        """
        awake = [name for name in self._platforms if name not in crew.crowded()]
        if not awake:
            return 0
        async with self._pool.acquire() as conn:
            claimed = await devices.claim_overdue(conn, limit, _LEASE_S, awake)
        for due in claimed:
            crew.begin(due.platform, self._tell(due))
        return len(claimed)

    async def _tell(self, due: Due) -> None:
        """Tell a device how its order stands now, and write down how it went."""
        async with self._pool.acquire() as conn:
            reading = await orders.read(conn, due.order_id)
        assert reading is not None, "a foreign key keeps the order"
        order, _ = reading
        news = news_of(order)
        if news is None or news == due.told:
            await self._end(due, due.told, due.reference, None)
            return
        try:
            pushed = await self._push(due, note_of(order, news, due.language))
        except PushUnavailable as unavailable:
            await self._later(due, unavailable)
            return
        result = "told" if isinstance(pushed, Told) else "dead"
        PUSHES.labels(platform=due.platform, result=result).inc()
        log.info("pushed", order=due.order_id, platform=due.platform, news=news, result=result)
        match pushed:
            case Told(reference=reference):
                await self._end(due, news, reference, None)
            case Dead():
                async with self._pool.acquire() as conn:
                    await devices.forget(conn, due)

    async def _push(self, due: Due, note: Note) -> Told | Dead:
        if due.tries > _TRIES:
            raise PushUnavailable("whoever tried it did not come back to say how it went")
        try:
            [token] = self._cipher.decrypt_list(due.token)
            async with asyncio.timeout(_PUSH_WITHIN_S):
                return await self._platforms[due.platform].push(token, note, due.reference)
        except TimeoutError:
            raise PushUnavailable(f"no answer within {_PUSH_WITHIN_S:g} s") from None
        except ConfigurationError as error:
            raise PushUnavailable(f"the token cannot be read: {error}") from None

    async def _later(self, due: Due, unavailable: PushUnavailable) -> None:
        """Try again on a ladder, or when the platform asks us to; in the end, give this news up."""
        last = due.tries >= _TRIES
        again_in_s = None if last else LADDER_S[due.tries - 1]
        if again_in_s is not None and unavailable.wait_s is not None:
            again_in_s = max(again_in_s, min(unavailable.wait_s, _LONGEST_WAIT_S))
        PUSHES.labels(platform=due.platform, result="given_up" if last else "later").inc()
        log.warning(
            "push_failed",
            order=due.order_id,
            platform=due.platform,
            tries=due.tries,
            given_up=last,
            error=unavailable.why,
        )
        await self._end(due, due.told, due.reference, again_in_s)

    async def _end(self, due: Due, told: str, reference: str, again_in_s: float | None) -> None:
        async with self._pool.acquire() as conn:
            await devices.end(conn, due, told, reference, again_in_s)
