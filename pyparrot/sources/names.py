"""Directories that no catalog lists, in the form of one: indexed and walked as any other."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pyparrot.sources.cvmfs.catalog import (
    BIND_MOUNTPOINT,
    DIRECTORY,
    FILE,
    SPECIAL,
    SYMLINK,
    Chunk,
    NestedCatalog,
    path_hash,
)
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash
from pyparrot.tree.base import Repository
from pyparrot.tree.index import ROOT_HASH, Index, Node, build
from pyparrot.tree.snapshot import NeedCatalog, Snapshot

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore

_TYPES = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: SYMLINK}
_NO_PARENT = (0, 0)


class Listed(NamedTuple):
    """A name in a directory: what stat says of it, and a symlink's target."""

    name: bytes
    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    nlink: int
    target: bytes = b""


class Listing:
    """A directory and what it holds, as `pyparrot.tree.index.build` wants a catalog.

    If *nested*, what the directories in it hold is in listings of their own.
    """

    revision = 0

    def __init__(self, top: Listed, entries: Iterable[Listed], nested: bool) -> None:
        self._top = top
        self._entries = list(entries)
        self._nested = nested

    def get_property(self, name: str) -> None:
        """There are none."""

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows of a catalog's table."""
        yield self._row(self._top._replace(name=b""), b"", _NO_PARENT, DIRECTORY)
        for entry in self._entries:
            flags = _TYPES.get(stat.S_IFMT(entry.mode), FILE | SPECIAL)
            if flags == DIRECTORY and self._nested:
                flags |= BIND_MOUNTPOINT
            if flags == SYMLINK:
                flags |= FILE
            yield self._row(entry, b"/" + entry.name, path_hash(b""), flags)

    def _row(
        self, entry: Listed, path: bytes, parent: tuple[int, int], flags: int
    ) -> tuple[Any, ...]:
        seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
        return (
            *path_hash(path),
            *parent,
            *(entry.name, flags, entry.mode, entry.size, seconds, nanoseconds),
            *(entry.uid, entry.gid, entry.nlink, None, entry.target, None),
        )

    def all_chunks(self) -> Iterator[tuple[tuple[int, int], Chunk]]:
        """There are none."""
        return iter(())

    def nested_catalogs(self) -> list[NestedCatalog]:
        """There are none: they are all bound, so that each has its own root."""
        return []

    def bind_mountpoints(self) -> list[NestedCatalog]:
        """The listings of the directories in this one."""
        if not self._nested:
            return []
        return [
            NestedCatalog(b"/" + entry.name, _name_of(entry.name), 0)
            for entry in self._entries
            if stat.S_ISDIR(entry.mode)
        ]


def _name_of(text: bytes) -> ContentHash:
    hasher = Algorithm.SHA1.hasher()
    hasher.update(text)
    return Algorithm.SHA1.finish(hasher)


def index_listing(store: ObjectStore, listing: Listing, root_hash: int, path: bytes = b"") -> Index:
    """Index the listing of *path*, in a file that is gone when nobody has it open."""
    file = store.temporary_file()
    try:
        build(listing, _name_of(b""), b"", root_hash, file)
        return Index(file, path, keep=True)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)


class Names(Repository):
    """A directory that is nothing but a place for mount points: ``/cvmfs``."""

    def __init__(self, store: ObjectStore, path: bytes, names: Iterable[bytes]) -> None:
        self.name = "names"
        self.device = os.makedev(0x7AF, 1)
        now = time.time_ns()
        directory = Listed(b"", stat.S_IFDIR | 0o755, 4096, now, 0, 0, 2)
        entries = [directory._replace(name=name) for name in sorted(set(names))]
        root = index_listing(store, Listing(directory, entries, nested=False), ROOT_HASH)
        self.snapshot = Snapshot(root, path, {})
        self.identity = b"names"

    def catalog(self, need: NeedCatalog) -> Index:
        """Nothing is nested."""
        raise NotImplementedError

    def body(self, node: Node, path: bytes) -> str:
        """There are no files."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""
