"""The object store: verified content under names that say what it is.

Layout of a cache directory (version 1):

- ``objects/XX/YYYY...``: bodies, catalogs and the like, unpacked, named by their hash and
  kind (`names`); index files of catalogs; copies of C libraries
- ``views/``: the names by which programs have objects open (`views`)
- ``manifests/``, ``origins/``: the newest manifest of each repository, and where it is from
- ``ledger/``: sizes, times of use, and what is pinned (`ledger`)
- ``pins/``: what each pin holds (`pins`)
- ``txn/``: what is being written; names begin with a token of the writer (`locks`)
- ``lock``, ``version``

Whatever has its final name is complete, was verified, and is open for writing nowhere, so that
programs can be run from it; so any number of processes may use a cache at once, be killed, or run
out of space. Nothing is resumed from a file of another process.

An object that was written to since it was added is not taken for what it was (`intact`). (What
changes on the disk itself, `cache verify` finds.)
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Callable, TypeVar, overload

from pyparrot.cache import stale_views
from pyparrot.cache.directory import DEFAULT_QUOTA, FULL, VERSION, prepare
from pyparrot.cache.intact import is_intact, mark_complete
from pyparrot.cache.locks import Locks
from pyparrot.cache.names import ObjectName
from pyparrot.cache.transactions import Transactions
from pyparrot.cache.usage import Usage

if TYPE_CHECKING:
    from pyparrot.cache.ledger import Record
    from pyparrot.cache.pins import Pins

_FLUSH_PART = 16
"""The ledger is told at the latest when this part of the quota was added."""

_LONGEST_WORK = 60.0
"""The most seconds to wait for another process that is getting the same object."""

_LONGEST_SQUEEZE = 20.0
"""Seconds for which room is looked for on a full disk."""

_SQUEEZE_PAUSE = 0.1
_Result = TypeVar("_Result")


class ObjectStore:
    """A cache directory, opened. Any number of threads may use it.

    *quota* is in bytes; when objects take more, the least recently used go until half of it is
    free, as in CernVM-FS; 0 is no limit. Raises `PyparrotError` if the directory can't be used
    (`pyparrot.cache.directory.prepare`).
    """

    def __init__(self, directory: str, quota: int = DEFAULT_QUOTA) -> None:
        self.directory = os.path.abspath(directory)
        self.quota = quota
        self._objects = self.file("objects")
        self._locks = Locks(self.file("lock"))
        self._transactions = Transactions(self.file("txn"), self._locks)
        self._usage = Usage(self.file("ledger"), self.files, self._held)
        if prepare(self.directory):
            self.write_file("version", (VERSION + "\n").encode())

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring the ledger up to date and close it."""
        self.flush()
        self._usage.close()

    @property
    def has_added(self) -> bool:
        """Whether objects were added since the ledger was told; `flush` has something to write."""
        return self._usage.has_added

    @functools.cached_property
    def pins(self) -> Pins:
        """The paths whose objects stay in the cache."""
        from pyparrot.cache.pins import Pins

        return Pins(self.directory, self.write_file, self._flag)

    # Finding

    def path(self, name: ObjectName) -> str:
        """Where the object of that name lies or would lie."""
        return os.path.join(self._objects, name[:2], name[2:])

    def name(self, path: str) -> ObjectName:
        """The name of the object at *path*; the other way round it is `path`."""
        directory, file = os.path.split(path)
        return ObjectName(os.path.basename(directory) + file)

    def find(self, name: ObjectName, size: int | None = None, *, counts: bool = True) -> str | None:
        """The path of an object, which *counts* as used now; None if it is not there.

        It goes if it was changed, or does not have the *size* that it should have, in bytes.
        """
        path = self.path(name)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        if not is_intact(status, size):
            self.discard(name)
            return None
        if counts:
            self._usage.use(name)
        return path

    def find_first(self, prefix: str, *, counts: bool = True) -> str | None:
        """As `find`: an object whose name begins so."""
        found = (self.find(name, counts=counts) for name in self.names(prefix))
        return next((path for path in found if path is not None), None)

    def names(self, prefix: str) -> list[ObjectName]:
        """The objects whose names begin so; *prefix* has two letters at least."""
        try:
            found = os.listdir(os.path.join(self._objects, prefix[:2]))
        except FileNotFoundError:
            return []
        return sorted(ObjectName(prefix[:2] + n) for n in found if n.startswith(prefix[2:]))

    def files(self) -> Iterator[tuple[ObjectName, os.stat_result]]:
        """Every object's name and what stat says of its file."""
        with os.scandir(self._objects) as directories:
            for directory in directories:
                with os.scandir(directory.path) as entries:
                    for entry in entries:
                        with contextlib.suppress(FileNotFoundError):
                            yield ObjectName(directory.name + entry.name), entry.stat()

    # Adding

    def alone(self, name: ObjectName) -> AbstractContextManager[None]:
        """Keep other processes from getting the same object; waits, but not for ever."""
        return self._locks.hold(name, _LONGEST_WORK)

    def write(self, fill: Callable[[BinaryIO], ObjectName]) -> str:
        """Add an object, and give its path.

        *fill* writes it to a new file, complete and verified, and gives its name; it is called
        again if room had to be made on a full disk. The file is gone if it fails. It is closed
        before it gets its name: a program that is open for writing anywhere can't be run.
        """

        def add() -> str:
            with self._transactions.writing() as file:
                name = fill(file)
                file.close()
                return self._add(name, file.name)

        return self.with_space(add)

    @overload
    def make(self, fill: Callable[[str], ObjectName]) -> str: ...

    @overload
    def make(self, fill: Callable[[str], ObjectName | None]) -> str | None: ...

    def make(self, fill: Callable[[str], ObjectName | None]) -> str | None:
        """As `write`, but *fill* makes the file itself, and closes it: it gets its path.

        It may give None if there is nothing to add; so does this.
        """

        def add() -> str | None:
            file = self.temporary_file()
            try:
                name = fill(file)
                return None if name is None else self._add(name, file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file)

        return self.with_space(add)

    def temporary_file(self) -> str:
        """A name for a new file, on the same file system as the objects."""
        return self._transactions.new_name()

    def _add(self, name: ObjectName, file: str) -> str:
        """Make *file*, complete, verified and closed, the object of that name; gives its path."""
        path = self.path(name)
        mark_complete(file)
        size = os.stat(file).st_size
        try:
            os.rename(file, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(file, path)
        if self._usage.add(name, size, self.quota // _FLUSH_PART):
            self.flush(but=name)  # for whatever adds an object wants to have it
        return path

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a small file that is no object, at once; *name* is its path in the directory."""

        def write() -> None:
            with self._transactions.writing() as file:
                file.write(content)
                file.close()
                os.replace(file.name, self.file(name))

        self.with_space(write)

    def file(self, *names: str) -> str:
        """The path of a file of another kind, such as ``file("manifests", FQRN)``."""
        return os.path.join(self.directory, *names)

    # Making room

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

    def discard(self, name: ObjectName) -> None:
        """Remove an object."""
        self._remove([name])

    def _remove(self, names: Iterable[ObjectName]) -> None:
        """Remove objects, and the views that are links to them: else their space stays taken."""
        names, linked = list(names), set()
        for name in names:
            path = self.path(name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                os.unlink(path)
                if status.st_nlink > 1:
                    linked.add(status.st_ino)
        if linked:
            stale_views.remove(self.file(stale_views.DIRECTORY), linked)
        self._usage.forget(names)

    def flush(self, but: str = "") -> None:
        """Tell the ledger what was added and used; if it is too much, evict, *but* one object."""
        if self._usage.has_added:
            self._transactions.sweep()
        size = self._usage.flush()
        if size is not None and size > self.quota > 0:
            self.evict(size - self.quota // 2, but)

    def evict(self, bytes_to_free: int, but: str = "") -> int:
        """Remove the least recently used objects until so many bytes are freed; gives how many.

        All *but* one may go.
        """
        gone, freed = self._usage.victims(bytes_to_free, but)
        self._remove(gone)
        return freed

    def evict_half(self) -> bool:
        """Make room on a full disk; False if there was nothing that could go."""
        self.flush()
        size = sum(status.st_size for _, status in self.files())
        return self.evict(max(1, size // 2)) > 0

    def clear(self, everything: bool = False) -> tuple[int, int]:
        """Remove all objects, pinned ones only if *everything*; gives their number and bytes.

        Others may use the cache meanwhile: a program that has an object open keeps it, one that
        wants it later has it fetched again.
        """
        self.reconcile()  # what the ledger has missed goes, too
        victims = [record for record in self.records() if everything or not record.pinned]
        stale_views.clear(self.file(stale_views.DIRECTORY))
        self._remove(record.name for record in victims)
        return len(victims), sum(record.size for record in victims)

    # The ledger

    def records(self) -> list[Record]:
        """What the cache holds, least recently used first."""
        self.flush()
        return self._usage.records()

    def reconcile(self) -> None:
        """Make the ledger agree with the files, and clear away what dead processes left."""
        self.flush()
        self._usage.reconcile()
        self._transactions.sweep()

    def pin(self, names: Iterable[ObjectName], pinned: bool = True) -> None:
        """Let objects that are there stay whatever happens (`clear` of everything but), or not.

        What no pin in `pins` holds loses this again when pins change.
        """
        self.flush()
        self._usage.pin(names, pinned)

    def _held(self) -> set[ObjectName]:
        """What pins hold."""
        return self.pins.held()

    def _flag(self, held: set[ObjectName]) -> None:
        """Let the objects that are *held* stay, and no others."""
        flagged = {record.name for record in self.records() if record.pinned}
        self.pin(flagged - held, False)
        self.pin(held - flagged, True)
