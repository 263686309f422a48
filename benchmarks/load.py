"""The load: so many connections that each send the next request when the last one is answered.

It is a process of its own, reads its plan from standard input and writes what it measured to
standard output. Requests are bytes that were made before, an answer is looked at only for its
status and its end, so the generator computes a few microseconds where the measured program computes
hundreds; how busy it was is reported, so that one can see that it was not what limited the rate.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.place import HOST, ROOT
from benchmarks.wire import end_of_message

_PATIENCE_S: Final = 20.0  # for the answers that are out when the time is up


class Plan(Struct, frozen=True):
    """Send `requests` over `connections` for `seconds`, from the first again if `again` is set."""

    port: int
    connections: int
    seconds: float
    requests: list[bytes]
    again: bool = False


class Measured(Struct, frozen=True):
    """What came of it. Latencies are from the first byte written to the last byte read."""

    took_s: float
    answers: dict[int, int]  # how many of each status
    p50_ms: float
    p99_ms: float
    busy: float  # the share of one core that the generator itself needed

    @property
    def answered(self) -> int:
        return sum(self.answers.values())

    @property
    def per_s(self) -> float:
        return self.answered / self.took_s


async def send_load(plan: Plan) -> Measured:
    """Run a plan in a process of its own. Raises RuntimeError when the server hangs or hangs up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(plan.seconds + _PATIENCE_S + 10):
            said, complaint = await process.communicate(msgspec.msgpack.encode(plan))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the load was not carried:\n{complaint.decode()[-2000:]}")
    return msgspec.msgpack.decode(said, type=Measured)


class _Run:
    """What the connections of one run share."""

    def __init__(self, plan: Plan, done: "asyncio.Future[None]") -> None:
        self.requests: Iterator[bytes] = iter(plan.requests)
        if plan.again:
            self.requests = itertools.cycle(plan.requests)
        self.ends_at = time.perf_counter() + plan.seconds
        self.answers: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self._working = plan.connections
        self._done = done

    def next_request(self) -> bytes | None:
        """Return what a connection sends next; None: it has nothing more to do."""
        request = next(self.requests, None) if time.perf_counter() < self.ends_at else None
        if request is None:
            self._working -= 1
            if self._working == 0 and not self._done.done():
                self._done.set_result(None)
        return request

    def note(self, status: int, took_s: float) -> None:
        self.answers[status] += 1
        self.latencies_s.append(took_s)

    def fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request out."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._run: _Run | None = None
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is not derived from it

    def begin(self, run: _Run) -> None:
        self._run = run
        self._send()

    def data_received(self, data: bytes) -> None:
        assert self._run is not None
        self._received += data
        if end_of_message(self._received) is None:
            return
        self._run.note(int(self._received[9:12]), time.perf_counter() - self._sent_at)
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._run is not None:
            self._run.fail(f"a connection was lost: {exc or 'closed by the server'}")

    def _send(self) -> None:
        assert self._run is not None
        assert self._transport is not None
        request = self._run.next_request()
        if request is not None:
            self._sent_at = time.perf_counter()
            self._transport.write(request)


async def _carry(plan: Plan) -> Measured:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    connections = [
        (await loop.create_connection(_Connection, HOST, plan.port))[1]
        for _ in range(plan.connections)
    ]
    run = _Run(plan, done)
    began, computed = time.perf_counter(), time.process_time()
    for connection in connections:
        connection.begin(run)
    async with asyncio.timeout(plan.seconds + _PATIENCE_S):
        await done
    took_s = time.perf_counter() - began
    latencies_s = sorted(run.latencies_s)
    return Measured(
        took_s,
        dict(run.answers),
        1000 * latencies_s[len(latencies_s) // 2],
        1000 * latencies_s[len(latencies_s) * 99 // 100],
        (time.process_time() - computed) / took_s,
    )


def main() -> None:
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # the run is short, and a collection would be counted as the server's delay
    sys.stdout.buffer.write(msgspec.msgpack.encode(uvloop.run(_carry(plan))))


if __name__ == "__main__":
    main()
