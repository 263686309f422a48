"""The worker: arq runs the delayed jobs, the sweep finds what no job did.

arq is the accelerator and may be away with Redis; then its worker ends, and is started again when
Redis answers. The sweep needs PostgreSQL alone. Both run inside `payonce serve`, or alone as
`payonce worker`, or by `arq workers.main.WorkerSettings`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from gateway import jobs
from gateway.ids import AttemptId, EventId
from gateway.outages import tell
from gateway.payments.asking import ask
from gateway.payments.desk import Desk
from gateway.redis_connections import tell_their_end
from gateway.settings import Settings
from gateway.telemetry import REDIS_ERRORS, log
from gateway.together import end
from workers.sweep import keep_sweeping

# arq's own pause between looks at its queue, which is how late a job may begin.
_POLL_DELAY_S: Final = 0.02
# Above the deadlines of a query, a close and another query, and what is written between them.
_JOB_TIMEOUT_S: Final = 25
_RESTART_AFTER_S: Final = 1.0
_FINISH_WITHIN_S: Final = 5.0

Context = dict[object, object]  # arq's, which we put the desk into


async def ask_job(context: Context, attempt: str, asks: int) -> None:
    await _do("ask", ask(_desk(context), AttemptId(attempt), asks))


async def deliver_job(context: Context, event: str, tries: int) -> None:
    await _do("deliver", _desk(context).webhooks.deliver(EventId(event), tries))


async def _do(name: str, work: Coroutine[object, object, None]) -> None:
    """Do a job. Its failure is told here, for arq would write a traceback for each in an outage."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it was, the sweep finds the row
        tell("job_failed", error, work=name)


def _desk(context: Context) -> Desk:
    desk = context["desk"]
    assert isinstance(desk, Desk)
    return desk


# One try each: what fails is found by the sweep, from the row in PostgreSQL.
FUNCTIONS: Final = [
    func(f"{__name__}.{coroutine}", name=name, max_tries=1, keep_result=0, timeout=_JOB_TIMEOUT_S)
    for name, coroutine in (("ask", "ask_job"), ("deliver", "deliver_job"))
]


@asynccontextmanager
async def working(desk: Desk, redis_url: str) -> AsyncIterator[None]:
    """Run the worker for as long as the block runs."""
    jobs_task = asyncio.create_task(_keep_working(desk, redis_url))
    try:
        async with _sweeping(desk):
            yield
    finally:
        await end([jobs_task])


async def _keep_working(desk: Desk, redis_url: str) -> None:
    """Run arq's worker, and run it again whenever Redis went away under it."""
    while True:
        connections = ConnectionPool.from_url(
            redis_url, socket_connect_timeout=2, socket_timeout=10
        )
        tell_their_end(connections)
        worker = _worker(desk, connections)
        try:
            await worker.async_run()
        except (RedisError, OSError) as error:
            REDIS_ERRORS.inc()
            log.warning("worker_lost_redis", outage="redis", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a fault of ours must be loud, and stop no asking
            log.error("worker_failed", exc_info=error)
        finally:
            await _close(worker, connections)
        await asyncio.sleep(_RESTART_AFTER_S)


def _worker(desk: Desk, connections: ConnectionPool) -> Worker:
    return Worker(
        FUNCTIONS,
        redis_pool=ArqRedis(
            connections,
            job_serializer=jobs.pack,
            job_deserializer=jobs.unpack,
        ),
        ctx={"desk": desk},
        handle_signals=False,
        max_jobs=desk.settings.worker_jobs,
        queue_read_limit=desk.settings.worker_jobs * 5,
        poll_delay=_POLL_DELAY_S,
        job_timeout=_JOB_TIMEOUT_S,
        keep_result=0,
        job_serializer=jobs.pack,
        job_deserializer=jobs.unpack,
        log_results=False,
    )


async def _close(worker: Worker, connections: ConnectionPool) -> None:
    """Let running jobs end; one that takes too long is cancelled, and made up for by the sweep."""
    if worker.tasks:
        _, late = await asyncio.wait(worker.tasks.values(), timeout=_FINISH_WITHIN_S)
        for job in late:
            job.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    await connections.disconnect(inuse_connections=True)


async def _start(context: Context) -> None:
    """Build the desk when arq itself runs the worker; imported late, for `gateway.lifespan`
    imports us.
    """
    from gateway.lifespan import desk_for, settings_from_environment  # noqa: PLC0415

    settings = settings_from_environment()
    stack = AsyncExitStack()
    context["desk"] = desk = await stack.enter_async_context(desk_for(settings))
    await stack.enter_async_context(_sweeping(desk))
    context["stack"] = stack


@asynccontextmanager
async def _sweeping(desk: Desk) -> AsyncIterator[None]:
    sweep = asyncio.create_task(keep_sweeping(desk))
    try:
        yield
    finally:
        await end([sweep])


async def _stop(context: Context) -> None:
    stack = context["stack"]
    assert isinstance(stack, AsyncExitStack)
    await stack.aclose()


class WorkerSettings:
    """For `arq workers.main.WorkerSettings`, where arq's own command supervises."""

    functions = FUNCTIONS
    on_startup = _start
    on_shutdown = _stop
    poll_delay = _POLL_DELAY_S
    job_timeout = _JOB_TIMEOUT_S
    max_jobs = int(os.environ.get("PAYONCE_WORKER_JOBS", Settings().worker_jobs))
    keep_result = 0
    log_results = False
    job_serializer = jobs.pack
    job_deserializer = jobs.unpack
    redis_settings = RedisSettings.from_dsn(
        os.environ.get("PAYONCE_REDIS_URL", "redis://127.0.0.1:6379")
    )
