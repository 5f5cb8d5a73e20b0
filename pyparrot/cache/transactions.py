"""Files that are being written: where they are, which process owns them, what dead ones left."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from pyparrot.cache.locks import Locks

STALE_SECONDS = 24 * 3600
"""How long a file may stay if nothing is known of its owner."""


class Transactions:
    """The unfinished files in *directory*. Their names begin with their owner's token."""

    def __init__(self, directory: str, locks: Locks) -> None:
        self._directory = directory
        self._locks = locks
        self._serial = itertools.count()

    def new_name(self) -> str:
        """The path of a file that is not there yet."""
        return os.path.join(self._directory, f"{self._owner()}{next(self._serial)}")

    def _owner(self) -> str:
        return f"{self._locks.token}.{os.getpid()}.{threading.get_ident()}."

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A new file; if it still has its name at the end, it is removed."""
        path = self.new_name()
        try:
            with self._open_new(path) as file:
                yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _open_new(self, path: str) -> BinaryIO:
        try:
            return open(path, "xb+")
        except FileNotFoundError:  # the whole cache was removed
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            return open(path, "xb+")

    def others(self) -> bool:
        """Whether any other thread or process is writing."""
        owner = self._owner()
        return any(not name.startswith(owner) for name in self._names())

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []

    def sweep(self) -> int:
        """Remove what dead processes have left; gives how many bytes."""
        freed = 0
        oldest = time.time() - STALE_SECONDS
        for name in self._names():
            path = os.path.join(self._directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                token = name.partition(".")[0]
                # Not st_mtime: what is about to become an object has that of all objects already.
                if status.st_ctime < oldest or not self._locks.is_alive(token):
                    os.unlink(path)
                    freed += status.st_size
        return freed
