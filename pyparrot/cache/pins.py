"""Pins: paths whose objects stay in the cache, whatever happens.

A pin holds what a path was at one revision. What it holds is written down (``pins/`` in the cache's
directory), because a later revision would not tell any more; so a pin can be taken back without
the repository, and what two pins have in common stays until both are gone. The ledger's flags,
which protect from eviction, follow from these records.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Callable, NamedTuple

from pyparrot.cache import owned
from pyparrot.cache.names import ObjectName
from pyparrot.errors import PyparrotError

DIRECTORY = "pins"
_LARGEST = 1 << 30
_PATIENCE = 60.0
_PAUSE = 0.02


class Pin(NamedTuple):
    """What is pinned: a path in a repository, at a revision, and the names of its objects.

    *path* begins with a slash and ends with none.
    """

    repository: str
    path: str
    revision: int
    objects: tuple[ObjectName, ...]


class Pins:
    """The pins of the cache in *directory*.

    *write* replaces a small file in the cache; *flag* is told, whenever pins have changed, which
    objects are held by all of them together.
    """

    def __init__(
        self,
        directory: str,
        write: Callable[[str, bytes], None],
        flag: Callable[[set[ObjectName]], None],
    ) -> None:
        self._directory = os.path.join(directory, DIRECTORY)
        self._write = write
        self._flag = flag

    def all(self) -> list[Pin]:
        """All pins, by repository and path; those that are damaged are left out."""
        found = (_read(os.path.join(self._directory, name)) for name in self._names())
        return sorted(pin for pin in found if pin is not None)

    def damaged(self) -> list[str]:
        """The files that should be pins, and are none: paths."""
        paths = [os.path.join(self._directory, name) for name in self._names()]
        return [path for path in paths if os.path.lexists(path) and _read(path) is None]

    def _names(self) -> list[str]:
        try:
            return sorted(n for n in os.listdir(self._directory) if n.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def held(self) -> set[ObjectName]:
        """The names of all objects that pins hold."""
        return {name for pin in self.all() for name in pin.objects}

    def hold(self, pin: Pin) -> None:
        """Add a pin; it replaces another one of the same path."""
        import json

        with self._locked():
            content = json.dumps(pin._asdict()).encode("ascii")
            self._write(os.path.join(DIRECTORY, _file(pin.repository, pin.path)), content)
            self._flag(self.held())

    def release(self, repository: str, path: str) -> bool:
        """Take a pin back; False if there is none of this path."""
        with self._locked():
            file = os.path.join(self._directory, _file(repository, path))
            if not os.path.lexists(file):
                return False
            owned.remove(file)
            self._flag(self.held())
        return True

    def release_all(self) -> None:
        """Take all pins back."""
        with self._locked():
            for name in self._names():
                owned.remove(os.path.join(self._directory, name))
            self._flag(self.held())

    def settle(self) -> None:
        """Make the flags agree with the pins, such as after a crash or a lost ledger."""
        with self._locked():
            self._flag(self.held())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes pins; the lock ends with its process."""
        owned.make_directory(self._directory, parents=True)
        file = os.path.join(self._directory, "lock")
        lock = owned.open_shared(file)
        try:
            deadline = time.monotonic() + _PATIENCE
            while not _try_to_lock(lock):
                if time.monotonic() > deadline:
                    raise PyparrotError(file, "another process changes pins for too long")
                time.sleep(_PAUSE)
            yield
        finally:
            os.close(lock)


def _try_to_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _read(file: str) -> Pin | None:
    """The pin in a file; None if there is none, or it is damaged."""
    import json

    try:
        content = owned.read(file, _LARGEST)
        record = json.loads(b"" if content is None else content)
        pin = Pin(**{**record, "objects": tuple(map(ObjectName, record["objects"]))})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = isinstance(pin.repository, str) and isinstance(pin.path, str)
    return pin if texts and isinstance(pin.revision, int) else None


def _file(repository: str, path: str) -> str:
    import hashlib

    text = f"{repository}{path}".encode("utf-8", "surrogateescape")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest() + ".json"
