"""Checks all that is in the cache: is every object still what its name says?

All damage is found, that of files which kept their time of modification, too, and each is named by
its path; what can't be read is as good as damaged, and the check goes on behind it.

Objects whose names have a checksum are checked here. How others are checked, only the module knows
that makes such objects: it registers a `Checker`. What nothing vouches for is dropped, for such a
byte must not be in the cache, and to fetch it again is cheaper than to be wrong; so is what is of
no kind that is known here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Callable, NamedTuple, Optional

from pyparrot.cache import owned, stale_views
from pyparrot.cache.intact import (
    SECOND,
    content_checksum,
    crc_of,
    has_checksum,
    is_intact,
    is_marked,
    is_what_was_marked,
)
from pyparrot.cache.names import Kind, ObjectName, checksum
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError
from pyparrot.parallel import in_parallel
from pyparrot.progress import Progress

Check = Callable[[ObjectName], Optional[bool]]
"""Whether an object is right; None if nothing vouches for it. `FileNotFoundError` if it is gone."""


class Checker(NamedTuple):
    """How objects of some *kinds* are checked.

    *prepare* is called when it is their turn, and gives the check. Those that *rest_on_others* come
    last: what they rest on is right then, or gone. Checks run on all cores unless *alone*.
    """

    kinds: tuple[Kind, ...]
    prepare: Callable[[ObjectStore], Check]
    rest_on_others: bool = False
    alone: bool = False


class Fault(NamedTuple):
    """A file that is not what it should be: its *path* in the cache's directory, and *why*."""

    path: str
    why: str


class Findings(NamedTuple):
    """How much was looked at, what was wrong, and what nothing vouches for; both are gone.

    *corrupt* are objects; *faults* are what was wrong with these and everything else.
    """

    objects: int
    bytes: int
    views: int
    corrupt: tuple[ObjectName, ...]
    doubtful: tuple[ObjectName, ...]
    faults: tuple[Fault, ...]


def _checksums(store: ObjectStore) -> Check:
    def check(name: ObjectName) -> bool:
        assert name.parts is not None
        return name.parts.fields[-1] == checksum(crc_of(store.path(name)))

    return check


_checkers: list[Checker] = []


def register(checker: Checker) -> None:
    """Have objects of some kinds be checked so."""
    _checkers.append(checker)


def verify(store: ObjectStore, progress: Progress) -> Findings:
    """Check all that is in *store*, and remove what is not right. What can't be read is not."""
    return _Verification(store, progress).run()


class _Verification:
    """One check of a whole cache."""

    def __init__(self, store: ObjectStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._corrupt: list[ObjectName] = []
        self._doubtful: list[ObjectName] = []
        self._faults: list[Fault] = []
        self._corrupt_content: set[int] = set()  # checksums: views may be copies of that

    def run(self) -> Findings:
        store = self._store
        for path in (*store.strays(), *store.pins.damaged()):
            self._remove(path, "not what belongs there")
        store.reconcile()
        sizes = {name: status.st_size for name, status in store.files()}
        self._progress.expect(len(sizes))
        self._check_objects(sorted(sizes))
        views = self._check_views()
        store.reconcile()
        return Findings(
            len(sizes),
            sum(sizes.values()),
            views,
            tuple(self._corrupt),
            tuple(self._doubtful),
            tuple(self._faults),
        )

    def _check_objects(self, names: list[ObjectName]) -> None:
        by_kind: dict[Kind | None, list[ObjectName]] = {}
        for name in names:
            by_kind.setdefault(name.kind, []).append(name)
        cores = len(os.sched_getaffinity(0))
        for checker in sorted(_checkers, key=lambda checker: checker.rest_on_others):
            some = [name for kind in checker.kinds for name in by_kind.pop(kind, [])]
            if some:
                check = checker.prepare(self._store)
                self._judge(some, check, 1 if checker.alone else cores)
        for kind, rest in by_kind.items():
            has_checksum = kind is not None and kind.has_checksum
            self._judge(rest, _checksums(self._store) if has_checksum else lambda _: None, cores)

    def _judge(self, names: list[ObjectName], check: Check, threads: int) -> None:
        store = self._store

        def look(name: ObjectName) -> bool | None:
            status = os.lstat(store.path(name))
            return is_intact(status, mark=store.mark) and check(name)

        gone: list[ObjectName] = []
        for name, future in in_parallel(look, names, threads):
            path = store.path(name)
            try:
                found = future.result()
            except FileNotFoundError:  # evicted meanwhile: nothing is wrong
                pass
            except (OSError, PyparrotError) as error:
                gone.append(name)
                self._corrupt.append(name)
                reason = getattr(error, "strerror", None) or str(error)
                self._faults.append(Fault(path, f"can't be read: {reason}"))
            else:
                if found is None:
                    gone.append(name)
                    self._doubtful.append(name)
                elif not found:
                    gone.append(name)
                    self._corrupt.append(name)
                    self._faults.append(Fault(path, "corrupt"))
                    with contextlib.suppress(OSError):
                        self._corrupt_content.add(content_checksum(path))
            self._progress.advance()
        store.discard(*gone)

    def _remove(self, path: str, why: str) -> None:
        try:
            owned.remove(path)
        except OSError as error:
            why = f"{why}, and it can't be removed: {error.strerror}"
        self._faults.append(Fault(path, why))

    # Views

    def _check_views(self) -> int:
        """Check views that are files of their own; gives the number of all that are files.

        A view that is a link to an object is as right as that. Others have a checksum; where the
        file system could not keep that, nothing vouches for them, and they go: they are made again
        when they are next used.
        """
        inodes = {status.st_ino for _, status in self._store.files()}
        count = 0
        for path, status in self._views():
            if stat.S_ISREG(status.st_mode):
                count += 1
                if status.st_ino not in inodes:
                    self._check_copy(path, status)
            else:
                with contextlib.suppress(OSError):  # a link or pipe, about which nobody can tell
                    owned.remove(path)
        return count

    def _check_copy(self, path: str, status: os.stat_result) -> None:
        try:
            if not is_marked(status, self._store.mark):
                self._remove(path, "written to")
            elif not has_checksum(status):
                owned.remove(path)
            elif not is_what_was_marked(path, status):
                self._remove(path, "corrupt")
            elif status.st_mtime_ns % SECOND in self._corrupt_content:
                self._remove(path, "a copy of what is corrupt")
        except FileNotFoundError:
            pass
        except OSError as error:
            self._remove(path, f"can't be read: {error.strerror}")

    def _views(self) -> Iterator[tuple[str, os.stat_result]]:
        """All views but directories; a directory that is not ours alone goes with all in it."""
        pending = [self._store.file(stale_views.DIRECTORY)]
        while pending:
            directory = pending.pop()
            try:
                problem = owned.why_not(os.lstat(directory))
                if problem:
                    self._remove(directory, problem)
                    continue
                owned.make_readable(directory)
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        else:
                            with contextlib.suppress(FileNotFoundError):
                                yield entry.path, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._remove(directory, f"can't be read: {error.strerror}")
