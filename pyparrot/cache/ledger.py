"""What the cache holds: names, sizes, times of use, pins.

The files themselves are the truth: an object is there if its file is. The ledger knows what they
take together and which were used least recently. It may miss something after a crash; `reconcile`
makes it agree with the files again.

It is a diskcache.Cache of which only a part is used: the table with an index by time of use, the
counted size, and transactions that threads and processes may use at once, which is what would be
easy to get wrong. The values are files elsewhere, so nothing is ever pickled; and what is evicted
is decided by the store, which has to remove the files and what refers to them. There is no public
call that lists sizes, times and tags, or that sets a time: three statements go through `_sql`, on
the table as diskcache 5 has it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import diskcache

from pyparrot.cache.names import ObjectName

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

    name: ObjectName
    size: int
    used: float
    pinned: bool


class _FilesElsewhere(diskcache.Disk):  # type: ignore[misc]
    """Keeps names and sizes; the files are the object store's, and nothing is ever unpickled."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if not isinstance(key, str):
            raise TypeError("names are text")
        return str(key), True

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
            cull_limit=0,  # diskcache evicts nothing by itself
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

    def add(self, objects: Iterable[tuple[ObjectName, int]]) -> int:
        """Enter objects (name and size), which count as used now; gives the bytes of all."""
        with self._cache.transact():
            for name, size in objects:
                _, pinned = self._cache.get(name, tag=True)
                self._cache.set(name, size, tag=pinned)
        return self.size

    def use(self, names: Iterable[ObjectName]) -> None:
        """Say that objects were used now."""
        with self._cache.transact():
            for name in names:
                self._cache.get(name)

    def pin(self, names: Iterable[ObjectName], pinned: bool) -> None:
        """Pin objects, so that they stay whatever happens, or no longer."""
        with self._cache.transact():
            for name in names:
                row = self._sql("SELECT size FROM Cache WHERE key = ?", str(name)).fetchone()
                if row:
                    self._cache.set(name, row[0], tag=PINNED if pinned else None)

    def remove(self, names: Iterable[ObjectName]) -> None:
        """Forget objects."""
        with self._cache.transact():
            for name in names:
                self._cache.delete(name)

    def records(self) -> Iterator[Record]:
        """All objects, least recently used first."""
        rows = self._sql("SELECT key, size, access_time, tag FROM Cache ORDER BY access_time")
        for name, size, used, tag in rows.fetchall():
            yield Record(ObjectName(name), size, used, tag == PINNED)

    def reconcile(self, files: Iterable[tuple[ObjectName, int, float]]) -> None:
        """Make the ledger agree with the *files* (name, size, time of last use) that are there."""
        found = {name: (size, used) for name, size, used in files}
        with self._cache.transact():
            known = {record.name: record for record in self.records()}
            for name in known.keys() - found.keys():
                self._cache.delete(name)
            for name, (size, used) in found.items():
                record = known.get(name)
                if record is None or record.size != size:
                    pinned = PINNED if record is not None and record.pinned else None
                    self._cache.set(name, size, tag=pinned)
                    self._sql("UPDATE Cache SET access_time = ? WHERE key = ?", used, str(name))

    def _sql(self, statement: str, *values: Any) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self._cache._sql(statement, values)
        return cursor
