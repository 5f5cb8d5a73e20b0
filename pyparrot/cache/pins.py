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
from collections.abc import Iterator
from typing import Callable, NamedTuple

from pyparrot.cache.names import ObjectName

DIRECTORY = "pins"


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
        """All pins, by repository and path."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            if name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
                    found.append(_read(os.path.join(self._directory, name)))
        return sorted(found)

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
            try:
                os.unlink(os.path.join(self._directory, _file(repository, path)))
            except FileNotFoundError:
                return False
            self._flag(self.held())
        return True

    def release_all(self) -> None:
        """Take all pins back."""
        with self._locked():
            for pin in self.all():
                os.unlink(os.path.join(self._directory, _file(pin.repository, pin.path)))
            self._flag(self.held())

    def settle(self) -> None:
        """Make the flags agree with the pins, such as after a crash or a lost ledger."""
        with self._locked():
            self._flag(self.held())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes pins; the lock ends with its process."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with open(os.path.join(self._directory, "lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(file: str) -> Pin:
    import json

    with open(file, encoding="ascii") as stream:
        record = json.load(stream)
    return Pin(**{**record, "objects": tuple(map(ObjectName, record["objects"]))})


def _file(repository: str, path: str) -> str:
    import hashlib

    text = f"{repository}{path}".encode("utf-8", "surrogateescape")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest() + ".json"
