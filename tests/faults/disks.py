"""Disks that are full, at every size: the cache lies on a small file system of its own."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from faults import outcome
from faults.faults import Fault, Setting
from faults.outcome import Outcome

_ENOUGH = 16 << 20
_MOUNT = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


class Disks(Fault):
    """The cache's file system has too little room, or too few inodes; or one that is just enough.

    What has been written there goes with it; whether a later run heals is not asked.
    """

    name = "disks"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._private = ["unshare", "--user", "--map-root-user", "--mount"]

    def unavailable(self) -> str:
        """See `Fault.unavailable`."""
        scratch = self.setting.scratch()
        words = [*self._private, "sh", "-c", _MOUNT, "sh", "size=1m", str(scratch), "true"]
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, **self.setting.world.user.options()
        )
        return "" if done.returncode == 0 else f"no file system of its own: {done.stderr.strip()}"

    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """See `Fault.try_in`."""
        cache = scratch / "cache"
        cache.mkdir(0o700)
        self._give(cache)
        if chance.random() < 0.2:
            room = f"nr_inodes={chance.randint(2, 400)}"
        else:
            # Small sizes more often: what is written first is metadata.
            room = f"size={4096 * max(1, int(_ENOUGH / 4096 * chance.random() ** 2))}"
        prefix = [*self._private, "sh", "-c", _MOUNT, "sh", f"{room},mode=700", str(cache)]
        ended = self.setting.run(cache, prefix=prefix)
        return room, outcome.judge(ended, self.setting.native)

    def _give(self, directory: Path) -> None:
        user = self.setting.world.user
        subprocess.run(["chown", f"{user.uid}:{user.gid}", directory], check=True)
