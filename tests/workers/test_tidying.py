"""Tidying: what is over is forgotten as fast as it comes to be."""

import asyncio

from gateway.together import end
from tests.rig import StartRig, until
from workers.sweep import keep_sweeping


async def test_more_keys_than_one_round_forgets_are_forgotten_at_once(start_rig: StartRig) -> None:
    """A fixed number a round would let the table grow for as long as more than that come."""
    desk = (await start_rig()).desk
    await desk.pool.execute(
        """
        INSERT INTO idempotency_keys (merchant, method, path, key, body_hash, created_at)
        SELECT 'demo', 'POST', '/v1/orders', 'key-' || each, '', now() - interval '25 hours'
        FROM generate_series(1, 2500) AS each
        """
    )

    async def forgotten() -> bool:
        return not await desk.pool.fetchval("SELECT count(*) FROM idempotency_keys")

    sweeping = asyncio.create_task(keep_sweeping(desk))
    await until(forgotten, within_s=20)  # the next round by the clock comes later
    await end([sweeping])
