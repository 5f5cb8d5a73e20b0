"""What all kinds of faults have in common: the world that a run meets, and how it is tried."""

from __future__ import annotations

import abc
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

from support.runs import PYPARROT, World

from faults import outcome
from faults.outcome import Outcome

JOB = Path(__file__).with_name("job.py")

_INSTALLED = Path(sys.executable).with_name("pyparrot")
_PROGRAM = [str(_INSTALLED)] if _INSTALLED.exists() else PYPARROT
"""As users start it, if it is installed."""


class Setting(NamedTuple):
    """A published tree, its warm cache, and what the job says of the tree natively."""

    world: World
    job: Path
    """The job, where everybody may read it."""
    native: str
    warm: Path
    """A cache with all that the job needs; it is copied, never used."""

    def scratch(self) -> Path:
        """A new directory of the user's, the caller's to remove."""
        return self.world.work()

    def copy_of_warm_cache(self, scratch: Path) -> Path:
        """The same with its times, modes, owners and hard links."""
        copy = scratch / "cache"
        os.spawnlp(os.P_WAIT, "cp", "cp", "-a", str(self.warm), str(copy))
        return copy

    def command(self, rounds: int = 1) -> list[str]:
        """The job's words in a run."""
        python = ["/usr/bin/python3", "-I", "-S", str(self.job)]
        return [*python, self.world.root, str(rounds)]

    def run(
        self,
        cache: Path,
        *,
        prefix: Sequence[str] = (),
        url: str | None = None,
        rounds: int = 1,
        progress: Callable[[], int] = lambda: 0,
        **options: Any,
    ) -> outcome.Ended:
        """A run of the job; *prefix* are words before pyparrot's. See `outcome.run`."""
        world = self.world if url is None else self.world._replace(url=url)
        # The directory's name is in every process's command line: it tells what belongs to a run.
        pyparrot = world.prefix(cache=cache)[len(PYPARROT) :]
        words = [*prefix, *_PROGRAM, *pyparrot, *self.command(rounds), str(cache)]
        with tempfile.TemporaryDirectory() as cwd:
            os.chmod(cwd, 0o755)
            return outcome.run(
                words,
                str(cache),
                progress,
                cwd=cwd,
                env=world.environment(),
                **world.user.options(),
                **options,
            )


class Fault(abc.ABC):
    """A kind of fault."""

    name: str

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def unavailable(self) -> str:
        """Why it can't be tried here; empty if it can."""
        return ""

    def attempt(self, seed: int) -> tuple[str, Outcome]:
        """Try the fault that *seed* chooses: what it was, and what came of it."""
        scratch = self.setting.scratch()
        try:
            return self.try_in(scratch, random.Random(f"{self.name} {seed}"))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @abc.abstractmethod
    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """The same, in a directory of its own."""

    def then_healed(self, found: Outcome, cache: Path) -> Outcome:
        """*found*, unless the next run with the *cache*, without a fault, is not right."""
        if found.kind in outcome.PROBLEMS:
            return found
        after = outcome.judge(self.setting.run(cache), self.setting.native)
        return found if after.kind == "right" else Outcome("unhealed", f"{after.kind}: {after.why}")
