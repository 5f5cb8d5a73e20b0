"""Descriptors that a process has inherited, and must not keep."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container


def redirect_to_null(*descriptors: int) -> None:
    """Let descriptors lead to /dev/null, so that this process holds nothing open by them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def close_inherited(keep: Container[int]) -> None:
    """Close all descriptors but the standard streams and those to *keep*.

    Other processes may wait for their end, or for a lock on them: pipes, sockets, lock files.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # the listing's own descriptor is closed already
                os.close(descriptor)
