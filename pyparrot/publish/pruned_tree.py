"""The published tree without what is to be deleted before a tar file is laid over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, Chunk
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree


class PrunedTree:
    """What *old* holds, except for the paths in *removed* and all below them."""

    def __init__(self, old: CatalogTree, removed: Sequence[bytes]) -> None:
        self._old = old
        self._removed = frozenset(removed)
        self._above_removed = {
            path[:end]
            for path in removed
            for end in range(len(path))
            if path[end : end + 1] == b"/"
        }

    def lookup(self, path: bytes) -> CatalogEntry | None:
        """The entry of *path*; None if it is not there, or no longer."""
        return None if self._gone(path) else self._old.lookup(path)

    def is_directory(self, path: bytes) -> bool:
        """Whether *path* is a directory that stays."""
        entry = self.lookup(path)
        return entry is not None and entry.is_directory

    def listdir(self, path: bytes) -> Iterator[CatalogEntry]:
        """What stays in directory *path*, in the order of names; nothing if it is none."""
        if not self.is_directory(path):
            return
        for entry in self._old.listdir(path):
            if path + b"/" + entry.name not in self._removed:
                yield entry

    def chunks(self, path: bytes) -> tuple[Chunk, ...]:
        """The chunks of a file that stays."""
        return self._old.chunks(path)

    def removes_below(self, path: bytes) -> bool:
        """Whether something in or below directory *path* is removed."""
        return path in self._above_removed

    def removes(self, path: bytes) -> bool:
        """Whether *path* itself is one of the removed paths."""
        return path in self._removed

    def _gone(self, path: bytes) -> bool:
        while path and self._removed:
            if path in self._removed:
                return True
            path = path.rpartition(b"/")[0]
        return False
