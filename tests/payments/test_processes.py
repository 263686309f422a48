"""Two gateways, and Redis away: the same promises across processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.embedded import Running, start_valkey
from gateway.model import Order, OrderState
from gateway.ports import free_port
from tests.rig import Rig, StartRig, until

CODE = Path(__file__).parents[2]


@asynccontextmanager
async def serving_too(rig: Rig) -> AsyncIterator[str]:
    """Run `payonce serve` as a process of its own, on the rig's database and Redis; yield its
    URL.
    """
    port = free_port()
    settings = rig.settings
    assert settings.database_url is not None
    assert settings.redis_url is not None
    environment = {
        **os.environ,
        "PAYONCE_DATABASE_URL": settings.database_url,
        "PAYONCE_REDIS_URL": settings.redis_url,
        "PAYONCE_SECRET_KEYS": settings.secret_keys[0],
        "PAYONCE_PUBLIC_URL": settings.base_url,
        "PAYONCE_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--no-worker", env=environment, cwd=CODE
    )
    url = f"http://127.0.0.1:{port}"

    async def ready() -> bool:
        assert process.returncode is None
        try:
            async with rig.http.get(f"{url}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(ready, within_s=20)
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def click(rig: Rig, url: str, order: Order) -> tuple[int, dict[str, object]]:
    async with rig.http.post(
        f"{url}/v1/orders/{order.id}/attempts",
        json={"channel": "wechat", "terminal": "pc"},
        headers={"Authorization": f"Bearer {rig.api_key}"},
    ) as answer:
        return answer.status, await answer.json()


async def spread_ten_clicks(
    rig: Rig, order: Order, urls: list[str]
) -> list[tuple[int, dict[str, object]]]:
    clicks = [click(rig, urls[number % len(urls)], order) for number in range(10)]
    return list(await asyncio.gather(*clicks))


async def test_ten_clicks_on_two_processes_make_one_number(rig: Rig) -> None:
    async with serving_too(rig) as first, serving_too(rig) as second:
        order = await rig.order()
        answers = await spread_ten_clicks(rig, order, [first, second])
        assert sorted(status for status, _ in answers) == [200] * 9 + [201]
        assert len({str(sorted(body.items())) for _, body in answers}) == 1
        assert list((await rig.calls("create")).values()) == [1]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Running]:
    """A Valkey of the test's own, which it may stop."""
    running = await start_valkey(tmp_path)
    yield running
    await running.stop()


async def test_with_redis_stopped_ten_clicks_on_two_processes_make_one_number(
    start_rig: StartRig, valkey: Running
) -> None:
    """F38: one `create`; the others are told to wait, or are given the same answer."""
    rig = await start_rig(redis_url=valkey.url)
    async with serving_too(rig) as first, serving_too(rig) as second:
        await valkey.stop()
        order = await rig.order()
        answers = await spread_ten_clicks(rig, order, [first, second])
        given = [body for status, body in answers if status in (200, 201)]
        told_to_wait = [body for status, body in answers if status == 409]
        assert len(given) + len(told_to_wait) == 10
        assert {body["code"] for body in told_to_wait} <= {"apply_in_progress"}
        assert len({str(sorted(body.items())) for body in given}) == 1
        assert list((await rig.calls("create")).values()) == [1]


async def test_without_redis_an_order_is_paid_and_announced(
    start_rig: StartRig, valkey: Running
) -> None:
    """F7: with Redis stopped, from the order to the webhook."""
    rig = await start_rig(redis_url=valkey.url, worker=True)
    await valkey.stop()
    order = await rig.order()
    status, attempt = await click(rig, rig.url, order)
    assert status == 201
    await rig.pay(str(attempt["number"]))
    await rig.until_order(order, OrderState.PAID)
    await rig.receiver.wait_for("order.paid", order.id)
    status, problem = await click(rig, rig.url, order)
    assert (status, problem["code"]) == (409, "order_already_paid")


async def test_the_worker_comes_back_with_redis(
    start_rig: StartRig, tmp_path: Path, valkey: Running
) -> None:
    rig = await start_rig(redis_url=valkey.url, worker=True, sweep_interval_s=60.0)
    port = int(valkey.url.rpartition(":")[2].partition("/")[0])
    await valkey.stop()
    back = await start_valkey(tmp_path, port=port)
    try:
        await rig.faults(drop_callbacks=1)

        async def claims_work() -> bool:
            return bool(await rig.desk.redis.ping())

        await until(claims_work)
        order = await rig.order()
        _, attempt = await click(rig, rig.url, order)
        await rig.pay(str(attempt["number"]))
        done = await rig.until_order(order, OrderState.PAID, within_s=20)
        assert done.paid_attempt == attempt["id"]
    finally:
        await back.stop()
