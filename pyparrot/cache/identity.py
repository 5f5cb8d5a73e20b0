"""Which file it is, in which state: what may be kept of a file for as long as that is the same.

A path is no identity, for another file may take its place; times are none alone, for they can be
set, and the clock that they are taken from ticks slowly.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from pyparrot.core import lib

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

    def settle(self, descriptor: int) -> None:
        """Wait until the file, open there, can't change any more and keep this identity."""
        is_coarse = self.changed % 1_000_000_000 == 0
        tick = _COARSE_TICK if is_coarse else _TICK
        rest = self.changed / 1e9 + tick - time.time()
        if rest > 0 and (is_coarse or not lib.pp_has_fine_times(descriptor)):
            time.sleep(min(rest, tick))
