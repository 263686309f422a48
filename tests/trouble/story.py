"""A merchant's program that does not give up: a whole purchase, each call repeated until answered.

It repeats only what it is told to repeat (503, and 409 for what is still under way), always the
same request, and fails the test where an answer is anything else or does not say when to come
again.
"""

import asyncio
import time
from collections import Counter
from typing import Final

import aiohttp

from tests.rig import Rig, until
from tests.web.api import NATIVE, Answer, Api, new_order

# No answer takes longer, whatever is away: a statement's time, a connection's, and a slow machine.
ANSWERED_WITHIN_S: Final = 10.0
_WITHIN_S: Final = 30.0
_UNDER_WAY: Final = {"apply_in_progress", "request_in_progress"}


class Merchant:
    """Calls over HTTP; `told` counts the problems that it was told to repeat after."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.told: Counter[str] = Counter()
        self._api = Api(rig)

    async def once(self, method: str, path: str, body: object = None, key: str = "") -> Answer:
        """Call once; what cannot be answered now says so in time, and when to come again."""
        began = time.monotonic()
        answer = await self._api.call(method, path, body, key=key or None)
        assert time.monotonic() - began < ANSWERED_WITHIN_S
        if answer.status >= 400:
            code = str(answer.code)
            assert answer.status == 503 or code in _UNDER_WAY, answer.body
            assert int(answer.headers["Retry-After"]) >= 1
            self.told[code] += 1
        return answer

    async def call(self, method: str, path: str, body: object = None, key: str = "") -> Answer:
        """Call until it is answered; leases that a lost connection left behind end meanwhile."""

        async def answered() -> Answer | None:
            answer = await self.once(method, path, body, key)
            if answer.status < 400:
                return answer
            if answer.status == 409:
                await end_leases(self.rig)
            return None

        return await until(answered, _WITHIN_S)

    async def open(self, key: str = "open") -> Answer:
        body = new_order()
        return await self.call("POST", "/v1/orders", body, key)

    async def apply(self, order: str, key: str = "apply") -> Answer:
        return await self.call("POST", f"/v1/orders/{order}/attempts", NATIVE, key)

    async def until_paid(self, order: str) -> Answer:
        async def paid() -> Answer | None:
            answer = await self.once("GET", f"/v1/orders/{order}")
            return answer if answer.status == 200 and answer.json["state"] == "paid" else None

        return await until(paid, _WITHIN_S)

    async def until_announced(self, order: str, type_: str = "order.paid") -> None:
        async def announced() -> bool:
            await hurry_webhooks(self.rig)
            return any((r.type, r.order) == (type_, order) for r in self.rig.receiver.received)

        await until(announced, _WITHIN_S)


async def buy(rig: Rig) -> Merchant:
    """Open an order, apply, pay, and refund a part, whatever is lost on the way."""
    await rig.faults(refund_takes_s=0.0)
    merchant = Merchant(rig)
    order = await merchant.open()
    attempt = await merchant.apply(order.id)
    await rig.pay(str(attempt.json["number"]))
    await merchant.until_paid(order.id)
    await merchant.until_announced(order.id)
    path = f"/v1/orders/{order.id}/refunds"
    await merchant.call("POST", path, {"amount": 30}, "refund")
    await merchant.until_announced(order.id, "refund.done")
    return merchant


async def end_leases(rig: Rig) -> None:
    """Let the time pass after which what a lost connection has claimed is free again."""
    await _execute(rig, "UPDATE attempts SET calling_until = now() WHERE calling_until > now()")
    await _execute(
        rig, "UPDATE idempotency_keys SET locked_until = now() WHERE locked_until > now()"
    )


async def hurry_webhooks(rig: Rig) -> None:
    """Let the time pass after which the sweep sends, asks and gives back what nobody did."""
    await _execute(rig, "UPDATE events SET deliver_at = now() WHERE deliver_at > now()")
    await _execute(
        rig, "UPDATE refunds SET check_at = now() WHERE check_at > now() + interval '1 second'"
    )


async def hurry_asks(rig: Rig) -> None:
    await _execute(rig, "UPDATE attempts SET ask_at = now() WHERE ask_at > now()")


async def _execute(rig: Rig, statement: str) -> None:
    await rig.desk.pool.execute(statement)


async def is_ready(rig: Rig) -> dict[str, object]:
    """What /health/ready says, within its time."""
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        async with rig.http.get(f"{rig.url}/health/ready") as answer:
            said: dict[str, object] = await answer.json()
            assert answer.status == (503 if said["status"] == "unavailable" else 200)
            return said


async def long_poll(rig: Rig, token: str, version: int) -> aiohttp.ClientResponse:
    """Ask the page's long poll once."""
    url = f"{rig.url}/checkout/{token}/status?version={version}&wait=5"
    async with rig.http.get(url) as answer:
        await answer.read()
        return answer
