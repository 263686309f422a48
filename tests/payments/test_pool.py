"""PostgreSQL in trouble: a clear answer soon, nothing half-written, and no restart needed."""

from contextlib import AsyncExitStack

from gateway.model import AttemptState
from tests.rig import Rig, StartRig


async def post_attempt(rig: Rig, order_id: str) -> tuple[int, dict[str, object]]:
    async with rig.http.post(
        f"{rig.url}/v1/orders/{order_id}/attempts",
        json={"channel": "wechat", "terminal": "pc"},
        headers={"Authorization": f"Bearer {rig.api_key}"},
    ) as answer:
        return answer.status, await answer.json()


async def test_an_exhausted_pool_answers_service_unavailable_and_recovers(
    start_rig: StartRig,
) -> None:
    rig = await start_rig(pool_size=2, database_timeout_s=0.5)
    order = await rig.order()
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(rig.desk.pool.acquire())
        status, problem = await post_attempt(rig, order.id)
        assert (status, problem["code"]) == (503, "service_unavailable")
    status, _ = await post_attempt(rig, order.id)
    assert status == 201


async def test_connections_that_were_cut_are_replaced_without_a_restart(rig: Rig) -> None:
    order = await rig.order()
    await rig.apply(order)
    await rig.desk.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    statuses = [(await post_attempt(rig, order.id))[0] for _ in range(3)]
    assert statuses[-1] in (200, 201)
    assert set(statuses) <= {200, 201, 503}
    assert (await rig.read(order)).attempts[0].state is AttemptState.PAYING
