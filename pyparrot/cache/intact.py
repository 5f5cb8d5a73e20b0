"""What a complete file in the cache looks like, and whether it still does.

Objects, and views with content of their own, are marked when they are complete: they can't be
opened for writing, and their time of modification is one that no other file has. A file that was
written to since has lost the mark. (What changes on the disk itself, only `cache verify` finds.)
The C side checks the same mark of views: `MARK` is handed to it.
"""

from __future__ import annotations

import os
import time

MARK = 299_792_458 * 10**9
"""The time of modification of what is complete, in nanoseconds of unix time."""


def mark_complete(file: str | bytes) -> None:
    """Mark *file*, which is complete and open nowhere; it counts as used now."""
    os.chmod(file, 0o500)  # programs run from views, which are links to objects
    os.utime(file, ns=(time.time_ns(), MARK))


def is_intact(status: os.stat_result, size: int | None = None) -> bool:
    """Whether a file is as it was when it was marked, and has *size* (bytes) if that is known."""
    return status.st_mtime_ns == MARK and (size is None or status.st_size == size)
