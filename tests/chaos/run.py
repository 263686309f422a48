"""A run: all is started, buyers come, faults strike, then it is calm and the oracle judges."""

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
from msgspec import Struct

from gateway.embedded import start_postgres, start_valkey
from tests.chaos.balancer import Balancer
from tests.chaos.buyers import World
from tests.chaos.client import Client
from tests.chaos.evidence import Evidence, gather_evidence
from tests.chaos.faults import Blows, Lies, Tally, lies_of_all
from tests.chaos.load import Load
from tests.chaos.logs import faults_of_ours, redis_troubles
from tests.chaos.operators import approve_what_is_held
from tests.chaos.oracle import Violation, count, judge
from tests.chaos.place import PULLER, SHOP, Place, choose_ports, set_up
from tests.chaos.processes import Programs
from tests.chaos.reader import Reader
from tests.chaos.report import Report, Wrong
from tests.chaos.servers import Server
from tests.chaos.sightings import Late, Sightings
from tests.chaos.timeline import timeline_of

# The faults end so long before the load does, and what they broke mends while buyers still come.
_CALM_S: Final = 8.0
# So long before the end no order is made that is to expire in the run.
_LAST_EXPIRING_S: Final = 50.0
_LOOK_AGAIN_S: Final = 0.5
_MOST_SHOWN: Final = 20
_MADE: Final = """
    SELECT (SELECT count(*) FROM orders), count(*) FROM attempts WHERE state = 'surplus'
"""


class Plan(Struct, frozen=True, kw_only=True):
    """How long the load flows: `load_s` at least and until there was enough, or `at_most_s`."""

    seed: int
    load_s: float
    at_most_s: float
    least_orders: int = 0
    least_surplus: int = 0
    least_of_each_fault: int = 0
    drain_within_s: float = 120.0
    faults: bool = True
    guarded: bool = True


class Run:
    """What is there while a run goes on."""

    def __init__(self, plan: Plan, place: Place, programs: Programs, client: Client) -> None:
        self.plan = plan
        self.place = place
        self.programs = programs
        self.client = client
        self.tally = Tally()
        self.sightings = client.sightings
        self.random = random.Random(plan.seed)
        self.readers = [Reader(place, merchant, client) for merchant in (SHOP, PULLER)]
        self.load = Load(
            World(place, client, self.sightings),
            random.Random(self.random.random()),
            expiring_for_s=plan.load_s - _LAST_EXPIRING_S,
        )


async def run_chaos(plan: Plan) -> Report:
    """Run it in a temporary folder, in memory where there is room: the servers force a lot."""
    with tempfile.TemporaryDirectory(prefix="payonce-chaos-", dir=_roomy_memory()) as at:
        folder = Path(at)
        ports = choose_ports()
        postgres = Server(folder, ports.postgres, start_postgres)
        valkey = Server(folder, ports.valkey, start_valkey)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(postgres.stop)
            stack.push_async_callback(valkey.stop)
            urls = (await postgres.start(), await valkey.start())
            place = await set_up(folder, ports, *urls, guarded=plan.guarded)
            programs = Programs(place, guarded=plan.guarded)
            stack.push_async_callback(programs.stop)
            await programs.start()
            await stack.enter_async_context(Balancer(ports.balancer, ports.gateways))
            http = await stack.enter_async_context(_http())
            run = Run(plan, place, programs, Client(http, Sightings()))
            blows = Blows(run.random, run.tally, programs, postgres, valkey, place.redis_url)
            return await _go(run, blows)


def _roomy_memory() -> Path | None:
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 1024**3
    return memory if roomy else None


@asynccontextmanager
async def _http() -> AsyncIterator[aiohttp.ClientSession]:
    # A call is a connection, so that the balancer can share the calls out.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


