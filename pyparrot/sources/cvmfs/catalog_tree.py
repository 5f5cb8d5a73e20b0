"""A revision's whole tree, across its nested catalogs.

Source of the look-up rule: CernVM-FS ``catalog_mgr_impl.h``: an entry stands in the catalog with
the longest mountpoint that leads to it; a nested catalog's root directory stands in both.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Callable, NamedTuple

from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, Chunk, NestedCatalog
from pyparrot.sources.cvmfs.hashes import ContentHash

_OPEN_CATALOGS = 32


class OpenCatalog(NamedTuple):
    """A catalog at its place in the tree, with the file that it was unpacked to."""

    name: ContentHash
    file: str
    catalog: Catalog


class CatalogTree:
    """Reads a tree catalog by catalog, keeping a bounded number of them open.

    *unpack* writes the catalog of a hash to a new file and gives that file's name; the file
    is removed when the catalog is closed.
    """

    def __init__(self, root: ContentHash, unpack: Callable[[ContentHash], str]) -> None:
        self._root = root
        self._unpack = unpack
        self._open: OrderedDict[bytes, OpenCatalog] = OrderedDict()
        self._in_use: Counter[bytes] = Counter()
        # Of all catalogs that were open once: how to get from each to those nested in it.
        self._nested: dict[bytes, dict[bytes, NestedCatalog]] = {}

    def close(self) -> None:
        """Close all catalogs and remove their files."""
        for opened in self._open.values():
            _close(opened)
        self._open.clear()

    def mountpoint_of(self, path: bytes) -> bytes:
        """The mountpoint of the catalog that describes what is in directory *path*."""
        mountpoint = b""
        position = 0
        while position >= 0:
            position = path.find(b"/", position + 1)
            prefix = path if position < 0 else path[:position]
            if prefix in self.nested(mountpoint):
                mountpoint = prefix
        return mountpoint

    def nested(self, mountpoint: bytes) -> dict[bytes, NestedCatalog]:
        """The catalogs nested in the one at *mountpoint*, by mountpoint."""
        if mountpoint not in self._nested:
            self.catalog(mountpoint)
        return self._nested[mountpoint]

    def catalog(self, mountpoint: bytes) -> OpenCatalog:
        """The catalog at *mountpoint*, which must be one; open until others push it out."""
        found = self._open.get(mountpoint)
        if found:
            self._open.move_to_end(mountpoint)
            return found
        name = self._root
        if mountpoint:
            parent = self.mountpoint_of(mountpoint.rpartition(b"/")[0])
            name = self.nested(parent)[mountpoint].hash
        file = self._unpack(name)
        opened = self._open[mountpoint] = OpenCatalog(name, file, Catalog.open(file))
        if mountpoint not in self._nested:
            references = opened.catalog.nested_catalogs()
            self._nested[mountpoint] = {nested.mountpoint: nested for nested in references}
        if len(self._open) > _OPEN_CATALOGS:
            idle = (other for other in self._open if not self._in_use[other])
            oldest = next(idle, mountpoint)
            if oldest != mountpoint:
                _close(self._open.pop(oldest))
        return opened

    def lookup(self, path: bytes) -> CatalogEntry | None:
        """The entry of *path*; a nested catalog's root is given as its parent has it."""
        parent = self.mountpoint_of(path.rpartition(b"/")[0]) if path else b""
        return self.catalog(parent).catalog.lookup(path)

    def listdir(self, path: bytes) -> Iterator[CatalogEntry]:
        """What directory *path* holds, in the order of the names' bytes."""
        mountpoint = self.mountpoint_of(path)
        self._in_use[mountpoint] += 1
        try:
            yield from self.catalog(mountpoint).catalog.listdir(path)
        finally:
            self._in_use[mountpoint] -= 1

    def chunks(self, path: bytes) -> tuple[Chunk, ...]:
        """The chunks of a file."""
        return self.catalog(self.mountpoint_of(path.rpartition(b"/")[0])).catalog.chunks(path)


def _close(opened: OpenCatalog) -> None:
    opened.catalog.close()
    os.unlink(opened.file)
