"""python -m tests.chaos: run it for some minutes, and say what came of it."""

import random
import sys

import click
import uvloop

from tests.chaos.run import Plan, run_chaos


@click.command()
@click.option("--minutes", default=5.0, show_default=True, type=click.FloatRange(0.1, 24 * 60))
@click.option("--seed", type=int, help="Of an earlier run; without it another one each time.")
def main(minutes: float, seed: int | None) -> None:
    """Run load through real processes while everything fails, and count the money."""
    load_s = minutes * 60
    seed = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    report = uvloop.run(run_chaos(Plan(seed=seed, load_s=load_s, at_most_s=load_s + 60)))
    click.echo(report.text())
    sys.exit(1 if report.wrong else 0)


main()
