"""Descriptors that a process has from whoever started it, and shall not keep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container


def blind(*descriptors: int) -> None:
    """Let descriptors lead nowhere: what they led to shall not stay open for us."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def close_inherited(keep: Container[int]) -> None:
    """Close all descriptors but the standard streams and those to *keep*.

    Others may wait for their end, or for a lock on them: pipes, sockets, lock files.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # that of the listing itself has gone
                os.close(descriptor)
