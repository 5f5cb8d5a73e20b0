"""Resource limits that a user sets for the whole run, soft and hard."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from faults import outcome
from faults.faults import Fault
from faults.outcome import Outcome

_MEGABYTE = 1 << 20
_RANGES = {
    "fsize": (0, 4 * _MEGABYTE),
    "as": (16 * _MEGABYTE, 2048 * _MEGABYTE),
    "data": (1 * _MEGABYTE, 512 * _MEGABYTE),
    "stack": (64 << 10, 16 * _MEGABYTE),
    "nofile": (3, 128),
    "cpu": (1, 20),
    "core": (0, _MEGABYTE),
    "memlock": (0, _MEGABYTE),
    "nproc": (1, 64),
    "sigpending": (0, 64),
}


class Limits(Fault):
    """One or two limits, by ``prlimit``; what the job natively gives under them is what is right.

    A cold or a warm cache; afterwards it is used without limits.
    """

    name = "limits"

    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """See `Fault.try_in`."""
        is_cold = chance.random() < 0.5
        cache = scratch / "cache" if is_cold else self.setting.copy_of_warm_cache(scratch)
        options = []
        for name in chance.sample(sorted(_RANGES), chance.choice((1, 1, 2))):
            least, most = _RANGES[name]
            value = int(least + (most - least) * chance.random() ** 3)
            options.append(f"--{name}={value}:{'' if chance.random() < 0.3 else value}")
        prefix = ["prlimit", *options, "--"]
        what = f"{' '.join(options)}, {'cold' if is_cold else 'warm'}"
        native = self._run_natively(prefix)
        if native.returncode == -signal.SIGKILL:
            return what, Outcome("right", "natively it hangs")
        status = native.returncode if native.returncode <= 128 else 128 - native.returncode
        ended = self.setting.run(cache, prefix=prefix)
        found = outcome.judge(ended, native.stdout, status)
        if found.kind == "traceback" and ended.err.count("Traceback") <= native.stderr.count(
            "Traceback"
        ):
            found = Outcome("right" if ended.status == status else "clean", "natively")
        if (
            found.kind == "wrong"
            and "nproc" in what
            and self._run_natively(prefix).stdout != native.stdout
        ):
            found = Outcome("right", "other processes of the user's count, too")
        return what, self.then_healed(found, cache)

    def _run_natively(self, prefix: Sequence[str]) -> subprocess.CompletedProcess[str]:
        world = self.setting.world
        bounded = ["timeout", "--signal=KILL", str(outcome.HANG_SECONDS), *prefix]
        return subprocess.run(
            [*bounded, *self.setting.command()[:-2], str(world.source)],
            env=world.environment(),
            capture_output=True,
            text=True,
            check=False,
            **world.user.options(),
        )
