"""Where the content of a new revision comes from.

An `InputTree` is a tree in the terms of a repository: absolute paths as bytes, the root empty, and
for every name an `Item`: its catalog entry, as far as it is known, and where its body is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pyparrot.errors import PyparrotError, printable
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog_rows import (
    DIRECTORY,
    FILE,
    SPECIAL,
    SYMLINK,
    CatalogEntry,
    Chunk,
)

MARKER = b".cvmfscatalog"
"""A file of this name makes its directory the root of a nested catalog."""

DIRECTORY_SIZE = 4096
"""What st_size of a directory says; what file systems report differs and means nothing."""


class Item(NamedTuple):
    """A name in an input tree.

    *entry* lacks the body's digest if *file* is given: the path on disk to read it from. Otherwise
    the body is stored already (in *chunks* if it is chunked) or is empty. *links* are the names of
    all members of the entry's hard link group in its directory, sorted; empty if it has no other.
    *kept* marks what is in the repository already and stays as it is, with all that is below it.
    """

    entry: CatalogEntry
    file: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    links: tuple[bytes, ...] = ()
    kept: bool = False


class Surveyed(NamedTuple):
    """A directory of an input tree, as far as the layout of catalogs needs to know it.

    *directories* are the names of the directories in it, *entries* is how many names it has,
    *marked* tells whether it has a marker of its own for a nested catalog. *kept* is a nested
    catalog that stays as it is; what is in it was not counted.
    """

    path: bytes
    directories: tuple[bytes, ...]
    entries: int
    marked: bool
    kept: bool = False


class InputTree(Protocol):
    """A tree that is to become the content of a repository."""

    def root(self) -> Item:
        """The root directory itself."""

    def listdir(self, path: bytes) -> Iterator[Item]:
        """What a directory holds, in the order of the names' bytes."""

    def survey(self) -> Iterator[Surveyed]:
        """All directories of catalogs that may get new content, each before those below it."""


class Owner(NamedTuple):
    """The owner that everything gets; None leaves it as it is."""

    uid: int | None = None
    gid: int | None = None


def type_flags(mode: int) -> int:
    """The catalog flags that follow from a file's type."""
    if stat.S_ISDIR(mode):
        return DIRECTORY
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISLNK(mode):
        return FILE | SYMLINK
    return FILE | SPECIAL


