"""The worker alone, in both ways that it can be started, and what kill -9 does to it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.model import Order, OrderState
from gateway.settings import Settings
from tests.payments.test_settling import number_in
from tests.rig import Rig, until

CODE = Path(__file__).parents[2]
ALONE = ("-m", "gateway", "worker")
BY_ARQ = ("-m", "arq", "workers.main.WorkerSettings")


def environment_of(settings: Settings) -> dict[str, str]:
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return {
        **os.environ,
        "PAYONCE_DATABASE_URL": settings.database_url,
        "PAYONCE_REDIS_URL": settings.redis_url,
        "PAYONCE_SECRET_KEYS": settings.secret_keys[0],
        "PAYONCE_PUBLIC_URL": settings.base_url,
        "PAYONCE_ALLOW_PRIVATE_WEBHOOKS": "1",
        "PAYONCE_SWEEP_INTERVAL_S": "0.2",
    }


@asynccontextmanager
async def process_of(
    rig: Rig, command: tuple[str, ...]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment_of(rig.settings), cwd=CODE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def a_payment_nobody_reported(rig: Rig) -> Order:
    await rig.faults(drop_callbacks=1)
    order = await rig.order()
    await rig.pay(number_in((await rig.apply(order)).body))
    return order


@pytest.mark.parametrize("command", [ALONE, BY_ARQ], ids=["payonce worker", "arq"])
async def test_a_worker_of_its_own_finds_a_lost_payment_and_announces_it(
    rig: Rig, command: tuple[str, ...]
) -> None:
    async with process_of(rig, command):
        order = await a_payment_nobody_reported(rig)
        await rig.until_order(order, OrderState.PAID, within_s=30)
        assert (await rig.receiver.wait_for("order.paid", order.id)).order == order.id


async def test_a_worker_killed_while_it_asks_loses_nothing(rig: Rig) -> None:
    """F18: it is killed while the channel keeps it waiting; another one asks again."""
    order = await a_payment_nobody_reported(rig)
    await rig.faults(latency_s=4)
    async with process_of(rig, ALONE) as worker:

        async def asking() -> bool:
            asks = await rig.desk.pool.fetchval("SELECT asks FROM attempts")
            return int(asks) > 0

        await until(asking, within_s=30)
        worker.kill()
        await worker.wait()
    await rig.faults(latency_s=0)
    assert (await rig.read(order)).state is OrderState.OPEN
    async with process_of(rig, ALONE):
        await rig.until_order(order, OrderState.PAID, within_s=30)
