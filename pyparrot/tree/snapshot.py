"""The path walk over the indexes of one snapshot, as ``csrc/core/walk.h`` defines it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Union

from pyparrot.core import ffi, lib
from pyparrot.tree.entries import NESTED, Node
from pyparrot.tree.index import BadIndexError, Index

if TYPE_CHECKING:
    from pyparrot.core import PpIndex, PpRecord, PpSnapshot, PpWalk

_FIRST_CAPACITY = 64


class Found(NamedTuple):
    """A path that exists: what it names, and its real path in the tree.

    *holder* is the index that has it, *record* is the ``struct pp_record *`` of *node*.
    """

    node: Node
    holder: Index
    record: PpRecord
    path: bytes


class Missing(NamedTuple):
    """A path that can't be resolved: *error* is the errno."""

    error: int


class Outside(NamedTuple):
    """A path that leads out of the tree; the walk goes on at the absolute *path*."""

    path: bytes
    links: int


class NeedIndex(NamedTuple):
    """The index that is nested at *mountpoint* is needed first: its source knows it by *handle*.

    *root_hash* is the hash of the mountpoint's path.
    """

    mountpoint: bytes
    handle: bytes
    root_hash: int


WalkResult = Union[Found, Missing, Outside, NeedIndex]


class Snapshot:
    """The indexes of one revision that are at hand. Any thread may walk; adding is serialized.

    *mountpoint* is where the tree is seen, *environment* what variant symlinks refer to.
    """

    def __init__(
        self, root: Index, mountpoint: bytes, environment: Mapping[bytes, bytes] | None = None
    ) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._indexes = {root.root_hash: root}
        self._addresses = {int(ffi.cast("uintptr_t", root.pointer)): root}
        self._mountpoint = ffi.new("char[]", mountpoint)
        variables = os.environb if environment is None else environment
        self.variables = [k + b"=" + v for k, v in variables.items()]
        """What variant symlinks refer to: ``NAME=value``."""
        self.covered: list[int] = []
        """The hashes of the paths that are covered."""
        self._variables = [ffi.new("char[]", variable) for variable in self.variables]
        self._environment = ffi.new("char *[]", [*self._variables, ffi.NULL])
        self._pointer = ffi.new("struct pp_snapshot *")
        self._pointer.root = root.pointer
        self._pointer.mountpoint = self._mountpoint
        self._pointer.mountpoint_length = len(mountpoint)
        self._pointer.environment = self._environment
        self._nothing_covered = ffi.new("uint64_t[1]")
        self._pointer.covered = self._nothing_covered
        table = ffi.new("struct pp_mounted[]", _FIRST_CAPACITY)
        self._pointer.mounted, self._pointer.mask = table, _FIRST_CAPACITY - 1
        self._kept: list[object] = [table]

    @property
    def pointer(self) -> PpSnapshot:
        """The ``struct pp_snapshot *`` of now: another one once the snapshot has grown."""
        return self._pointer

    def cover(self, paths: Iterable[bytes]) -> bool:
        """From now on walks leave the tree where they come to one of *paths*.

        Something else is mounted there. Each starts with a slash and is real. Gives whether that is
        anything new.
        """
        with self._lock:
            root = self._pointer.root.header.root_hash
            hashes = [lib.pp_path_hash(root, path, len(path)) for path in paths]
            if hashes == self.covered:
                return False
            self.covered = hashes
            covered = ffi.new("uint64_t[]", [*self.covered, 0])
            changed = ffi.new("struct pp_snapshot *", self._pointer[0])
            changed.covered = covered
            self._kept += (covered, self._pointer)
            self._pointer = changed
            return True

    def indexes(self) -> list[Index]:
        """The indexes at hand, the root's first."""
        return list(self._indexes.values())

    def mount(self, index: Index) -> None:
        """Put a nested index at hand; nothing happens if it is already."""
        with self._lock:
            if index.root_hash in self._indexes:
                return
            self._indexes[index.root_hash] = index
            self._addresses[int(ffi.cast("uintptr_t", index.pointer))] = index
            if not lib.pp_snapshot_has_room(self._pointer):
                self._grow(2 * (self._pointer.mask + 1))
            lib.pp_snapshot_mount(self._pointer, index.pointer)

    def _grow(self, capacity: int) -> None:
        """Go on with a copy that has a larger table: threads may still be reading the old one."""
        table = ffi.new("struct pp_mounted[]", capacity)
        grown = ffi.new("struct pp_snapshot *")
        fits = lib.pp_snapshot_copy(grown, self._pointer, table, capacity) == 0
        assert fits
        self._kept += (table, self._pointer)
        self._pointer = grown

    def walk(self, path: bytes, *, follow: bool = True, links: int = 0) -> WalkResult:
        """Resolve *path*, which starts at the tree's root.

        A symlink at the end is followed if *follow*. *links* are the symlinks that were followed
        on the way here. A path with a NUL in it is `ValueError`, as everywhere in Python;
        `BadIndexError` if an index is damaged.
        """
        return self._walk(path, 0 if follow else lib.PP_NOFOLLOW, links, enter=False)

    def enter(self, found: Found) -> Found | NeedIndex:
        """From a directory, go on to the index that lists it: another one at a mountpoint."""
        if not found.node.flags & NESTED:
            return found
        outcome = self._walk(found.path, lib.PP_NOFOLLOW, 0, enter=True)
        assert isinstance(outcome, (Found, NeedIndex))
        return outcome

    def _walk(self, path: bytes, flags: int, links: int, enter: bool) -> WalkResult:
        if b"\0" in path:
            raise ValueError("embedded null byte")
        walk = ffi.new("struct pp_walk *")
        walk.snapshot = snapshot = self._pointer
        walk.flags = lib.PP_WANT_PATH | flags
        walk.links = links
        outcome = lib.pp_walk(walk, path, len(path))
        if enter and outcome == lib.PP_FOUND:
            outcome = lib.pp_walk_enter(walk)
        del snapshot  # it had to live until here
        if outcome == lib.PP_ERROR:
            return Missing(walk.error)
        if outcome == lib.PP_FOUND:
            return self.found(walk)
        if outcome == lib.PP_OUTSIDE:
            return Outside(_path(walk), walk.links)
        if outcome == lib.PP_NEED_CATALOG:
            return self.needed(walk)
        raise BadIndexError(f"a damaged index: it contradicts itself at {path!r}")

    def expand(self, node: Node) -> bytes:
        """A symlink's target as programs see it: the variables of a variant one are replaced."""
        if not node.flags & lib.PP_VARIANT:
            return node.target
        target, length = node.target, len(node.target)
        size = lib.pp_expand(target, length, self._environment, ffi.NULL, 0)
        output = ffi.new("char[]", size + 1)
        lib.pp_expand(target, length, self._environment, output, size)
        return bytes(ffi.buffer(output, size))

    def _index(self, pointer: PpIndex) -> Index:
        return self._addresses[int(ffi.cast("uintptr_t", pointer))]

    def found(self, walk: PpWalk) -> Found:
        """What a ``struct pp_walk *`` of this snapshot has found."""
        index = self._index(walk.index)
        return Found(index.node(walk.record), index, walk.record, _path(walk))

    def needed(self, walk: PpWalk) -> NeedIndex:
        """The index that a ``struct pp_walk *`` of this snapshot stopped for."""
        handle = self._index(walk.index).handle_of(walk.record)
        return NeedIndex(_path(walk), handle, walk.hash)


def _path(walk: PpWalk) -> bytes:
    return bytes(ffi.buffer(walk.path, walk.path_length))
