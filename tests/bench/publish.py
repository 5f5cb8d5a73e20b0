"""How fast `pyparrot publish` is, beside the least work that its result needs.

The floor reads the same bytes, packs them with zlib's level 6 and hashes the result with SHA-1, on
the same cores, and does nothing else: no tree is walked, nothing is written. Floor and publication
take turns; the medians of all rounds are given, and their ratio.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.pool
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

import report

FQRN = "bench.example.org"
PIECE = 8 << 20
"""The floor takes large files in pieces of the default average chunk size."""

Piece = tuple[str, int]


class Case(NamedTuple):
    """A tree to publish."""

    name: str
    directory: str
    files: int
    bytes: int


class Row(NamedTuple):
    """What was measured of a case: medians, in seconds."""

    case: str
    files: int
    megabytes: float
    publish: float
    floor: float
    again: float

    @property
    def ratio(self) -> float:
        """How much longer than the floor."""
        return self.publish / self.floor


def small_files(directory: str, count: int) -> Case:
    """Files of text, 100 in a directory, of sizes as in software trees (median 3 kB)."""
    chance = random.Random(1)
    words = _words(chance)
    total = 0
    for number in range(count):
        folder = os.path.join(directory, f"d{number // 100:04}")
        os.makedirs(folder, exist_ok=True)
        size = min(200_000, int(chance.lognormvariate(8, 1)))
        total += size
        with open(os.path.join(folder, f"f{number:06}.py"), "wb") as file:
            file.write(b" ".join(chance.choices(words, k=size // 4 + 1))[:size])
    return Case(f"{count} small files", directory, count, total)


def incompressible_file(directory: str, size: int) -> Case:
    """One file of random bytes."""
    os.makedirs(directory)
    chance = random.Random(2)
    with open(os.path.join(directory, "random"), "wb") as file:
        for _ in range(size >> 20):
            file.write(chance.randbytes(1 << 20))
    return Case(f"one file of {size >> 20} MiB, incompressible", directory, 1, size)


def compressible_file(directory: str, size: int) -> Case:
    """One file of words."""
    os.makedirs(directory)
    chance = random.Random(3)
    words = _words(chance)
    with open(os.path.join(directory, "text"), "wb") as file:
        for _ in range(size >> 20):
            file.write(b" ".join(chance.choices(words, k=(1 << 20) // 4))[: 1 << 20])
    return Case(f"one file of {size >> 20} MiB, text", directory, 1, size)


def _words(chance: random.Random) -> list[bytes]:
    return [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz_", k=chance.randint(3, 10)))
        for _ in range(5000)
    ]


def floor(case: Case, pool: multiprocessing.pool.Pool) -> float:
    """The seconds that reading, packing and hashing take."""
    pieces = [
        (path, start)
        for path in _files(case.directory)
        for start in range(0, max(1, os.path.getsize(path)), PIECE)
    ]
    batch = 50 if case.files > 1 else 1
    started = time.perf_counter()
    pool.map(_pack, [pieces[i : i + batch] for i in range(0, len(pieces), batch)], chunksize=1)
    return time.perf_counter() - started


def _pack(pieces: list[Piece]) -> None:
    for path, start in pieces:
        with open(path, "rb") as file:
            file.seek(start)
            hashlib.sha1(zlib.compress(file.read(PIECE), 6)).digest()


def _files(directory: str) -> list[str]:
    return [
        os.path.join(folder, name)
        for folder, _, names in sorted(os.walk(directory))
        for name in sorted(names)
    ]


def publish(case: Case, work: str) -> tuple[float, float]:
    """The seconds that the first publication takes, and one after ten files were touched."""
    home = os.path.join(work, "home")
    environment = {**os.environ, "XDG_CONFIG_HOME": home}

    def run(*words: str) -> float:
        command = [sys.executable, "-m", "pyparrot", "publish", *words]
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    try:
        run("init", FQRN, "--storage", os.path.join(work, "storage"))
        first = run("sync", FQRN, case.directory)
        files = _files(case.directory)
        for path in files[:: max(1, len(files) // 10)][:10]:
            with open(path, "ab") as file:
                file.write(b"\n")
        return first, run("sync", FQRN, case.directory)
    finally:
        shutil.rmtree(home)
        shutil.rmtree(os.path.join(work, "storage"))


def measure(cases: list[Case], rounds: int, work: str) -> list[Row]:
    """Let floor and publication take turns on every case."""
    times: dict[str, list[tuple[float, float, float]]] = {case.name: [] for case in cases}
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for _ in range(rounds):
            for case in cases:
                least = floor(case, pool)
                times[case.name].append((*publish(case, work), least))
    rows = []
    for case in cases:
        first, again, least = (statistics.median(column) for column in zip(*times[case.name]))
        rows.append(Row(case.name, case.files, case.bytes / 1e6, first, least, again))
    return rows


def show(rows: list[Row]) -> None:
    """Print a table."""
    print(f"{'':42}{'first':>9}{'floor':>9}{'ratio':>7}{'files/s':>9}{'MB/s':>7}{'again':>9}")
    for row in rows:
        print(
            f"{row.case:42}{row.publish:8.2f}s{row.floor:8.2f}s{row.ratio:7.2f}"
            f"{row.files / row.publish:9.0f}{row.megabytes / row.publish:7.0f}{row.again:8.2f}s"
        )


def main() -> None:
    """Make the trees, measure, print."""
    arguments = report.parser("publish", __doc__).parse_args()
    makers: list[tuple[Callable[[str, int], Case], float]] = [
        (small_files, 20_000),
        (incompressible_file, 256 << 20),
        (compressible_file, 1 << 30),
    ]
    with tempfile.TemporaryDirectory(prefix="pyparrot-bench-", dir=arguments.work) as work:
        cases = [
            make(os.path.join(work, make.__name__), int(size * arguments.scale))
            for make, size in makers
        ]
        rows = measure(cases, arguments.rounds, work)
    print(
        f"{report.machine()}, zlib {zlib.ZLIB_RUNTIME_VERSION};"
        f" medians of {arguments.rounds} rounds; again: after 10 files were touched"
    )
    show(rows)
    report.save(arguments.json, arguments.rounds, (row._asdict() for row in rows))


if __name__ == "__main__":
    main()
