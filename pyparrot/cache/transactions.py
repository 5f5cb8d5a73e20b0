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
from pyparrot.cache.owned import claim_directory, make_directory, open_new, remove

STALE_SECONDS = 24 * 3600
"""How long a file may stay if nothing is known of its owner."""


class Transactions:
    """The unfinished files in *directory*. Their names begin with their owner's token."""

    def __init__(self, directory: str, locks: Locks) -> None:
        self._directory = directory
        self._locks = locks
        self._serial = itertools.count()

    def new_name(self) -> str:
        """The path of a file that is not there yet.

        It is unique beyond this process and machine: a process number may be in use in another
        namespace, too, and what a process begins with, its forks have as well.
        """
        number = f"{next(self._serial)}.{os.urandom(6).hex()}"
        return os.path.join(self._directory, self._owner() + number)

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
            descriptor = open_new(path)
        except (FileNotFoundError, NotADirectoryError):  # the whole cache was removed, or damaged
            make_directory(os.path.dirname(self._directory), parents=True)
            claim_directory(self._directory)
            descriptor = open_new(path)
        # By its name, so that it has one for whoever is given it.
        return open(path, "xb+", opener=lambda *_: descriptor)

    def others(self) -> bool:
        """Whether any other thread or process is writing."""
        owner = self._owner()
        return any(not name.startswith(owner) for name in self._names())

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sweep(self) -> int:
        """Remove what dead processes have left; gives how many bytes."""
        freed = 0
        oldest = time.time() - STALE_SECONDS
        for name in self._names():
            path = os.path.join(self._directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                token = name.partition(".")[0]
                # Not st_mtime: what is about to become an object has that of all objects already.
                if status.st_ctime < oldest or not self._locks.is_alive(token):
                    freed += remove(path)
        return freed
