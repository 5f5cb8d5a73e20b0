"""What the cache holds: names, sizes, times of use, pins. On diskcache, without its pickles.

The files themselves are the truth: an object is there if its file is. The ledger knows what they
take together and which were used least recently. It may miss something after a crash; `reconcile`
makes it agree with the files again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import diskcache

FAILURES = (sqlite3.Error, diskcache.Timeout, OSError)
"""What keeps a ledger from being read or written: a full disk, another one's lock, damage."""

PINNED = "pinned"
MODE_FILE = 2
"""diskcache's mode for a value that is a file of bytes."""


def is_damaged(error: Exception) -> bool:
    """Whether a failure means that the ledger can't be used any more."""
    return type(error) is sqlite3.DatabaseError


class Record(NamedTuple):
    """An object in the ledger: its name, size (bytes), time of last use (unix), whether pinned."""

    name: str
    size: int
    used: float
    pinned: bool


class _FilesElsewhere(diskcache.Disk):  # type: ignore[misc]
    """Keeps names and sizes; the files are the object store's, and nothing is ever unpickled."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if not isinstance(key, str):
            raise TypeError("names are text")
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        if not raw or not isinstance(key, str):
            raise ValueError("a name that pyparrot did not write")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, None]:
        return int(value), MODE_FILE, None, None

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> None:
        return None

    def remove(self, file_path: Any) -> None:
        """Nothing: the object store removes its files itself."""


class Ledger:
    """The ledger in one directory; any number of threads and processes may use it at once.

    What it is told may fail with one of `FAILURES`.
    """

    def __init__(self, directory: str) -> None:
        self._cache = diskcache.Cache(
            directory,
            timeout=60,
            disk=_FilesElsewhere,
            eviction_policy="least-recently-used",
            cull_limit=0,  # what goes is decided here, for the files have to go, too
            size_limit=1 << 62,
        )

    def close(self) -> None:
        """Close the database."""
        self._cache.close()

    @staticmethod
    def remove_files(directory: str) -> None:
        """Remove a ledger that is damaged; the next one to be opened is new."""
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))

    @property
    def size(self) -> int:
        """The bytes of all objects together."""
        size: int = self._cache.reset("size")
        return size

    def __len__(self) -> int:
        return len(self._cache)

    def add(self, objects: Iterable[tuple[str, int]]) -> int:
        """Enter objects (name and size), which count as used now; gives the bytes of all."""
        with self._cache.transact():
            for name, size in objects:
                pinned = self._row("tag", name)
                self._cache.set(name, size, tag=pinned[0] if pinned else None)
        return self.size

    def use(self, names: Iterable[str]) -> None:
        """Say that objects were used now."""
        with self._cache.transact():
            for name in names:
                self._cache.get(name)

    def pin(self, names: Iterable[str], pinned: bool) -> None:
        """Pin objects, so that they stay whatever happens, or no longer."""
        with self._cache.transact():
            for name in names:
                row = self._row("size", name)
                if row:
                    self._cache.set(name, row[0], tag=PINNED if pinned else None)

    def remove(self, names: Iterable[str]) -> None:
        """Forget objects."""
        with self._cache.transact():
            for name in names:
                self._cache.delete(name)

    def records(self) -> Iterator[Record]:
        """All objects, least recently used first."""
        rows = self._sql("SELECT key, size, access_time, tag FROM Cache ORDER BY access_time")
        for name, size, used, tag in rows.fetchall():
            yield Record(name, size, used, tag == PINNED)

    def reconcile(self, files: Iterable[tuple[str, int, float]]) -> None:
        """Make the ledger agree with the *files* (name, size, time of last use) that are there."""
        found = {name: (size, used) for name, size, used in files}
        with self._cache.transact():
            known = {record.name: record for record in self.records()}
            for name in known.keys() - found.keys():
                self._cache.delete(name)
            for name, (size, used) in found.items():
                if name not in known or known[name].size != size:
                    self._cache.set(name, size, tag=PINNED if self._pinned(known, name) else None)
                    self._sql("UPDATE Cache SET access_time = ? WHERE key = ?", (used, name))

    @staticmethod
    def _pinned(known: dict[str, Record], name: str) -> bool:
        return name in known and known[name].pinned

    def _row(self, column: str, name: str) -> Any:
        return self._sql(f"SELECT {column} FROM Cache WHERE key = ?", (name,)).fetchone()

    def _sql(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        # diskcache has no query of its own for this; its table is documented and stable.
        cursor: sqlite3.Cursor = self._cache._sql(statement, values)
        return cursor
