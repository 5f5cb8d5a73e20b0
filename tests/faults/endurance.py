"""A long run in a short time: tools/faults endurance [--processes N] [--absent N] [--opens N]

One run starts so many processes, looks for so many names below /cvmfs that are no repositories, and
opens so many files, each for the first time, as fast as they go. What pyparrot's own processes
hold (memory, descriptors, threads) and the size of the cache are measured after the first
hundredth, when all has been used that is used, and at the end: they have to be the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import runs
from support.servers import served_by_pyparrot

from faults.kills import own_processes

FQRN = "endurance.example.org"
PARTS = 100
_A_DIRECTORY = 1000  # files
_CONTENTS = 500
_QUOTA = 40  # MB
_TOLERANCE = {"memory": 1.25, "descriptors": 1.1, "threads": 1.25, "cache": 1.25}
_SLACK = {"memory": 8192.0, "descriptors": 8.0, "threads": 4.0, "cache": 4096.0}
"""What may be more at the end whatever it was: KiB, and counts."""

JOB = """
import os, sys
root, parts, processes, absent, opens = sys.argv[1], *map(int, sys.argv[2:])
for part in range(parts):
    for number in range(part * processes // parts, (part + 1) * processes // parts):
        child = os.fork()
        if child == 0:
            if number % 10 == 0:
                os.execv("/bin/true", ["true"])
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    for number in range(part * absent // parts, (part + 1) * absent // parts):
        assert not os.path.exists(f"/cvmfs/absent-{number}.example.org/file")
    for number in range(part * opens // parts, (part + 1) * opens // parts):
        with open(f"{root}/{number // 1000}/{number}") as file:
            assert file.read() == f"content {number % 500}\\n"
    print(part, flush=True)
    sys.stdin.readline()
"""


class Held(NamedTuple):
    """What the processes of a run hold, all together; sizes are in KiB."""

    memory: float
    descriptors: float
    threads: float
    cache: float


def fill(top: Path, opens: int) -> None:
    """Write the files: many names of few contents."""
    originals = top / "contents"
    originals.mkdir()
    for number in range(_CONTENTS):
        (originals / str(number)).write_text(f"content {number}\n")
    for number in range(opens):
        if number % _A_DIRECTORY == 0:
            directory = top / str(number // _A_DIRECTORY)
            directory.mkdir()
            (directory / ".cvmfscatalog").touch()
        (directory / str(number)).write_text(f"content {number % _CONTENTS}\n")


def held(mark: str, cache: Path) -> Held:
    """Measure now."""
    memory = descriptors = threads = 0
    for process in own_processes(mark):
        place = Path(f"/proc/{process.number}")
        lines = (place / "smaps_rollup").read_text().splitlines()
        memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        descriptors += len(os.listdir(place / "fd"))
        threads += len(os.listdir(place / "task"))
    size = int(subprocess.check_output(["du", "-sk", str(cache)]).split()[0])
    return Held(memory, descriptors, threads, size)


def measure(world: runs.World, counts: list[int]) -> tuple[Held, Held, float]:
    """What is held after the first hundredth, what at the end, and how long it took (seconds)."""
    cache = world.home / "user" / "cache"
    python = ["/usr/bin/python3", "-I", "-S", "-c", JOB]
    words = [*world.prefix("--quota", str(_QUOTA), cache=cache), *python, world.root, str(PARTS)]
    words += [str(count) for count in counts]
    started = time.monotonic()
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=world.environment(),
        cwd="/",
        **world.user.options(),
    )
    with process:
        assert process.stdin
        assert process.stdout
        for line in process.stdout:
            now = held(str(cache), cache)
            print(f"{int(line) + 1:4} of {PARTS}: {now}", flush=True)
            if line.strip() == "0":
                first = now
            process.stdin.write("\n")
            process.stdin.flush()
    if process.returncode:
        raise SystemExit(f"faults: the job has ended with {process.returncode}")
    return first, now, time.monotonic() - started


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(
        prog="tools/faults endurance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, default=10_000, help="(10,000)")
    parser.add_argument("--absent", type=int, default=10_000, help="names (10,000)")
    parser.add_argument("--opens", type=int, default=100_000, help="files (100,000)")
    parser.add_argument("--shim", default="auto", help="auto or off, as for pyparrot run (auto)")
    arguments = parser.parse_args()
    runs.shim = arguments.shim
    counts = [arguments.processes, arguments.absent, arguments.opens]
    with runs.world(FQRN, lambda top: fill(top, arguments.opens), served_by_pyparrot) as world:
        shutil.rmtree(world.source, ignore_errors=True)
        first, last, seconds = measure(world, counts)
    grown = [
        name
        for name in Held._fields
        if getattr(last, name) > getattr(first, name) * _TOLERANCE[name] + _SLACK[name]
    ]
    print(f"{seconds:.0f} s; after the first hundredth {first}; at the end {last}")
    print(f"grown: {', '.join(grown) or 'nothing'}")
    return int(bool(grown))


if __name__ == "__main__":
    raise SystemExit(main())
