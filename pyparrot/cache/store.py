"""The object store: verified content under names that are its hashes.

Layout of a cache directory (version 1):

- ``objects/XX/YYYY…``: bodies, catalogs and the like, unpacked, named by their hash and
  kind; index files of catalogs
- ``manifests/``, ``origins/``: the newest manifest of each repository, and where it is from
- ``ledger/``: sizes, times of use, and what is pinned (`ledger`)
- ``pins/``: what each pin holds (`pins`)
- ``txn/``: what is being written; names begin with a token of who writes (`locks`)
- ``lock``, ``version``

Whatever has its final name is complete and was verified; so any number of processes may use a
cache at once, be killed, or run out of space. Nothing is resumed from a file of another process.

Objects have a time of modification that nothing else has: one that was written to since it was
added is not taken for what it was. (What changes on the disk itself, `cache verify` finds.) The
ledger is only told what happens; where it can't be written, such as on a full disk, all goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from pyparrot.cache.locks import Locks
from pyparrot.cache.transactions import Transactions
from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.cache.ledger import Ledger, Record

VERSION = "1"
DEFAULT_QUOTA = 4000 << 20
"""Bytes, as CVMFS_QUOTA_LIMIT is by default."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors that room on the disk would cure."""

MARK = 299_792_458 * 10**9
"""The time of modification of all objects, in nanoseconds of unix time."""

_DIRECTORIES = ("objects", "manifests", "origins", "ledger", "pins", "txn")
_ENTRIES = {*_DIRECTORIES, "views", "lock", "version"}
_FLUSH_COUNT = 256
_FLUSH_PART = 16
"""The ledger is told at the latest when this part of the quota was added."""

_LONGEST_WORK = 60.0
"""Seconds after which nobody waits any longer for another process to get an object."""

_LONGEST_SQUEEZE = 20.0
"""Seconds for which room is looked for on a full disk."""

