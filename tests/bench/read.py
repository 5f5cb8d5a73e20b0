"""How fast repositories are read: look-ups, the making of indexes, fetching, and memory.

look-ups: real paths of 3 to 5 parts through the C walk (``lookups.c``, compiled here against
  ``csrc``), in nanoseconds of CPU time, in random order over the whole catalog; "absent" are names
  that are not there in directories that are. Beside present ones stands the machine's floor: two
  random reads of the same file, the second's place depending on the first, for a look-up reads the
  table and then the record. "And the real path" is the thorough way, a look-up for each part of a
  path, which also tells the path without symlinks; it is what programs in a run get. "Directory by
  directory", the directories come in random order, and so do the files of each.
index: an index file made of a catalog; beside it, the catalog's rows are read and nothing is done.
fetch: all of a repository's small files into an empty cache, with `sources.cvmfs.prefetch`, from
  nginx (or, without it, `pyparrot serve`) on loopback, and through a forwarder that holds each
  answer back by 20 ms; then one by one. Beside it, `requests` alone in as many threads, each with a
  session: get, check the hash, unpack, write a file. All is in /dev/shm, if it is there.
memory: a process of its own opens an index and looks up 10,000 paths. Mapped pages belong to the
  page cache, and all readers share them.

All are medians of several rounds. Other programs on the machine disturb the wall-clock times.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from typing import Callable

import report
from fetch import fetching
from report import Row, timed

from pyparrot.sources.cvmfs import catalog_rows as catalogs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.tree.index import ROOT_HASH, Index
from pyparrot.tree.snapshot import Found, Snapshot

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "csrc"
MOST_PATHS = 300_000


# Catalogs


def make_catalog(work: str, entries: int) -> tuple[str, list[bytes]]:
    """A catalog with so many entries, and the paths of its files."""
    file = os.path.join(work, f"catalog-{entries}")
    digest = Algorithm.SHA1.of(b"").digest
    directory = CatalogEntry(b"", catalogs.DIRECTORY, 0o040755, 4096, 1_700_000_000, None, 0, 0)
    regular = CatalogEntry(
        b"", catalogs.FILE, 0o100644, 3000, 1_700_000_000, 5, 0, 0, digest=digest
    )
    paths: list[bytes] = []
    with closing(Catalog.create(file)) as made:
        made.put([(b"", directory)])
        source = islice(_tree(), entries - 1)
        while batch := list(islice(source, 20_000)):
            made.put(
                [
                    (
                        path,
                        (regular if is_file else directory)._replace(name=path.rpartition(b"/")[2]),
                    )
                    for path, is_file in batch
                ]
            )
            paths += (path for path, is_file in batch if is_file)
    return file, paths


def _tree() -> Iterator[tuple[bytes, bool]]:
    """Paths as in software trees, and whether each is a file's; directories come first."""
    for package in range(10**9):
        top = b"/package%d" % package
        yield top, False
        for version in range(8):
            folder = top + b"/%d.%d" % (version // 3, version)
            yield folder, False
            for name in (b"/lib", b"/lib/python")[: version % 3]:
                folder += name if name == b"/lib" else b"/python"
                yield folder, False
            for number in range(100):
                yield folder + b"/module_%d_%d.py" % (number, package % 7), True


def make_index(catalog: str, output: str) -> None:
    """Build the index file *output*."""
    with closing(Catalog.open(catalog)) as opened:
        build_index(opened, Algorithm.SHA1.of(b"catalog"), b"", ROOT_HASH, output)


def look_ups(work: str, sizes: list[int], rounds: int) -> Iterator[Row]:
    """Look-ups in catalogs of these sizes."""
    program = os.path.join(work, "lookups")
    parts = ("index", "snapshot", "variant", "walk")
    sources = [str(HERE / "lookups.c"), *(str(CORE / f"core/{part}.c") for part in parts)]
    options = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
    subprocess.run(["cc", *options, *sources, "-o", program], check=True)
    for size in sizes:
        catalog, paths = make_catalog(work, size)
        index = os.path.join(work, f"index-{size}")
        make_index(catalog, index)
        chance = random.Random(1)
        chosen = chance.sample(paths, min(MOST_PATHS, len(paths)))
        found, missing, placed, missed, floor = _look_up(program, index, chosen, rounds)
        yield Row(f"look-up among {size:,}, present", found, "ns", "< 200", floor)
        yield Row(f"look-up among {size:,}, absent", missing, "ns", "< 200")
        yield Row("  and the real path, present", placed, "ns", "< 200")
        yield Row("  and the real path, absent", missed, "ns", "< 200")
        found, missing, *_ = _look_up(program, index, _by_directory(paths, chance), rounds)
        yield Row("  directory by directory, present", found, "ns", "< 200")
        yield Row("  directory by directory, absent", missing, "ns", "< 200")


def _look_up(program: str, index: str, paths: list[bytes], rounds: int) -> list[float]:
    """The medians of what `lookups.c` prints, in ns."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(index)) as listed:
        listed.write(b"".join(path + b"\n" for path in paths))
        listed.flush()
        command = [program, index, listed.name, str(rounds)]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    lines = [[float(word) for word in line.split()] for line in result.stdout.splitlines()]
    return [statistics.median(column) for column in zip(*lines)]


def _by_directory(paths: list[bytes], chance: random.Random) -> list[bytes]:
    directories = [list(group) for _, group in groupby(paths, os.path.dirname)]
    chance.shuffle(directories)
    for directory in directories:
        chance.shuffle(directory)
    return [path for directory in directories for path in directory]


def index_build(work: str, entries: int, rounds: int) -> Iterator[Row]:
    """The making of an index."""
    catalog, _ = make_catalog(work, entries)
    output = os.path.join(work, "built")
    times, floors = [], []
    for _ in range(rounds):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output)
        times.append(timed(lambda: make_index(catalog, output)))
        floors.append(timed(lambda: _read_rows(catalog)))
    value, floor = statistics.median(times), statistics.median(floors)
    yield Row(f"index of {entries:,} entries", value, "s", "< 1", floor)


def _read_rows(catalog: str) -> None:
    with closing(Catalog.open(catalog)) as opened:
        for _ in opened.rows():
            pass


# Memory


def memory(work: str, entries: int, rounds: int) -> Iterator[Row]:
    """What a process needs that reads an index."""
    catalog, paths = make_catalog(work, entries)
    index = os.path.join(work, "index")
    make_index(catalog, index)
    chosen = os.path.join(work, "chosen")
    some = random.Random(2).choices(paths, k=10_000)
    Path(chosen).write_bytes(b"\n".join(some))
    measured = []
    for _ in range(rounds):
        command = [sys.executable, str(HERE / "read.py"), "--reader", index, chosen]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured.append([int(word) for word in result.stdout.split()])
    own, mapped = (statistics.median(column) / 1024 for column in zip(*measured))
    yield Row(f"index file of {entries:,} entries", os.path.getsize(index) / 2**20, "MiB")
    yield Row("  a reader's own memory for it", own, "MiB")
    yield Row("  mapped pages, after 10,000 look-ups", mapped, "MiB")


def reader(index: str, chosen: str) -> None:
    """Runs in a process of its own: prints how many kB it got, of its own and mapped."""
    paths = Path(chosen).read_bytes().split(b"\n")
    before = _kilobytes("RssAnon:"), _kilobytes("RssFile:")
    snapshot = Snapshot(Index(index), b"/cvmfs/bench.example.org", {})
    for path in paths:
        assert isinstance(snapshot.walk(path), Found)
    print(_kilobytes("RssAnon:") - before[0], _kilobytes("RssFile:") - before[1])


def _kilobytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise KeyError(key)


# All together


def main() -> None:
    """Measure and print."""
    parser = report.parser("read", __doc__)
    parser.add_argument("--only", choices=("lookups", "index", "fetch", "memory"), help="one part")
    parser.add_argument("--reader", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        reader(*arguments.reader)
        return

    def scaled(size: int) -> int:
        return max(1000, int(size * arguments.scale))

    rounds = arguments.rounds
    sizes = sorted({scaled(size) for size in (1_000, 100_000, 1_000_000)})
    parts: dict[str, Callable[[str], Iterator[Row]]] = {
        "lookups": lambda work: look_ups(work, sizes, rounds),
        "index": lambda work: index_build(work, scaled(200_000), rounds),
        "fetch": lambda work: fetching(work, scaled(5_000), rounds),
        "memory": lambda work: memory(work, scaled(1_000_000), rounds),
    }
    memory_files = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    rows: list[Row] = []
    for name, measure in parts.items():
        if arguments.only in (None, name):
            where = arguments.work or (memory_files if name == "fetch" else None)
            with tempfile.TemporaryDirectory(prefix="pyparrot-bench-", dir=where) as work:
                rows += [row._replace(load=report.load()) for row in measure(work)]
    print(f"{report.machine()}; medians of {rounds} rounds")
    report.show(rows)
    report.save(arguments.json, rounds, (row._asdict() for row in rows))


if __name__ == "__main__":
    main()
