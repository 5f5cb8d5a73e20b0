"""What all benchmarks have in common: where they ran, and a file of their figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, NamedTuple

RESULTS = Path(__file__).resolve().parents[2] / "bench-results"


class Row(NamedTuple):
    """A figure: the median, what is wanted of it, and what it is compared with.

    *beside* is the least that the machine needs for it, or what another program needs. *load* is
    the machine's load average (1 minute) when it was measured.
    """

    what: str
    value: float
    unit: str
    wanted: str = ""
    beside: float | None = None
    load: float = 0.0


def timed(function: Callable[[], object]) -> float:
    """The seconds that *function* takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def show(rows: Iterable[Row]) -> None:
    """Print a table."""
    print(f"{'':48}{'median':>9}{'':6}{'wanted':>8}{'beside':>9}{'load':>6}")
    for row in rows:
        beside = "" if row.beside is None else f"{row.beside:.2f}"
        figures = f"{row.value:9.2f} {row.unit:5}{row.wanted:>8}{beside:>9}{row.load:6.1f}"
        print(f"{row.what:48}{figures}")


def parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """The options of the benchmark *name*, whose help is *text*."""
    made = argparse.ArgumentParser(
        prog=f"tools/bench {name}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--rounds", type=int, default=5, help="how often (5)")
    made.add_argument("--scale", type=float, default=1.0, help="of all sizes (1.0)")
    made.add_argument("--work", metavar="DIR", help="where to make trees and repositories")
    made.add_argument(
        "--json",
        metavar="FILE",
        default=RESULTS / f"{name}.json",
        type=Path,
        help=f"write the figures there, too (bench-results/{name}.json)",
    )
    return made


def machine() -> str:
    """A line about the machine."""
    model = platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = models[0] if models else model
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}"


def load() -> float:
    """How many programs were running or wanted to, on average over the last minute."""
    return os.getloadavg()[0]


def save(file: Path, rounds: int, rows: Iterable[dict[str, Any]]) -> None:
    """Write the figures."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = {"machine": machine(), "when": when, "rounds": rounds, "rows": list(rows)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"also in {os.path.relpath(file)}")
