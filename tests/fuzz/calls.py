"""Random system calls, natively and in a run: what they give has to be the same, call by call.

    tools/fuzz calls [--minutes N] [--shim off] [SEED]

The tree is that of ``tests/conformance``, the program is ``calls.c``. With a SEED it makes the
calls of that one, and says how the first that differs came about.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "conformance")]

import world as conformance  # noqa: E402
from support.runs import PYPARROT, User, ordinary_user  # noqa: E402

from fuzz.explained import explanation  # noqa: E402

FINDINGS = HERE.parents[1] / ".fuzz" / "findings"
BATCH, STEPS = 40, 400
LONG_CHAIN = re.compile(rb"chain(2\d|3\d|40)|longchain|chain")
"""Between 20 and 40 links it can happen that the kernel says ELOOP: it counts twice when it has to
begin anew because somebody else has changed something."""
BEFORE = 12
ENDED_WELL = "end 0"
LIMIT = 600


class Comparison(NamedTuple):
    """What came of comparing the calls of some seeds."""

    reports: list[str]
    """One for each seed with a difference that nothing explains."""
    steps: int
    """How many lines were compared: not those behind an explained difference."""
    whole: int
    """How many seeds came to their end on both sides, and were compared to it."""
    seeds: int

    def __str__(self) -> str:
        return f"{self.steps} calls compared, {self.whole} of {self.seeds} seeds to their end"


class Setting(NamedTuple):
    """Where it all is: the world of the conformance suite, and who makes the calls."""

    world: conformance.World
    user: User
    shim: str

    @property
    def _covering(self) -> Path:
        """What is seen above the mounts; it is a mount, too, so that nothing can be made there."""
        return self.world.top / "published" / "W"

    def prepare(self) -> None:
        """Make what the conformance suite does not have."""
        top = self.world.top
        for name in ("a", "b/nested/deep"):
            (self._covering / name).mkdir(parents=True)
        conformance.make_real(top / "real.new", self.world.places)
        for name in ("noaccess", "locked"):
            (top / "real.new" / name).chmod(0o755)
        (top / "real").mkdir()
        (top / "user").mkdir()
        if os.geteuid() == 0:
            owner = f"{self.user.uid}:{self.user.gid}"
            places = [top / name for name in ("real", "real.new", "user")]
            subprocess.run(["chown", "-Rh", owner, *places], check=True)
        sources = sorted(HERE.glob("calls*.c"))
        flags = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-pthread")
        subprocess.run(["cc", *flags, "-o", top / "calls", *sources], check=True)
        words = sorted({*self._words()})
        (top / "words").write_bytes(b"\0".join(words) + b"\0")

    def _words(self) -> Iterator[bytes]:
        top = os.fsencode(self.world.top)
        for number, place in enumerate(("real.new", "published/A", "published/B", "published/I")):
            start = os.path.join(top, os.fsencode(place))
            for directory, directories, files in os.walk(start):
                is_large = len(files) > 100
                names = [*directories, *(sorted(files)[:2] if is_large else files)]
                for name in names:
                    if LONG_CHAIN.fullmatch(name):
                        continue
                    yield b"%d%s" % (number, os.path.relpath(os.path.join(directory, name), start))

    def command(self, first: int, count: int) -> list[str]:
        """The program that makes the calls of so many seeds."""
        top, places = self.world.top, self.world.places
        numbers = [str(number) for number in (first, count, STEPS)]
        shown = [os.fsdecode(places[name]) for name in "RABIPW"]
        return [str(top / "calls"), *numbers, str(top / "words"), *shown]

    def native(self, first: int, count: int) -> list[str]:
        """What they give on real file systems."""
        top = self.world.top
        words = [str(top / "cover"), str(top / "at")]
        for name, at in self.world.mounts.items():
            words += [str(top / "published" / name), str(at)]
        words.append("--")
        if os.geteuid() == 0:
            ids = [f"--reuid={self.user.uid}", f"--regid={self.user.gid}", "--clear-groups"]
            words += [shutil.which("setpriv") or "setpriv", *ids, "--"]
        return self._run([*words, *self.command(first, count)])

    def under_pyparrot(self, first: int, count: int) -> list[str]:
        """What they give in a run."""
        cache = str(self.world.top / "user" / "cache")
        words = [*PYPARROT, "run", "--shim", self.shim, "--cache", cache, *self.world.options()]
        at = self.world.top / "at"
        words += ["-M", f"{at}={self._covering}", "--"]
        # Where nothing real is covered the shim does not have to look behind each real path.
        away = at.with_name("moved-away")
        at.rename(away)
        try:
            return self._run([*words, *self.command(first, count)], **self.user.options())
        finally:
            away.rename(at)

    def compare(self, first: int, count: int) -> Comparison:
        """Make the calls of these seeds on both sides."""
        native, run = self.native(first, count), self.under_pyparrot(first, count)
        for lines in (native, run):
            if lines[-1].startswith("ended with"):
                return Comparison([f"seed {first}\n{lines[-1]}\n"], 0, 0, count)
        return compare(native, run)

    def _run(self, command: list[str], **options: object) -> list[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": str(self.world.top / "user"),
            "XDG_CONFIG_HOME": str(self.world.top / "user" / "config"),
        }
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(  # type: ignore[call-overload]
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.PIPE,
                env=environment,
                timeout=LIMIT,
                check=False,
                **options,
            )
            said.seek(0)
            lines = said.read().decode("ascii").splitlines()
        errors = done.stderr.decode(errors="replace")
        if done.returncode or errors:
            lines.append(f"ended with {done.returncode}: {errors}")
        return lines


def compare(native: list[str], run: list[str]) -> Comparison:
    """Compare what was said, seed by seed: each up to the first line that is not the same."""
    reports, steps, whole, seeds = [], 0, 0, 0
    for wanted, found in itertools.zip_longest(_by_seed(native), _by_seed(run), fillvalue=[""]):
        report, compared = _compare_seed(wanted, found)
        reports += [report] if report else []
        steps += compared
        # One that a signal ended, or that could not begin, says so in its last line.
        whole += compared == len(wanted) == len(found) and wanted[-1] == found[-1] == ENDED_WELL
        seeds += 1
    return Comparison(reports, steps, whole, seeds)


def _compare_seed(wanted: list[str], found: list[str]) -> tuple[str, int]:
    """A report of the first difference that nothing explains, and how many lines were compared."""
    number = 0
    for number, pair in enumerate(itertools.zip_longest(wanted, found, fillvalue="")):
        if pair[0] == pair[1]:
            continue
        if explanation(*pair) is None:
            said = [f"natively: {pair[0]}", f"in a run: {pair[1]}", ""]
            return "\n".join([wanted[0], *wanted[1:number][-BEFORE:], *said]), number
        if not all(line.rpartition(" = ")[2].startswith("E") for line in pair):
            return "", number  # from here on there is something else in the two trees
    return "", number + 1


def _by_seed(lines: list[str]) -> list[list[str]]:
    """The lines of each seed; what comes before the first is one, too."""
    starts = [0, *(n for n, line in enumerate(lines) if n and line.startswith("seed "))]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)])]


def search(setting: Setting, first: int, minutes: float) -> list[str]:
    """Compare seed after seed until the time is over, or something differs."""
    ends, seed = time.monotonic() + 60 * minutes, first
    total = Comparison([], 0, 0, 0)
    while time.monotonic() < ends and not total.reports:
        made = setting.compare(seed, BATCH)
        counts = [before + more for before, more in zip(total[1:], made[1:])]
        total = Comparison(made.reports, *counts)
        seed += BATCH
    print(f"{total} in {minutes:g} minutes; the next seed is {seed}")
    return total.reports


@contextlib.contextmanager
def made_setting(shim: str) -> Iterator[Setting]:
    """All that it takes, in a directory that an ordinary user can enter."""
    top = Path(tempfile.mkdtemp(prefix="pyparrot-fuzz-"))
    top.chmod(0o755)
    try:
        inner = top / "some" / "levels" / "below"  # so that not every ".." leads to /
        inner.mkdir(parents=True)
        with conformance.make_world(inner) as world:
            setting = Setting(world, ordinary_user(), shim)
            setting.prepare()
            yield setting
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", top], check=False)
        shutil.rmtree(top)


def main() -> int:
    """Search, or make the calls of one seed."""
    parser = argparse.ArgumentParser(prog="tools/fuzz calls", description=__doc__)
    add = parser.add_argument
    add("seed", nargs="?", type=int, help="make the calls of this seed")
    add("--first", type=int, default=int(time.time()) * 1000, help="the seed to begin with")
    add("--minutes", type=float, default=10, help="how long to search (10)")
    add("--shim", choices=("auto", "off"), default="auto", help="as of pyparrot run")
    arguments = parser.parse_args()
    with made_setting(arguments.shim) as setting:
        if arguments.seed is None:
            found = search(setting, arguments.first, arguments.minutes)
        else:
            made = setting.compare(arguments.seed, 1)
            found = made.reports
            print(made)
    for report in found:
        seed = report.split()[1]
        FINDINGS.mkdir(parents=True, exist_ok=True)
        (FINDINGS / f"calls-{seed}").write_text(report)
        print(f"{report}again: tools/fuzz calls {seed}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
