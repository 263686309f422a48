"""What a run found: a table to read, and JSON that keeps every slice."""

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks.figures import Result, Slice

_HEADINGS: Final = (
    ("figure", 12),
    ("c", 3),
    ("ratio (min-max)", 18),
    ("", 8),
    ("req/s", 7),
    ("p50/p99 ms", 12),
    ("CPU us app/pg/valkey", 20),
)


class Machine(Struct, frozen=True):
    """What the figures were measured on."""

    python: str
    system: str
    cores: int
    load_before: tuple[float, float, float]
    fsync_us: float
    servers: dict[str, str]


class Report(Struct, frozen=True):
    began_at: datetime
    command: str
    rounds: int
    seconds: float
    machine: Machine
    results: list[Result]


def machine(fsync_us: float, servers: dict[str, str]) -> Machine:
    return Machine(
        platform.python_version(),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        len(os.sched_getaffinity(0)),
        os.getloadavg(),
        fsync_us,
        servers,
    )


def table(results: Sequence[Result]) -> str:
    """Two lines for every figure: the floor, and the product with the ratio."""
    lines = [_line(heading for heading, _ in _HEADINGS)]
    for result in results:
        ratios = result.ratios()
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        of_p50 = " p50" if result.of == "p50" else ""
        lines += [
            _line((result.name, str(result.connections), "", "floor", *_cells(result.floor))),
            _line(("", "", spread + of_p50, "product", *_cells(result.product))),
        ]
    return "\n".join(lines)


def write(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def _cells(slices: Sequence[Slice]) -> tuple[str, str, str]:
    def middle(of: Callable[[Slice], float]) -> float:
        return median(of(each) for each in slices)

    cpu_us = [middle(lambda s: s.app_us), middle(lambda s: s.postgres_us)]
    cpu_us.append(middle(lambda s: s.valkey_us))
    return (
        f"{middle(lambda s: s.per_s):.0f}",
        f"{middle(lambda s: s.p50_ms):.1f}/{middle(lambda s: s.p99_ms):.1f}",
        "/".join(f"{each:.0f}" for each in cpu_us),
    )


def _line(cells: Iterable[str]) -> str:
    widths = (width for _, width in _HEADINGS)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