async def _go(run: Run, blows: Blows) -> Report:
    plan = run.plan
    lies = lies_of_all(run.random, run.tally, run.place, run.client)
    for liar in lies:
        await liar.be_honest()
    for kind, url in run.place.webhooks.items():
        said = {"kind": kind, "url": url}
        await run.client.call("POST", f"{run.place.sandbox_url}/_control/webhooks", said)
    began = time.monotonic()
    async with _in_the_background(run):
        await _strike_and_flow(run, blows, lies, began)
        load_s = time.monotonic() - began
        await run.load.see_off(plan.drain_within_s)
        evidence, violations = await _drain(run)
    violations += _seen(run)
    drain_s = time.monotonic() - began - load_s
    shown = [
        Wrong(
            each,
            await timeline_of(run.place, run.sightings, run.tally.story, each.order, began),
        )
        for each in violations[:_MOST_SHOWN]
    ]
    return Report(
        seed=plan.seed,
        load_s=load_s,
        drain_s=drain_s,
        counts=count(evidence),
        stories=run.load.stories,
        gave_up=run.load.gave_up,
        excused=sum(late.excused for late in _late(run)),
        faults=run.tally.struck,
        answers=run.sightings.answers,
        wrong=[*shown, *(Wrong(violation, ()) for violation in violations[_MOST_SHOWN:])],
    )


@asynccontextmanager
async def _in_the_background(run: Run) -> AsyncIterator[None]:
    """The supervisor, the readers of the log and the operators are there to the end."""
    tasks = [
        asyncio.create_task(run.programs.keep()),
        asyncio.create_task(approve_what_is_held(run.place, run.client)),
        *(asyncio.create_task(reader.read()) for reader in run.readers),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                run.sightings.problems.append(f"a bystander met {ended!r}")


async def _strike_and_flow(run: Run, blows: Blows, lies: list[Lies], began: float) -> None:
    """Let buyers come and faults strike, until there was enough of both."""
    plan, calm, over = run.plan, asyncio.Event(), asyncio.Event()
    if plan.faults:
        kinds = (*blows.kinds, *(kind for liar in lies for kind in liar.kinds))
        run.tally.struck.update(dict.fromkeys(kinds, 0))

    async def tell_when() -> None:
        while not over.is_set():
            await asyncio.sleep(_LOOK_AGAIN_S)
            flowed_s = time.monotonic() - began
            if flowed_s >= plan.at_most_s:
                calm.set()
                over.set()
            elif not calm.is_set():
                if flowed_s >= plan.load_s - _CALM_S and _struck_is_enough(run):
                    calm.set()
            elif flowed_s >= plan.load_s and await _load_is_enough(run):
                over.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_when())
        tasks.create_task(run.load.flow(over))
        if plan.faults:
            tasks.create_task(blows.deal(calm))
            for liar in lies:
                tasks.create_task(liar.deal(calm))


def _struck_is_enough(run: Run) -> bool:
    return all(times >= run.plan.least_of_each_fault for times in run.tally.struck.values())


async def _load_is_enough(run: Run) -> bool:
    try:
        conn = await asyncpg.connect(run.place.database_url)
    except (OSError, asyncpg.PostgresError):
        return False  # the last blow hit PostgreSQL, and it is not back yet
    try:
        orders, surplus = await conn.fetchrow(_MADE) or (0, 0)
    finally:
        await conn.close()
    return bool(orders >= run.plan.least_orders and surplus >= run.plan.least_surplus)


async def _drain(run: Run) -> tuple[Evidence, list[Violation]]:
    """Ask the oracle until it finds nothing wrong; what it still finds in the end is wrong."""
    until = time.monotonic() + run.plan.drain_within_s
    while True:
        evidence = await gather_evidence(run.place, run.client)
        violations = judge(evidence, run.readers, run.sightings.paid)
        if not violations or time.monotonic() > until:
            return evidence, violations
        await asyncio.sleep(_LOOK_AGAIN_S)


def _late(run: Run) -> list[Late]:
    troubles = [*run.tally.troubles, *redis_troubles(run.programs.product)]
    return list(run.sightings.given_too_late(troubles))


def _seen(run: Run) -> list[Violation]:
    """What was wrong while it went on."""
    late = [Violation(late.order, late.what) for late in _late(run) if not late.excused]
    wrong = [*run.sightings.problems, *faults_of_ours(run.programs.product)]
    problems = [Violation("", f"{what} ({times} times)") for what, times in Counter(wrong).items()]
    deaths = [
        Violation("", f"{program.name} ended by itself: {said}")
        for program in run.programs.product
        for said in program.deaths
    ]
    return [*late, *problems, *deaths]
