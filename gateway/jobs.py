"""The one enqueue(): a delayed arq job, written in one round trip beside whatever else is said to
Redis.

Nothing true is in Redis. A job is an accelerator: it says (what, how often done so far), and does
nothing when the row in PostgreSQL has moved on. A lost job is found by the sweep, a doubled one
finds nothing to do, so the job's id need not be watched for uniqueness and the write is two plain
commands.
"""

import asyncio
import time
from typing import Final

import msgspec
from arq.constants import default_queue_name, expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job
from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from gateway.telemetry import REDIS_ERRORS, log

_DEADLINE_S: Final = 0.5

pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder().decode


class Job(Struct, frozen=True):
    """`function` of workers/main.py with (noun id, times done so far), to be run in `delay_s`."""

    function: str
    noun: str
    times: int
    delay_s: float

    @property
    def id(self) -> str:
        return f"{self.function}:{self.noun}:{self.times}"


def enqueue(pipeline: "Pipeline", job: Job) -> None:
    """Add the job to what the pipeline says."""
    now_ms = time.time_ns() // 1_000_000
    due_ms = now_ms + int(job.delay_s * 1000)
    body = serialize_job(job.function, (job.noun, job.times), {}, None, now_ms, serializer=pack)
    pipeline.psetex(job_key_prefix + job.id, due_ms - now_ms + expires_extra_ms, body)
    pipeline.zadd(default_queue_name, {job.id: due_ms})


async def hand_in(redis: Redis, job: Job) -> None:
    """Enqueue a job by itself. One that Redis does not take in time is made up for by the sweep."""
    try:
        async with asyncio.timeout(_DEADLINE_S), redis.pipeline(transaction=False) as pipeline:
            enqueue(pipeline, job)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        REDIS_ERRORS.inc()
        log.warning("job_not_enqueued", outage="redis", error=type(error).__name__)
