"""A campaign of random faults: tools/faults [KIND...] [--seconds N]

A job looks at a repository in every way, again and again, and each time something else is wrong:

    network    servers that misbehave in every way, with a cold cache
    damage     a file of the cache is damaged or replaced; then it has to heal by itself
    kept-time  the same with unchanged times, which `cache verify` has to find
    kills      pyparrot's own processes are killed
    disks      the cache's disk is full, at every size
    limits     resource limits of every kind

What comes of each run is compared with the same job on the directory itself, and counted: right,
clean (it failed, and a line says what and why), or a problem: wrong, hang (longer than 30 s),
traceback, left (a process was left behind), unhealed (the next run without a fault is not right).
A problem is shown with its seed, which tries the same once more, and shows what the runs say:

    tools/faults KIND --seed SEED

The exit status is 1 if there was a problem.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import runs

from faults import outcome, tree
from faults.damage import Damage, KeptTime
from faults.disks import Disks
from faults.faults import JOB, Fault, Setting
from faults.kills import Kills
from faults.limits import Limits
from faults.network import Network

KINDS: dict[str, type[Fault]] = {
    kind.name: kind for kind in (Network, Damage, KeptTime, Kills, Disks, Limits)
}


@contextlib.contextmanager
def setting() -> Iterator[Setting]:
    """Publish the tree, warm a cache, and ask the job what it says natively."""
    with runs.world(tree.FQRN, tree.fill) as world:
        job = world.home / "job.py"
        shutil.copyfile(JOB, job)
        native = outcome.native(
            job, world.source, world.environment(), cwd="/", **world.user.options()
        )
        made = Setting(world, job, native, world.home / "user" / "warm")
        first = outcome.judge(made.run(made.warm), native)
        if first.kind != "right":
            raise SystemExit(f"faults: without a fault it is {first.kind}: {first.why}")
        yield made


def campaign(fault: Fault, arguments: argparse.Namespace) -> outcome.Tally:
    """Try a kind of fault until the time is over, some at a time."""
    tally = outcome.Tally()
    started = time.monotonic()
    seeds = iter(range(random.SystemRandom().randrange(1 << 30), 1 << 31))
    deadline = started + arguments.seconds

    def work() -> None:
        while time.monotonic() < deadline:
            seed = next(seeds)
            what, found = fault.attempt(seed)
            tally.add(seed, what, found)
            if found.kind in outcome.PROBLEMS or arguments.verbose:
                print(f"{fault.name} --seed {seed}: {found.kind}: {what}: {found.why}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for future in [pool.submit(work) for _ in range(arguments.jobs)]:
            future.result()
    tally.seconds = time.monotonic() - started
    return tally


def show_run(ended: outcome.Ended) -> None:
    """Print how a run has ended, and all that it said, for one who looks at a single one."""
    print(f"{ended.out}status {ended.status}, on standard error:\n{ended.err}")


def show(tallies: dict[str, outcome.Tally]) -> None:
    """Print a table."""
    print(f"{'':10}{'seconds':>8}{'runs':>7}", *(f"{kind:>10}" for kind in reversed(outcome.KINDS)))
    for name, tally in tallies.items():
        counts = (f"{tally.counts[kind]:10}" for kind in reversed(outcome.KINDS))
        print(f"{name:10}{tally.seconds:8.0f}{tally.runs:7}", *counts)


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(
        prog="tools/faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="of faults (all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind (60)")
    parser.add_argument("--seed", type=int, help="try only this one, of one kind")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--shim", default="auto", help="auto or off, as for pyparrot run (auto)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--verbose", action="store_true", help="show every run")
    arguments = parser.parse_args()
    for name in arguments.kinds:
        if name not in KINDS:
            parser.error(f"no kind {name} (there are: {', '.join(KINDS)})")
    runs.shim = arguments.shim
    tallies = {}
    with setting() as made:
        for name in arguments.kinds or KINDS:
            fault = KINDS[name](made)
            missing = fault.unavailable()
            if missing:
                print(f"{name}: not tried: {missing}")
            elif arguments.seed is not None:
                outcome.shown = show_run
                what, found = fault.attempt(arguments.seed)
                print(f"{name} --seed {arguments.seed}: {found.kind}: {what}: {found.why}")
                return int(found.kind in outcome.PROBLEMS)
            else:
                tallies[name] = campaign(fault, arguments)
    show(tallies)
    if arguments.json:
        figures = {
            name: {"seconds": tally.seconds, **tally.counts} for name, tally in tallies.items()
        }
        Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n")
    return int(any(tally.problems for tally in tallies.values()))


if __name__ == "__main__":
    raise SystemExit(main())