_SQUEEZE_PAUSE = 0.1
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
        self._lock = threading.Lock()
        self._locks = Locks(os.path.join(self.directory, "lock"))
        self._transactions = Transactions(os.path.join(self.directory, "txn"), self._locks)
        self._added: dict[str, int] = {}
        self._added_bytes = 0
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
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise
            why = f"no cache can be here: {error.strerror}"
            raise PyparrotError(self.directory, why, "choose one with --cache") from None
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
            # A cache that is just being made, or whose maker was killed, has no version yet.
            if not _ENTRIES.issuperset(os.listdir(self.directory)):
                raise PyparrotError(
                    self.directory, "not a cache, and not empty", "choose one with --cache"
                ) from None
            found = ""
        if found not in ("", VERSION):
            raise PyparrotError(
                self.directory, f"a cache of another version ({found})", "choose one with --cache"
            )
        for name in _DIRECTORIES:
            os.makedirs(os.path.join(self.directory, name), mode=0o700, exist_ok=True)
        if not found:
            self.write_file("version", (VERSION + "\n").encode())

    # Objects

    def path(self, name: str) -> str:
        """Where the object of that name lies or would lie."""
        return os.path.join(self._objects, name[:2], name[2:])

    def find(self, name: str, size: int | None = None, *, counts: bool = True) -> str | None:
        """The path of an object, which *counts* as used now; None if it is not there.

        It goes if it was changed, or does not have the *size* that it should have, in bytes.
        """
        path = self.path(name)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        if status.st_mtime_ns != MARK or (size is not None and status.st_size != size):
            self.discard(name)
            return None
        if counts:
            with self._lock:
                self._used.add(name)
        return path

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Keep other processes from getting the same object; waits, but not for ever."""
        return self._locks.hold(name, _LONGEST_WORK)

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

    def writing(self) -> AbstractContextManager[BinaryIO]:
        """A temporary file to write an object to; gone at the end unless `add` has taken it."""
        return self._transactions.writing()

    def temporary_file(self) -> str:
        """A name for a new file, on the same file system as the objects."""
        return self._transactions.new_name()

    def add(self, name: str, file: str) -> str:
        """Make *file*, complete and verified, the object of that name; gives its path."""
        path = self.path(name)
        size = os.stat(file).st_size
        os.chmod(file, 0o500)  # programs run from views, which are links to it
        os.utime(file, ns=(time.time_ns(), MARK))
        try:
            os.rename(file, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(file, path)
        with self._lock:
            self._added[name] = size
            self._added_bytes += size
            much = self._added_bytes > self.quota // _FLUSH_PART > 0
            full = much or len(self._added) >= _FLUSH_COUNT
        if full:
            self.flush(but=name)  # for whoever adds an object wants to have it
        return path

    def with_space(self, write: Callable[[], _Result]) -> _Result:
        """Run *write*; as long as the disk is full, make room and run it again.

        If no room can be made, the `OSError` (ENOSPC or EDQUOT) goes to the caller.
        """
        deadline = time.monotonic() + _LONGEST_SQUEEZE
        while True:
            try:
                return write()
            except OSError as error:
                if error.errno not in FULL or not self._make_room(deadline):
                    raise

    def _make_room(self, deadline: float) -> bool:
        """Whether another try makes sense; others' unfinished files will go, if nothing else."""
        with self._locks.hold("room", _LONGEST_SQUEEZE):
            if self._transactions.sweep() or self.evict_half():
                return True
        time.sleep(_SQUEEZE_PAUSE)
        return time.monotonic() < deadline and self._transactions.others()

    def discard(self, name: str) -> None:
        """Remove an object."""
        self._remove([name])

    def _remove(self, names: Iterable[str]) -> None:
        """Remove objects, and the views that are links to them: else their space stays taken."""
        from pyparrot.cache import views

        names, shared = list(names), set()
        for name in names:
            path = self.path(name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                os.unlink(path)
                if status.st_nlink > 1:
                    shared.add(status.st_ino)
        if shared:
            views.remove(self, shared)
        self._forget(names)

    # Quota

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first needed: warm use never needs it."""
        from pyparrot.cache.ledger import Ledger

        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(os.path.join(self.directory, "ledger"))
            return self._ledger

    def _tell(self, ask: Callable[[Ledger], _Result]) -> _Result | None:
        """Let the ledger do something; None if it can't now."""
        from pyparrot.cache.ledger import FAILURES, is_damaged

        try:
            return ask(self.ledger)
        except FAILURES as error:
            if is_damaged(error):
                self._renew_ledger()
            return None

    def _renew_ledger(self) -> None:
        """Begin a new ledger; what was pinned is written down elsewhere, too."""
        from pyparrot.cache.ledger import FAILURES, Ledger
        from pyparrot.sources.cvmfs.pins import pinned

        with self._lock:
            self._ledger = None
            Ledger.remove_files(os.path.join(self.directory, "ledger"))
        with contextlib.suppress(*FAILURES):
            self.ledger.reconcile(self._files_and_times())
            self.ledger.pin(pinned(self), True)

    def flush(self, but: str = "") -> None:
        """Tell the ledger what was added and used; if it is too much, evict, *but* one object."""
        with self._lock:
            added, self._added, self._added_bytes = self._added, {}, 0
            used, self._used = self._used, set()
        if used:
            self._tell(lambda ledger: ledger.use(used))
        if not added:
            return
        self._transactions.sweep()
        size = self._tell(lambda ledger: ledger.add(added.items()))
        if size is None:
            with self._lock:
                self._added = {**added, **self._added}
        elif size > self.quota > 0:
            self.evict(size - self.quota // 2, but)

    def evict(self, bytes_to_free: int, but: str = "") -> int:
        """Remove the least recently used objects until so many bytes are freed; gives how many.

        All *but* one may go. The files count, not what the ledger knows: processes that were killed
        have told it nothing.
        """
        gone, freed = [], 0
        for record in self._by_use():
            if freed >= bytes_to_free:
                break
            if record.name != but:
                freed += record.size
                gone.append(record.name)
        self._remove(gone)
        return freed

    def _forget(self, names: Collection[str]) -> None:
        with self._lock:
            for name in names:
                self._added.pop(name, None)
        self._tell(lambda ledger: ledger.remove(names))

    def _by_use(self) -> list[Record]:
        """The objects that may go, least recently used first."""
        from pyparrot.cache.ledger import Record
        from pyparrot.sources.cvmfs.pins import pinned

        known = self._tell(lambda ledger: {record.name: record for record in ledger.records()})
        stay = pinned(self) if known is None else set()
        found = []
        for name, size, used in self._files_and_times():
            record = (known or {}).get(name, Record(name, size, used, name in stay))
            if not record.pinned:
                found.append(record._replace(size=size, used=max(used, record.used)))
        return sorted(found, key=lambda record: record.used)

    def evict_half(self) -> bool:
        """Make room on a full disk; False if there was nothing that could go."""
        self.flush()
        size = sum(status.st_size for _, status in self.files())
        return self.evict(max(1, size // 2)) > 0

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
        self.ledger.reconcile(self._files_and_times())
        self._transactions.sweep()

    def _files_and_times(self) -> Iterator[tuple[str, int, float]]:
        """Every object's name, size (bytes), and when it was used at the latest (unix seconds)."""
        for name, status in self.files():
            yield name, status.st_size, max(status.st_atime, status.st_ctime)

    def pin(self, names: Iterable[str], pinned: bool = True) -> None:
        """Let objects that are there stay whatever happens (`clear` of everything but), or not."""
        self.flush()
        self.ledger.pin(names, pinned)

    def clear(self, everything: bool = False) -> tuple[int, int]:
        """Remove all objects, pinned ones only if *everything*; gives their number and bytes.

        Others may use the cache meanwhile: who has an object open keeps it, who wants it later
        fetches it again.
        """
        from pyparrot.cache import views

        self.reconcile()  # what the ledger has missed shall go, too
        victims = [record for record in self.records() if everything or not record.pinned]
        views.clear(self)
        self._remove(record.name for record in victims)
        return len(victims), sum(record.size for record in victims)

    # Other files

    def file(self, *names: str) -> str:
        """The path of a file of another kind, such as ``file("manifests", FQRN)``."""
        return os.path.join(self.directory, *names)

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a small file, at once."""

        def write() -> None:
            with self.writing() as file:
                file.write(content)
                file.flush()
                os.replace(file.name, self.file(name))

        self.with_space(write)