class DirectoryInput:
    """A directory on disk."""

    def __init__(
        self, directory: bytes, owner: Owner, with_xattrs: bool, progress: Progress
    ) -> None:
        self._directory = os.path.abspath(directory)
        self._owner = owner
        self._progress = progress
        self._xattrs = _Xattrs(progress) if with_xattrs else None
        self._subdirectories: dict[bytes, int] = {}
        try:
            os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise PyparrotError(directory, f"cannot be published: {error.strerror}") from None

    def refuse_to_contain(self, directory: str, what: str) -> None:
        """Raise if *directory*, which holds *what*, lies in this one: it would be published."""
        inner, outer = os.path.realpath(os.fsencode(directory)), os.path.realpath(self._directory)
        if os.path.commonpath((inner, outer)) == outer:
            raise PyparrotError(self._directory, f"{what} lies in it: {printable(inner)}")

    def _file(self, path: bytes) -> bytes:
        return self._directory + path

    def root(self) -> Item:
        """The directory itself."""
        return self._item(b"", b"", os.stat(self._file(b"")), ())

    def listdir(self, path: bytes) -> Iterator[Item]:
        """What the directory holds."""
        base = self._file(path) + b"/"
        links: dict[tuple[int, int], tuple[bytes, ...]] | None = None
        with _reading(self._file(path)):
            names = os.listdir(base)
        names.sort()
        for name in names:
            with _reading(base + name):
                status = os.lstat(base + name)
            members: tuple[bytes, ...] = ()
            if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
                if links is None:
                    links = self._link_groups(base, names)
                members = links.get((status.st_dev, status.st_ino), ())
            yield self._item(path, name, status, members)

    def body(self, path: bytes) -> bytes | None:
        """The content of a file."""
        file = self._file(path)
        with _reading(file):
            try:
                if not stat.S_ISREG(os.lstat(file).st_mode):
                    return None
            except (FileNotFoundError, NotADirectoryError):
                return None
            with open(file, "rb") as stream:
                return stream.read()

    def survey(self) -> Iterator[Surveyed]:
        """All directories."""
        pending: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(b"", frozenset())]
        total = 0
        while pending:
            path, above = pending.pop()
            file = self._file(path)
            with _reading(file):
                status = os.stat(file)
                identity = (status.st_dev, status.st_ino)
                if identity in above:
                    raise PyparrotError(file, "a loop: this directory contains itself")
                surveyed = _survey_directory(path, file)
            total += surveyed.entries
            self._subdirectories[path] = len(surveyed.directories)
            yield surveyed
            below = above | {identity}
            pending += [(path + b"/" + name, below) for name in surveyed.directories]
        self._progress.expect(total)

    def _item(
        self, path: bytes, name: bytes, status: os.stat_result, links: tuple[bytes, ...]
    ) -> Item:
        mode = status.st_mode
        full = path + b"/" + name if name else path
        file = self._file(full)
        flags = type_flags(mode)
        size, symlink, link_count = 0, b"", 1
        if flags == FILE:
            size, link_count = status.st_size, max(1, len(links))
        elif flags == DIRECTORY:
            size, link_count = DIRECTORY_SIZE, 2 + self._count_subdirectories(full)
        elif flags & SYMLINK:
            with _reading(file):
                symlink = os.readlink(file)
            size = len(symlink)
        elif stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            size = status.st_rdev
        seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
        entry = CatalogEntry(
            name=name,
            flags=flags,
            mode=mode,
            size=size,
            mtime=seconds,
            mtime_ns=nanoseconds,
            uid=status.st_uid if self._owner.uid is None else self._owner.uid,
            gid=status.st_gid if self._owner.gid is None else self._owner.gid,
            hardlinks=link_count,
            symlink=symlink,
            xattr=self._xattrs.read(file) if self._xattrs and not flags & SYMLINK else None,
        )
        return Item(entry, file if flags == FILE else None, (), links if link_count > 1 else ())

    def _count_subdirectories(self, path: bytes) -> int:
        # Not st_nlink: some file systems (btrfs, overlayfs) always say 1 for a directory.
        counted = self._subdirectories.get(path)
        if counted is None:
            with _reading(self._file(path)), os.scandir(self._file(path)) as scan:
                counted = sum(entry.is_dir(follow_symlinks=False) for entry in scan)
        return counted

    def _link_groups(
        self, base: bytes, names: list[bytes]
    ) -> dict[tuple[int, int], tuple[bytes, ...]]:
        groups: dict[tuple[int, int], tuple[bytes, ...]] = {}
        for name in names:
            with _reading(base + name):
                status = os.lstat(base + name)
            if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
                key = (status.st_dev, status.st_ino)
                groups[key] = (*groups.get(key, ()), name)
        return groups


def _survey_directory(path: bytes, file: bytes) -> Surveyed:
    """What directory *file* holds, which is *path* in the repository."""
    directories = []
    entries = 0
    marked = False
    with os.scandir(file) as scan:
        for entry in scan:
            entries += 1
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            elif entry.name == MARKER:
                marked = True
    return Surveyed(path, tuple(directories), entries, marked)


class _Xattrs:
    """Reads extended attributes, those that mean something on another machine."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def read(self, file: bytes) -> bytes | None:
        """The attributes of *file* as the catalog stores them."""
        try:
            names = os.listxattr(file, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM, errno.EACCES):
                return None
            raise source_error(file, error) from None
        if not names:
            return None
        attributes = {}
        for name in names:
            if not xattrs.travels(os.fsencode(name)):
                continue
            with _reading(file):
                value = os.getxattr(file, name, follow_symlinks=False)
            if not xattrs.fits(os.fsencode(name), value):
                self._progress.warn(
                    f"{printable(file)}: attribute {printable(name)} is left out:"
                    f" the format holds no more than {xattrs.LONGEST} bytes"
                )
                continue
            attributes[os.fsencode(name)] = value
        if len(attributes) > xattrs.LONGEST:
            raise PyparrotError(file, f"more than {xattrs.LONGEST} extended attributes")
        return xattrs.pack(attributes)


class _reading:
    """Turns an `OSError` while a source directory is read into pyparrot's form."""

    def __init__(self, file: bytes) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise source_error(self._file, error) from None


def source_error(file: bytes, error: OSError) -> PyparrotError:
    """The error to raise when *file* of a source directory can't be read."""
    if error.errno == errno.ENOENT:
        return changed(file)
    hint = "make it readable, or remove it" if error.errno == errno.EACCES else ""
    return PyparrotError(file, f"cannot be read: {error.strerror}", hint)


def changed(file: bytes) -> PyparrotError:
    """The error to raise when *file* of a source directory changed while it was read."""
    return PyparrotError(
        file, "changed while it was read; nothing was published", "publish again when it is at rest"
    )
