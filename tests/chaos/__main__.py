"""python -m tests.chaos: run it for some minutes, and say what came of it."""

import asyncio
import random
import signal
import sys

import click
import uvloop

from tests.chaos.report import Report
from tests.chaos.run import Plan, run_chaos


@click.command()
@click.option("--minutes", default=5.0, show_default=True, type=click.FloatRange(0.1, 24 * 60))
@click.option("--seed", type=int, help="Of an earlier run; without it another one each time.")
def main(minutes: float, seed: int | None) -> None:
    """Run load through real processes while everything fails, and count the money."""
    load_s = minutes * 60
    seed = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    report = uvloop.run(_run(Plan(seed=seed, load_s=load_s, at_most_s=load_s + 60)))
    click.echo(report.text())
    sys.exit(1 if report.wrong else 0)


async def _run(plan: Plan) -> Report:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # leave nothing
    return await run_chaos(plan)


main()
