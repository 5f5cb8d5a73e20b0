"""Writes the catalogs of a new revision.

A `CatalogWriter` stands for one catalog of the new tree. It starts as the old tree's catalog at
the same mountpoint, if there is one, and becomes a file of its own only when something
changes; a catalog in which nothing changes keeps its hash. A catalog can be finished once nothing
is pending for it: bodies under way, the walk below it, and its own nested catalogs.
"""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from pyparrot.errors import naming
from pyparrot.publish.content import BodyStore
from pyparrot.publish.settings import Settings
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_counters import CatalogCounters
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, Chunk, NestedCatalog
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind

_BUFFERED_ENTRIES = 500


class Revision(NamedTuple):
    """What every catalog of a new revision is told: its number, and when it was made (unix)."""

    number: int
    timestamp: int


class FinishedCatalog(NamedTuple):
    """A catalog that is stored: its hash, uncompressed size in bytes, and whether it is new."""

    hash: ContentHash
    size: int
    changed: bool


class CatalogWriters:
    """Makes the writers of one revision, and keeps what they share."""

    def __init__(
        self,
        storage: Storage,
        bodies: BodyStore,
        settings: Settings,
        revision: Revision,
        old: CatalogTree | None,
    ) -> None:
        self.storage = storage
        self.bodies = bodies
        self.settings = settings
        self.revision = revision
        self.old = old
        self.root: FinishedCatalog | None = None
        self.open_files = 0
        """How many catalogs are open to be written."""

    def open(self, mountpoint: bytes, parent: CatalogWriter | None, known: bool) -> CatalogWriter:
        """The writer for *mountpoint*; *known* if the old tree has a catalog there."""
        return CatalogWriter(self, mountpoint, parent, known)


class CatalogWriter:
    """One catalog of the new tree."""

    def __init__(
        self,
        shared: CatalogWriters,
        mountpoint: bytes,
        parent: CatalogWriter | None,
        known: bool,
    ) -> None:
        self.mountpoint = mountpoint
        self.parent = parent
        self.known = known
        self._shared = shared
        self._file = ""
        self._catalog: Catalog | None = None
        self._entries: list[tuple[bytes, CatalogEntry]] = []
        self._subtree = CatalogCounters()
        self._next_group = 0
        self._pending = 1
        if parent:
            parent.hold()
        if not known:
            self._open()

    def owner_of(self, mountpoint: bytes) -> CatalogWriter | None:
        """This writer or the one above it that continues the old catalog at *mountpoint*."""
        writer: CatalogWriter | None = self
        while writer and not (writer.known and writer.mountpoint == mountpoint):
            writer = writer.parent
        return writer

    # What changes

    def put(self, path: bytes, entry: CatalogEntry) -> None:
        """Insert or replace an entry; at most once for each path, and not before a `remove`."""
        self._open()
        self._entries.append((path, entry))
        if len(self._entries) >= _BUFFERED_ENTRIES:
            self._flush()

    def put_chunks(self, path: bytes, chunks: tuple[Chunk, ...]) -> None:
        """Make *chunks* the chunks of an entry; an empty tuple removes them."""
        self._open().put_chunks(path, chunks)

    def remove(self, path: bytes) -> None:
        """Remove an entry and its chunks."""
        self._open().remove(path)

    def put_nested(self, nested: NestedCatalog, counters: CatalogCounters) -> None:
        """Refer to a nested catalog, which counts *counters* with all below it."""
        self._open().put_nested(nested)
        self._subtree += counters

    def remove_nested(self, mountpoint: bytes, counters: CatalogCounters) -> None:
        """No longer refer to a nested catalog, or not to that state of it."""
        self._open().remove_nested(mountpoint)
        self._subtree -= counters

    def new_link_group(self) -> int:
        """A hard link group that this catalog does not use yet."""
        catalog = self._open()
        if not self._next_group:
            self._next_group = catalog.highest_link_group()
        self._next_group += 1
        return self._next_group

    # When it is done

    def hold(self) -> None:
        """Something more is pending for this catalog."""
        self._pending += 1

    def release(self) -> None:
        """Something that was pending is done; with the last of it the catalog is finished."""
        self._pending -= 1
        if self._pending == 0:
            self._finish()

    def _open(self) -> Catalog:
        if self._catalog is None:
            self._shared.open_files += 1
            self._file = self._shared.storage.temporary_file()
            if self.known:
                assert self._shared.old is not None
                old = self._shared.old.catalog(self.mountpoint).file
                # Not shutil.copyfile: when the disk fills it names the file that it reads.
                with open(old, "rb") as source, naming(self._file), open(self._file, "xb") as copy:
                    shutil.copyfileobj(source, copy)
                self._catalog = Catalog.open_to_write(self._file)
                self._subtree = self._catalog.counters("subtree")
            else:
                self._catalog = Catalog.create(self._file)
        return self._catalog

    def _flush(self) -> None:
        if self._entries:
            self._open().put(self._entries)
            self._entries = []

    def _finish(self) -> None:
        self._flush()
        if self._catalog is None:
            assert self._shared.old is not None
            unchanged = self._shared.old.catalog(self.mountpoint)
            size = os.stat(unchanged.file).st_size
            self._done(FinishedCatalog(unchanged.name, size, False), unchanged.catalog.totals())
            return
        catalog, self._catalog = self._catalog, None
        revision, settings = self._shared.revision, self._shared.settings
        previous = ContentHash.null(settings.algorithm)
        if self.known:
            assert self._shared.old is not None
            previous = self._shared.old.catalog(self.mountpoint).name
        if self.mountpoint:
            catalog.set_property("root_prefix", self.mountpoint)
        else:
            catalog.set_property("TTL", settings.ttl)
            if settings.volatile:
                catalog.set_property("volatile", 1)
        stamp(catalog, revision, previous)
        counters = catalog.count()
        catalog.put_counters("self", counters)
        catalog.put_counters("subtree", self._subtree)
        catalog.compact()
        catalog.close()
        self._shared.open_files -= 1
        size = os.stat(self._file).st_size
        totals = counters + self._subtree

        def stored(name: ContentHash) -> None:
            self._done(FinishedCatalog(name, size, True), totals)

        self._shared.bodies.add_object(self._file, Kind.CATALOG, stored)

    def _done(self, finished: FinishedCatalog, totals: CatalogCounters) -> None:
        if not self.parent:
            self._shared.root = finished
            return
        old = self._old_reference()
        if finished.changed or old is None:
            if old is not None:
                self.parent.remove_nested(self.mountpoint, self._old_totals())
            nested = NestedCatalog(self.mountpoint, finished.hash, finished.size)
            self.parent.put_nested(nested, totals)
        self.parent.release()

    def _old_reference(self) -> NestedCatalog | None:
        """The old reference to this catalog, if it stood where the new one stands."""
        assert self.parent is not None
        if not (self.known and self.parent.known and self._shared.old):
            return None
        return self._shared.old.nested(self.parent.mountpoint).get(self.mountpoint)

    def _old_totals(self) -> CatalogCounters:
        assert self._shared.old is not None
        return self._shared.old.catalog(self.mountpoint).catalog.totals()


def stamp(catalog: Catalog, revision: Revision, previous: ContentHash) -> None:
    """Say in a catalog which revision it belongs to, and what its predecessor is."""
    catalog.set_property("revision", revision.number)
    catalog.set_property("last_modified", revision.timestamp)
    catalog.set_property("previous_revision", previous)
