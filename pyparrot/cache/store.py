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

An object that was written to since it was added is not taken for what it was (`intact`), and what
is not this user's alone is not used at all (`owned`). (What changes on the disk itself, `cache
verify` finds.) What lies in the place of something else, such as a directory where an object should
be, goes.

All that is below the directory counts: objects by their blocks, and the rest, mostly views, in one
sum (`usage`), which each eviction makes exact.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Callable, TypeVar, overload

from pyparrot.cache import owned, stale_views
from pyparrot.cache.directory import CHOOSE, DEFAULT_QUOTA, FULL, UNWRITABLE, VERSION, prepare
from pyparrot.cache.intact import MARK, MARKS, is_intact, mark_complete
from pyparrot.cache.locks import Locks
from pyparrot.cache.names import ObjectName
from pyparrot.cache.transactions import Transactions
from pyparrot.cache.usage import REST, SLACK, Usage, taken
from pyparrot.errors import PyparrotError

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
_MOST_SQUEEZES = 50
_TRIES = 4

_VIEWS_PART = 8
"""When views take more than this part of the quota they go first, if unused."""

_VIEW_SECONDS = 60.0
"""How long ago a view must have been used to be unused."""

_UNTOLD = "untold."
"""How names begin, in the ledger's directory, that tokens of processes follow which add objects."""

_MOST_TRUSTED = 1 << 12
_WRITING = (*FULL, errno.EFBIG, errno.EROFS)
"""Errors that only writing has, and that name no file then."""

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
        self.trusted: set[str | bytes] = set()
        self.mark = MARK
        """The time of modification of all objects in this cache."""
        self._adding = False
        self._excess = 0
        """The bytes of an object that alone is too large, and stays until another one comes."""
        if prepare(self.directory):
            self._begin()
        else:
            self._read_mark()

    def _begin(self) -> None:
        """Write the version down. Its file has the mark, so that one can tell which it is."""

        def write() -> None:
            with self._transactions.writing() as file:
                file.write((VERSION + "\n").encode())
                file.close()
                self.mark = self._usable_mark(file.name)
                self._put(file.name, self.file("version"))

        self.with_space(write)

    def _usable_mark(self, file: str) -> int:
        """The mark that the file system can keep; *file* gets it."""
        for mark in MARKS:
            mark_complete(file, mark)
            if is_intact(os.lstat(file), mark=mark):
                return mark
        why = "no cache can be here: the file system keeps no modes or times of modification"
        raise PyparrotError(self.directory, why, CHOOSE)

    def _read_mark(self) -> None:
        with contextlib.suppress(OSError):
            modified = os.lstat(self.file("version")).st_mtime_ns
            self.mark = modified if modified in MARKS else MARK

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring the ledger up to date and close it.

        What alone was more than the quota goes now, at the latest. A cache that was removed
        meanwhile stays so.
        """
        if os.path.isdir(self.directory):
            self.flush()
            if self._excess:
                self._excess = 0
                self._keep_to_quota(self._usage.total())
            self._note_told()
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
        status = self._status(path)
        if status is None:
            return None
        if not is_intact(status, size, self.mark):
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
        directory = os.path.join(self._objects, prefix[:2])
        if not self._trust(directory):
            return []
        try:
            found = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(ObjectName(prefix[:2] + n) for n in found if n.startswith(prefix[2:]))

    def files(self) -> Iterator[tuple[ObjectName, os.stat_result]]:
        """Every object's name and what stat says of its file, whatever that is."""
        for directory in self._object_directories():
            with contextlib.suppress(OSError), os.scandir(directory) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        name = ObjectName(os.path.basename(directory) + entry.name)
                        yield name, entry.stat(follow_symlinks=False)

    def _object_directories(self) -> Iterator[str]:
        for name in sorted(os.listdir(self._objects)):
            directory = os.path.join(self._objects, name)
            with contextlib.suppress(OSError, PyparrotError):
                if len(name) == 2 and stat.S_ISDIR(_mode(directory)) and self._trust(directory):
                    yield directory

    def strays(self) -> list[str]:
        """What lies among the objects' directories and is none, or can't be trusted: paths."""
        names = os.listdir(self._objects)
        return sorted(
            {os.path.join(self._objects, name) for name in names} - {*self._object_directories()}
        )

    def _status(self, path: str) -> os.stat_result | None:
        """What stat says of an object's file; None if it is not there."""
        directory = os.path.dirname(path)
        for _ in range(_TRIES):
            if not self._trust(directory):
                return None
            try:
                return os.lstat(path)
            except FileNotFoundError:
                return None
            except OSError as error:
                if not (owned.is_in_the_way(error) or error.errno == errno.EACCES):
                    raise
                self.trusted.discard(directory)
        return None

    def _trust(self, directory: str) -> bool:
        """Whether a directory is there, after making sure that it is ours alone.

        `PyparrotError` if it is not. One look is enough: nobody else can change what is ours.
        """
        if directory not in self.trusted:
            if not os.path.lexists(directory):
                return False
            owned.claim_directory(directory)
            self.note_trusted(directory)
        return True

    def note_trusted(self, directory: str | bytes) -> None:
        """Look at a directory no more: it is ours alone."""
        if len(self.trusted) >= _MOST_TRUSTED:
            self.trusted.clear()
        self.trusted.add(directory)

    def read_file(self, *names: str, limit: int) -> bytes | None:
        """The first *limit* bytes of a small file that is no object; None if there is none.

        None, too, if what lies there is no file of ours; `OSError` if it can't be read.
        """
        return owned.read(self.file(*names), limit)

    def open_file(self, *names: str) -> BinaryIO | None:
        """Open a small file that is no object for reading; None and `OSError` as of `read_file`."""
        return owned.open_file(self.file(*names))

    def remove_file(self, *names: str) -> None:
        """Remove a small file that is no object, or whatever lies in its place."""
        owned.remove(self.file(*names))

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
        mark_complete(file, self.mark)
        status = os.lstat(file)
        if not is_intact(status, mark=self.mark):  # it would be fetched again without end
            why = "its file system does not keep modes or times of modification"
            raise PyparrotError(self.directory, why, CHOOSE)
        self._put(file, path)
        if self._usage.add(name, status.st_size, self.quota // _FLUSH_PART) or self._note_adding():
            self.flush(but=name)  # for whatever adds an object wants to have it
        return path

    def _put(self, file: str, path: str) -> None:
        """Move *file* to *path*, whatever lies there or in the place of its directory."""
        directory = os.path.dirname(path)
        for _ in range(_TRIES):
            try:
                if directory not in self.trusted:
                    self._claim(directory)
                os.rename(file, path)
                return
            except OSError as error:
                gone = error.errno in (errno.ENOENT, errno.EACCES) and os.path.lexists(file)
                if not (gone or owned.is_in_the_way(error)):
                    raise
                failure = error
            self.trusted.discard(directory)
            self._claim(directory)
            if stat.S_ISDIR(_mode(path)):
                owned.remove(path)
        raise failure

    def _claim(self, directory: str) -> None:
        """Have a directory of ours, though the whole cache may have been removed."""
        if directory == self.directory:
            return
        owned.make_directory(os.path.dirname(directory), parents=True)
        owned.claim_directory(directory)
        self.note_trusted(directory)

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a small file that is no object, at once; *name* is its path in the directory."""

        def write() -> None:
            with self._transactions.writing() as file:
                file.write(content)
                file.close()
                self._put(file.name, self.file(name))

        self.with_space(write)

    def keep_file(self, name: str, content: bytes) -> None:
        """As `write_file`, but a cache that can't be written to stays as it is."""
        try:
            self.write_file(name, content)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise

    def file(self, *names: str) -> str:
        """The path of a file of another kind, such as ``file("manifests", FQRN)``."""
        return os.path.join(self.directory, *names)

    # Making room

    def with_space(self, write: Callable[[], _Result]) -> _Result:
        """Run *write*; as long as the disk is full, make room and run it again.

        If no room can be made, the `OSError` (ENOSPC or EDQUOT) goes to the caller.
        """
        deadline = time.monotonic() + _LONGEST_SQUEEZE
        for _ in range(_MOST_SQUEEZES):
            try:
                return write()
            except OSError as error:
                self._name_failure(error)
                if error.errno not in FULL or not self._make_room(deadline):
                    raise
                failure = error
        raise failure

    def _name_failure(self, error: OSError) -> None:
        """Say in what the kernel says of a write where that was: by itself it names no file."""
        if error.filename is None and (
            error.errno in _WRITING
            or (error.errno == errno.EIO and error.strerror == os.strerror(errno.EIO))
        ):
            error.filename = self.directory

    def _make_room(self, deadline: float) -> bool:
        """Whether another try makes sense; others' unfinished files will go, if nothing else."""
        with self._locks.hold("room", _LONGEST_SQUEEZE):
            if self._transactions.sweep() or self.evict_half():
                return True
        time.sleep(_SQUEEZE_PAUSE)
        return time.monotonic() < deadline and self._transactions.others()

    def discard(self, *names: ObjectName) -> None:
        """Remove objects, or whatever lies in their places; nothing happens if they are gone."""
        linked = self._unlink(names)
        if linked:
            stale_views.prune(self.file(stale_views.DIRECTORY), linked)
        self._usage.forget(names)

    def _unlink(self, names: Iterable[ObjectName]) -> set[int]:
        """Remove objects; gives the inodes that have other names: they still take space."""
        linked = set()
        for name in names:
            path = self.path(name)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(path)
                owned.remove(path)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    linked.add(status.st_ino)
        return linked

    def _note_adding(self) -> bool:
        """Say that there may be more than the ledger knows, for this process may be killed.

        Gives whether others were before they could tell it.
        """
        if self._adding:
            return False
        self._adding = True
        with contextlib.suppress(OSError):
            os.close(owned.open_new(self.file("ledger", _UNTOLD + self._locks.token)))
            return bool(self._untold_by_the_dead())
        return False

    def _note_told(self) -> None:
        """Say that the ledger knows all that was added here."""
        if self._adding and not self._usage.has_added:
            self._adding = False
            with contextlib.suppress(OSError):
                owned.remove(self.file("ledger", _UNTOLD + self._locks.token))

    def _learn_of_the_dead(self) -> None:
        """Have the ledger learn what processes have added that were killed before they told it."""
        with contextlib.suppress(OSError, PyparrotError):
            dead = self._untold_by_the_dead()
            if dead:
                self._usage.reconcile()
                for name in dead:
                    owned.remove(self.file("ledger", name))

    def _untold_by_the_dead(self) -> list[str]:
        names = [name for name in os.listdir(self.file("ledger")) if name.startswith(_UNTOLD)]
        return [name for name in names if not self._locks.is_alive(name[len(_UNTOLD) :])]

    def flush(self, but: str = "") -> None:
        """Tell the ledger what was added and used; if it is too much, evict, *but* one object."""
        if self._usage.has_added:
            self._transactions.sweep()
            self._learn_of_the_dead()
        if self._usage.has_added_objects:
            self._excess = 0
        size = self._usage.flush()
        if size is not None:
            self._keep_to_quota(size - self._excess, but)

    def _keep_to_quota(self, size: int, but: str = "") -> None:
        """Evict if *size* bytes are too much; *but* one object may stay, which then goes later."""
        if not size > self.quota > 0:
            return
        freed = self.evict(size - self.quota // 2, but)
        if size - freed > self.quota:
            # Either *but* alone is too large, or the ledger speaks of what is not there.
            if but:
                self._excess = taken(_size(self.path(ObjectName(but))))
            with contextlib.suppress(PyparrotError):
                self._usage.reconcile()

    def add_other(self, size: int) -> None:
        """Count *size* bytes that were added and are no object."""
        if self._usage.add_other(size, self.quota // _FLUSH_PART):
            self.flush()

    def evict(self, bytes_to_free: int, but: str = "") -> int:
        """Remove the least recently used objects until so many bytes are freed; gives how many.

        All *but* one may go. Views that were not used since go, too, and before all objects if
        they take much.
        """
        freed = self._evict_views(bytes_to_free)
        if freed < bytes_to_free:
            victims = self._usage.victims(bytes_to_free - freed, but)
            linked = self._unlink(victims.names)
            self._usage.forget(victims.names)
            self._usage.set_other(SLACK, victims.slack)
            self._prune_views(victims.used, linked)
            freed += victims.bytes
        return freed

    def _evict_views(self, bytes_to_free: int) -> int:
        """Remove views that are not in use, if they take much; gives how many bytes that freed."""
        now, before = time.time(), self._usage.other(REST)
        freed = 0
        for unused in (now - _VIEW_SECONDS, now):
            if before - freed > self.quota // _VIEWS_PART and freed < bytes_to_free:
                freed = max(0, before - self._prune_views(unused))
        return freed

    def _prune_views(self, before: float, linked: Collection[int] = ()) -> int:
        """Remove views that were last used *before* a time, or are *linked* to inodes that go.

        Gives the bytes of all that is left in the cache and no object, and has them counted.
        """
        left = stale_views.prune(self.file(stale_views.DIRECTORY), linked, before)
        left += sum(self._small_files())
        self._usage.set_other(REST, left)
        return left

    def count_other(self) -> int:
        """The bytes of what is in the cache and no object: views, and blocks that are not full."""
        left = self._prune_views(0.0)
        slack = sum(taken(s.st_size) - s.st_size for _, s in self.files())
        self._usage.set_other(SLACK, slack)
        return left + slack

    def _small_files(self) -> Iterator[int]:
        """The bytes of disk space that files take which stay: manifests and the like."""
        for name in ("manifests", "origins", "pins"):
            with contextlib.suppress(OSError), os.scandir(self.file(name)) as entries:
                for entry in entries:
                    yield taken(entry.stat(follow_symlinks=False).st_size)

    def check_views(self, name: str) -> None:
        """`PyparrotError` if the directory *name* of views is there and not ours alone."""
        self._trust(self.file(stale_views.DIRECTORY, name))

    def remove_views(self, name: str) -> None:
        """Remove all views in the directory *name*, and copies of programs that lie beside it."""
        with contextlib.suppress(OSError):
            for entry in os.listdir(self.file(stale_views.DIRECTORY)):
                if entry == name or entry.startswith(name + "."):
                    owned.remove(self.file(stale_views.DIRECTORY, entry))

    def evict_half(self) -> bool:
        """Make room on a full disk; False if there was nothing that could go."""
        self.flush()
        size = self._usage.other(REST) + sum(taken(s.st_size) for _, s in self.files())
        return self.evict(max(1, size // 2)) > 0

    def clear(self, everything: bool = False) -> tuple[int, int]:
        """Remove all objects, pinned ones only if *everything*; gives their number and bytes.

        Others may use the cache meanwhile: a program that has an object open keeps it, one that
        wants it later has it fetched again.
        """
        self.reconcile()  # what the ledger has missed goes, too
        victims = [record for record in self.records() if everything or not record.pinned]
        for path in self.strays():
            owned.remove(path)
        stale_views.clear(self.file(stale_views.DIRECTORY))
        self._unlink(record.name for record in victims)
        self._usage.forget([record.name for record in victims])
        left = [record.size for record in self.records()]
        self._usage.set_other(SLACK, sum(taken(size) - size for size in left))
        self._prune_views(0.0)
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


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _mode(path: str) -> int:
    """What lies at *path*: its st_mode, 0 if nothing."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
