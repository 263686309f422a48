"""python -m benchmarks: measure PayOnce beside its floors, on this machine, and stop."""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import uvloop

from benchmarks.figures import LONGEST_S, Figure, Measuring, figures_on
from benchmarks.report import Report, machine, table, write
from benchmarks.sides import Wrong
from benchmarks.stage import stage

_FSYNCS = 100


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.2, LONGEST_S),
    help="How long a slice is.",
)
@click.option("--quick", is_flag=True, help="One short round: does it run? Its ratios are noise.")
@click.option("--only", multiple=True, metavar="FIGURE", help="Such as apply-16; repeatable.")
@click.option(
    "--output",
    default="test-results/bench.json",
    show_default=True,
    type=click.Path(path_type=Path),
)
def main(rounds: int, seconds: float, quick: bool, only: tuple[str, ...], output: Path) -> None:
    """Measure ratios against floors, and fail when anything was lost or doubled."""
    if quick:
        rounds, seconds = 1, 0.5
    try:
        report = uvloop.run(_run(rounds, seconds, only))
    except Wrong as error:
        raise click.ClickException(str(error)) from error
    write(report, output)
    click.echo(table(report.results))
    click.echo(
        f"\nMedians of {rounds} rounds of {seconds:g} s; every slice is in {output}.\n"
        "A ratio above 1 is faster than the floor; one of p50 is better below 1."
    )


async def _run(rounds: int, seconds: float, only: tuple[str, ...]) -> Report:
    began_at = datetime.now(UTC)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # leave nothing
    async with stage() as running:
        found = machine(_fsync_us(Path(running.place.folder)), await running.servers())
        figures = _chosen(await figures_on(running), only)
        results = await Measuring(running, seconds).run(figures, rounds)
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    return Report(began_at, command, rounds, seconds, found, results)


def _chosen(figures: list[Figure], only: tuple[str, ...]) -> list[Figure]:
    names = [figure.name for figure in figures]
    if unknown := set(only) - set(names):
        raise click.BadParameter(f"--only: {unknown.pop()!r} is not one of {', '.join(names)}")
    return [figure for figure in figures if not only or figure.name in only]


def _fsync_us(folder: Path) -> float:
    """How long this disk takes to force 8 KiB, which every commit waits for."""
    with (folder / "forced").open("wb") as file:
        began = time.perf_counter()
        for _ in range(_FSYNCS):
            file.write(b"0" * 8192)
            file.flush()
            os.fsync(file.fileno())
        return 1e6 * (time.perf_counter() - began) / _FSYNCS


if __name__ == "__main__":
    main()
