"""Which objects were used, noted in a file for the ledger, which has them when it is next opened.

To open the ledger takes longer than a whole run that finds all in the cache. A note is a line: the
names of the objects that were used together. It is appended at once, so that lines of processes
that write at the same time do not mix; who reads the file has taken it away before. What is noted
is worth no more than a hint of what to evict first: a file that can't be read is forgotten.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from pyparrot.cache.names import ObjectName

_LONGEST = 1 << 20
"""Bytes of a file of notes: then the ledger itself is told."""


class UseNotes:
    """The notes in *directory*."""

    def __init__(self, directory: str) -> None:
        self._file = os.path.join(directory, "used")

    def add(self, names: Collection[ObjectName]) -> bool:
        """Note that objects were used; gives whether that could be done."""
        line = " ".join(names).encode() + b"\n"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._file, flags | os.O_NONBLOCK, 0o600)
        except OSError:
            return False
        try:
            if os.fstat(descriptor).st_size + len(line) > _LONGEST:
                return False
            return os.write(descriptor, line) == len(line)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def take(self) -> list[ObjectName]:
        """What was noted, the least recently used first; the file is gone after that."""
        with contextlib.suppress(OSError):
            taken = f"{self._file}.{os.getpid()}"
            os.rename(self._file, taken)
            try:
                descriptor = os.open(taken, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with open(descriptor, "rb") as file:
                    content = file.read(_LONGEST)
            finally:
                os.unlink(taken)
            # By its last use: later names take the place of earlier ones.
            last = dict.fromkeys(reversed(content.decode("ascii", "replace").split()))
            return [ObjectName(name) for name in reversed(last)]
        return []
