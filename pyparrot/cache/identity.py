"""Which file it is, in which state: what may be kept of a file for as long as that is the same.

A path is no identity, for another file may take its place; times are none alone, for they can be
set, and the clock that they are taken from ticks slowly.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

_TICK, _COARSE_TICK = 0.02, 2.1
"""Seconds in which a file may change twice and keep its times; as in ``csrc/core/image.h``."""


class Identity(NamedTuple):
    """A file in one state, as ``struct pp_identity``; times are nanoseconds of unix time."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity of the file that *status* is of."""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        return cls(status.st_dev, status.st_ino, status.st_size, *times)

    def settle(self) -> None:
        """Wait until the file can't change any more without getting another identity."""
        tick = _TICK if self.changed % 1_000_000_000 else _COARSE_TICK
        rest = self.changed / 1e9 + tick - time.time()
        if rest > 0:
            time.sleep(min(rest, tick))
