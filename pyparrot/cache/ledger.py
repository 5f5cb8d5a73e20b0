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

import contextlib
import math
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import diskcache

from pyparrot.cache.names import ObjectName
from pyparrot.cache.owned import open_new, remove, why_not

_ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What diskcache and sqlite3 raise about rows that they did not write."""

FAILURES = (sqlite3.Error, diskcache.Timeout, OSError, *_ODD)
"""What keeps a ledger from being read or written: a full disk, another one's lock, damage."""

_PASSING = ("full", "i/o", "interrupted", "locked", "memory", "readonly", "unable to open")
"""Words in SQLite's messages about failures that are not the database's."""

_DATABASE = "cache.db"
_MOST = 1 << 62
_JOURNAL = 1 << 20
"""The most bytes of the journal that stay on the disk."""

PINNED = "pinned"
MODE_FILE = 2
"""diskcache's mode for a value that is a file of bytes."""


def is_damaged(error: Exception) -> bool:
    """Whether a failure means that the ledger can't be used any more."""
    if isinstance(error, (sqlite3.OperationalError, diskcache.Timeout)):
        return not any(word in str(error).lower() for word in _PASSING)
    return isinstance(error, (sqlite3.DatabaseError, *_ODD))


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
        self._file = os.path.join(directory, _DATABASE)
        self.is_new = _make_way(directory)
        """Whether it knew nothing when it was opened."""
        self._cache = diskcache.Cache(
            directory,
            timeout=60,
            disk=_FilesElsewhere,
            eviction_policy="least-recently-used",
            cull_limit=0,  # diskcache evicts nothing by itself
            size_limit=1 << 62,
            sqlite_journal_size_limit=_JOURNAL,
        )

    def close(self) -> None:
        """Close the database."""
        self._cache.close()

    @staticmethod
    def remove_files(directory: str) -> None:
        """Remove a ledger that is damaged; the next one to be opened is new."""
        for name in os.listdir(directory):
            if name.startswith(_DATABASE):
                remove(os.path.join(directory, name))

    @property
    def size(self) -> int:
        """The bytes of all that is in the cache, this ledger among it. `ValueError` if odd."""
        size = self._cache.reset("size")
        if not isinstance(size, int) or not 0 <= size <= _MOST:
            raise ValueError("a size that can't be")
        with contextlib.suppress(OSError):
            size += os.stat(self._file).st_size
        return size

    def other(self, row: str) -> int:
        """The bytes in a *row* that is no object (`usage.SLACK` or `usage.REST`)."""
        found = self._sql("SELECT size FROM Cache WHERE key = ?", row).fetchone()
        return _number(found[0]) if found else 0

    def set_other(self, row: str, size: int) -> None:
        """Set the bytes in a *row* that is no object."""
        self._cache.set(row, max(0, size))

    def __len__(self) -> int:
        return len(self._cache)

    def add(
        self, objects: Iterable[tuple[ObjectName, int]], other: Mapping[str, int] | None = None
    ) -> int:
        """Enter objects (name and size), which count as used now; gives the bytes of all.

        *other* is what comes to the rows that are no objects, in bytes.
        """
        with self._cache.transact():
            for row, size in (other or {}).items():
                self.set_other(row, self.other(row) + size)
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
            if isinstance(name, str) and not name.startswith("/"):
                yield Record(ObjectName(name), _number(size), _time(used), tag == PINNED)

    def reconcile(self, files: Iterable[tuple[ObjectName, int, float]]) -> None:
        """Make the ledger agree with the *files* (name, size, time of last use) that are there."""
        found = {name: (size, used) for name, size, used in files}
        with self._cache.transact():
            self._sql("DELETE FROM Cache WHERE typeof(key) != 'text'")
            known = {record.name: record for record in self.records()}
            for name in known.keys() - found.keys():
                self._cache.delete(name)
            for name, (size, used) in found.items():
                record = known.get(name)
                if record is None or record.size != size:
                    pinned = PINNED if record is not None and record.pinned else None
                    self._cache.set(name, size, tag=pinned)
                    self._sql("UPDATE Cache SET access_time = ? WHERE key = ?", used, str(name))
            self._sql(
                "UPDATE Settings SET value = (SELECT COALESCE(SUM(size), 0) FROM Cache)"
                " WHERE key = 'size'"
            )

    def _sql(self, statement: str, *values: Any) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self._cache._sql(statement, values)
        return cursor


def _make_way(directory: str) -> bool:
    """Have a regular file of ours where the database lies: SQLite would wait at a pipe for ever.

    Gives whether there is nothing in it. Its mode must not depend on the umask; the files beside it
    get the same from SQLite.
    """
    for name in os.listdir(directory):
        if name.startswith(_DATABASE):
            path = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or why_not(status):
                    remove(path)
                elif status.st_mode & 0o600 != 0o600:
                    os.chmod(path, 0o600)
    database = os.path.join(directory, _DATABASE)
    with contextlib.suppress(FileExistsError):
        os.close(open_new(database))
    return os.stat(database).st_size == 0


def _number(value: Any) -> int:
    """A size that stands in a row, if it can be one; else 0."""
    return value if isinstance(value, int) and 0 <= value <= _MOST else 0


def _time(value: Any) -> float:
    """A time that stands in a row, if it can be one; else that of what was used long ago."""
    good = isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < _MOST
    return float(value) if good else 0.0
