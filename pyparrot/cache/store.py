"""The object store: verified content under names that are its hashes.

Layout of a cache directory (version 1):

- ``objects/XX/YYYY…``: bodies, unpacked, named by the hash that catalogs know them by
- ``indexes/``: index files of catalogs
- ``manifests/``: what is known of each repository
- ``ledger/``: sizes, times of use and pins (`ledger`)
- ``txn/``: what is being written

Whatever has its final name is complete and was verified; so any number of processes may use a
cache at once, be killed, or run out of space. Nothing is resumed from a file of another process.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from .ledger import Ledger, Record

VERSION = "1"
DEFAULT_QUOTA = 4000 << 20
"""Bytes, as CVMFS_QUOTA_LIMIT is by default."""

_FLUSH_COUNT = 256
_STALE_SECONDS = 24 * 3600
_Result = TypeVar("_Result")


def default_directory() -> str:
    """Where the cache is unless configured otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pyparrot")


class ObjectStore:
    """A cache directory, opened. Any number of threads may use it.

    *quota* is in bytes; when objects take more, the least recently used go until half of it is
    free, as in CernVM-FS; 0 is no limit. Raises `PyparrotError` if the directory is another user's
    or if others may write to it.
    """

    def __init__(self, directory: str, quota: int = DEFAULT_QUOTA) -> None:
        self.directory = os.path.abspath(directory)
        self.quota = quota
        self._objects = os.path.join(self.directory, "objects")
        self._temporary = os.path.join(self.directory, "txn")
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._added: list[tuple[str, int]] = []
        self._used: set[str] = set()
        self._ledger: Ledger | None = None
        self._prepare()

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring the ledger up to date and close it."""
        self.flush()
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _prepare(self) -> None:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        status = os.stat(self.directory)
        if status.st_uid != os.geteuid():
            raise PyparrotError(
                self.directory, "this cache belongs to another user", "choose one with --cache"
            )
        if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
            raise PyparrotError(
                self.directory, "others may write to this cache", f"chmod go-w {self.directory}"
            )
        version = os.path.join(self.directory, "version")
        try:
            with open(version, encoding="ascii") as file:
                found = file.read().strip()
        except FileNotFoundError:
            if os.listdir(self.directory):
                raise PyparrotError(
                    self.directory, "not a cache, and not empty", "choose one with --cache"
                ) from None
            found = ""
        if found not in ("", VERSION):
            raise PyparrotError(
                self.directory, f"a cache of another version ({found})", "choose one with --cache"
            )
        for name in ("objects", "indexes", "manifests", "ledger", "txn"):
            os.makedirs(os.path.join(self.directory, name), mode=0o700, exist_ok=True)
        if not found:
            self.write_file("version", (VERSION + "\n").encode())

    # Objects

    def path(self, name: str) -> str:
        """Where the object of that name lies or would lie."""
        return os.path.join(self._objects, name[:2], name[2:])

    def find(self, name: str) -> str | None:
        """The path of an object, which counts as used now; None if it is not there."""
        path = self.path(name)
        if not os.path.exists(path):
            return None
        with self._lock:
            self._used.add(name)
        return path

    def names(self, prefix: str) -> list[str]:
        """The objects whose names begin so; *prefix* has two letters at least."""
        try:
            found = os.listdir(self.path(prefix[:2]))
        except FileNotFoundError:
            return []
        return sorted(prefix[:2] + name for name in found if name.startswith(prefix[2:]))

    def name(self, path: str) -> str:
        """The name of the object at *path*; the other way round it is `path`."""
        directory, file = os.path.split(path)
        return os.path.basename(directory) + file

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A temporary file to write an object to; gone at the end unless `add` has taken it."""
        path = self.temporary_file()
        try:
            with open(path, "xb+") as file:
                yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def temporary_file(self) -> str:
        """A name for a new file, on the same file system as the objects."""
        thread = threading.get_ident()
        return os.path.join(self._temporary, f"{os.getpid()}.{thread}.{next(self._serial)}")

    def add(self, name: str, file: str) -> str:
        """Make *file*, complete and verified, the object of that name; gives its path."""
        path = self.path(name)
        size = os.stat(file).st_size
        os.chmod(file, 0o400)
        try:
            os.rename(file, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(file, path)
        with self._lock:
            self._added.append((name, size))
            full = len(self._added) >= _FLUSH_COUNT
        if full:
            self.flush()
        return path

    def with_space(self, write: Callable[[], _Result]) -> _Result:
        """Run *write*; if the disk is full, make room and run it once more.

        If it is still full, the `OSError` (ENOSPC or EDQUOT) goes to the caller.
        """
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.evict_half():
                raise
        return write()

    def discard(self, name: str) -> None:
        """Remove an object."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))
        self.ledger.remove([name])

    # Quota

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first needed: warm use never needs it."""
        from .ledger import Ledger

        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(os.path.join(self.directory, "ledger"))
            return self._ledger

    def flush(self) -> None:
        """Tell the ledger what was added and used, and evict if that was too much."""
        with self._lock:
            added, self._added = self._added, []
            used, self._used = self._used, set()
        if added:
            self.ledger.add(added)
            if self.quota and self.ledger.size > self.quota:
                self.evict(self.ledger.size - self.quota // 2)
        if used:
            self.ledger.use(used)

    def evict(self, bytes_to_free: int) -> int:
        """Remove the least recently used objects until so many bytes are freed; gives how many."""
        victims = self.ledger.least_recently_used(bytes_to_free)
        self.ledger.remove(record.name for record in victims)
        for record in victims:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(record.name))
        return sum(record.size for record in victims)

    def evict_half(self) -> bool:
        """Make room on a full disk; False if there was nothing that could go."""
        self.flush()
        return self.evict(max(1, self.ledger.size // 2)) > 0

    def records(self) -> list[Record]:
        """What the cache holds, least recently used first."""
        self.flush()
        return list(self.ledger.records())

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every object's name and what stat says of its file."""
        with os.scandir(self._objects) as directories:
            for directory in directories:
                with os.scandir(directory.path) as entries:
                    for entry in entries:
                        with contextlib.suppress(FileNotFoundError):
                            yield directory.name + entry.name, entry.stat()

    def reconcile(self) -> None:
        """Make the ledger agree with the files, and clear away what dead processes left."""
        self.flush()
        self.ledger.reconcile(
            (name, status.st_size, max(status.st_atime, status.st_mtime))
            for name, status in self.files()
        )
        oldest = time.time() - _STALE_SECONDS
        with os.scandir(self._temporary) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.stat().st_mtime < oldest:
                        os.unlink(entry.path)

    def pin(self, names: Iterable[str], pinned: bool = True) -> None:
        """Let objects that are there stay whatever happens (`clear` of everything but), or not."""
        self.flush()
        self.ledger.pin(names, pinned)

    def clear(self, everything: bool = False) -> tuple[int, int]:
        """Remove all objects, pinned ones only if *everything*; gives their number and bytes.

        Others may use the cache meanwhile: who has an object open keeps it, who wants it later
        fetches it again.
        """
        self.reconcile()  # what the ledger has missed shall go, too
        victims = [record for record in self.records() if everything or not record.pinned]
        for record in victims:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(record.name))
        self.ledger.remove(record.name for record in victims)
        return len(victims), sum(record.size for record in victims)

    # Other files

    def file(self, *names: str) -> str:
        """The path of a file of another kind, such as ``file("indexes", NAME)``."""
        return os.path.join(self.directory, *names)

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a small file, at once."""
        temporary = self.temporary_file()
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, os.path.join(self.directory, name))
