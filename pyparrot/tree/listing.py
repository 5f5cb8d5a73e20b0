"""Directories that are listed one by one, as index files of one directory each."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.tree.entries import NESTED, Entry
from pyparrot.tree.index import Index, build

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore

_ROOT = (1, 0)
_NO_PARENT = (0, 0)
_UNWRITABLE = (errno.EROFS, errno.EACCES)


class Named(NamedTuple):
    """A name in a directory and what `os.stat` says of it; *target* is a symlink's.

    *size* is st_rdev for devices, *mtime* in nanoseconds of unix time.
    """

    name: bytes
    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    nlink: int
    target: bytes = b""

    @classmethod
    def of(cls, name: bytes, status: os.stat_result, target: bytes = b"") -> Named:
        """What *status* says of *name*."""
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        size = status.st_rdev if is_device else status.st_size
        times_and_owner = (status.st_mtime_ns, status.st_uid, status.st_gid, status.st_nlink)
        return cls(name, status.st_mode, size, *times_and_owner, target)


def index_listing(
    store: ObjectStore,
    directory: Named,
    held: Iterable[Named],
    root_hash: int,
    path: bytes = b"",
    *,
    nested: bool,
) -> Index:
    """Index the *directory* at *path* and what it holds, in a file that goes when it is closed.

    If *nested*, what the directories in it hold is in indexes of their own; else they are empty.
    """
    held = list(held)  # it may be written again

    def write(file: str) -> Index:
        try:
            build(_entries(directory, held, nested), file, root=_ROOT, root_hash=root_hash)
            return Index(file, path, keep=True)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)

    try:
        return store.with_space(lambda: write(store.temporary_file()))
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
    import tempfile  # a cache that can only be read serves what is in it

    return write(os.path.join(tempfile.gettempdir(), f"pyparrot-{os.urandom(8).hex()}"))


def _entries(directory: Named, held: Iterable[Named], nested: bool) -> Iterator[Entry]:
    yield _entry(directory._replace(name=b""), _ROOT, _NO_PARENT)
    for key, named in enumerate(held, 2):
        flags = NESTED if nested and stat.S_ISDIR(named.mode) else 0
        yield _entry(named, (key, 0), _ROOT, flags)


def _entry(named: Named, key: tuple[int, int], parent: tuple[int, int], flags: int = 0) -> Entry:
    seconds, nanoseconds = divmod(named.mtime, 1_000_000_000)
    return Entry(
        *(*key, *parent),
        name=named.name,
        mode=named.mode,
        size=named.size,
        mtime=seconds,
        mtime_ns=nanoseconds,
        uid=named.uid,
        gid=named.gid,
        nlink=named.nlink,
        flags=flags,
        target=named.target,
    )
