"""Builds the catalogs and bodies of a new revision from an input tree and the old tree.

Nothing here touches what is published: objects are only ever added.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

from pyparrot.progress import Progress
from pyparrot.publish.catalogs import CatalogWriter, CatalogWriters, FinishedCatalog
from pyparrot.publish.content import StoredBody
from pyparrot.publish.decisions import (
    Content,
    Decision,
    decide,
    published_link_group,
    same_entry,
)
from pyparrot.publish.input import InputTree, Item
from pyparrot.publish.layout import Layout
from pyparrot.publish.scan import Enter, Leave, Pair, scan
from pyparrot.sources.cvmfs.catalog_rows import (
    DIRECTORY,
    NESTED_MOUNTPOINT,
    NESTED_ROOT,
    CatalogEntry,
    Chunk,
)
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree

_WAITING_CATALOGS = 32
"""How many catalogs may be open because bodies of theirs are not stored yet."""


class Changes(NamedTuple):
    """How many names a revision adds, changes and removes."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return any(self)


class _Placement(NamedTuple):
    """Which catalogs have the entries of a directory: in the new tree, and in the old one.

    *stays*: the new entries replace the old ones in the same catalog. *old_owner*: the new catalog
    that still has the old entries, if there is one.
    """

    writer: CatalogWriter
    stays: bool
    old_owner: CatalogWriter | None


class _SharedBody:
    """The body of a hard link group: stored once, for all of its names."""

    def __init__(self) -> None:
        self.body: StoredBody | None = None
        self.waiting: list[Callable[[StoredBody], None]] = []

    def finish(self, body: StoredBody) -> None:
        self.body = body
        for done in self.waiting:
            done(body)


class Builder:
    """Turns the events of a scan into catalogs. `run` once.

    *distrust* has the bodies of files read that look unchanged.
    """

    def __init__(
        self,
        input_tree: InputTree,
        old: CatalogTree | None,
        layout: Layout,
        writers: CatalogWriters,
        progress: Progress,
        distrust: bool = False,
    ) -> None:
        self._input = input_tree
        self._old = old
        self._layout = layout
        self._writers = writers
        self._bodies = writers.bodies
        self._progress = progress
        self._distrust = distrust
        self._added = self._changed = self._removed = 0
        # Of the directory that was entered last:
        self._place: _Placement
        self._groups: dict[bytes, int] = {}
        self._shared: dict[bytes, _SharedBody] = {}

    def run(self) -> tuple[FinishedCatalog, Changes]:
        """Build everything; gives the root catalog and what has changed."""
        open_writers: list[CatalogWriter] = []
        for event in scan(self._input, self._old, self._layout):
            if isinstance(event, Pair):
                self._progress.advance()
                self._pair(event)
            elif isinstance(event, Enter):
                if event.path == event.mountpoint:
                    parent = open_writers[-1] if open_writers else None
                    open_writers.append(self._enter_catalog(event, parent))
                self._place = self._place_of(event, open_writers[-1])
                self._groups = {}
                self._shared = {}
            elif isinstance(event, Leave) and event.path == open_writers[-1].mountpoint:
                open_writers.pop().release()
                if self._writers.open_files - len(open_writers) > _WAITING_CATALOGS:
                    self._bodies.finish()
        self._bodies.finish()
        assert self._writers.root is not None
        return self._writers.root, Changes(self._added, self._changed, self._removed)

    def _enter_catalog(self, event: Enter, parent: CatalogWriter | None) -> CatalogWriter:
        old = None
        if self._old and event.known and self._old.mountpoint_of(event.path) == event.path:
            old = self._old.catalog(event.path).catalog.lookup(event.path)
        writer = self._writers.open(event.path, parent, old is not None)
        nested = NESTED_ROOT if event.path else 0
        entry = event.entry._replace(flags=DIRECTORY | nested)
        if old != entry:
            writer.put(event.path, entry)
            self._changed += not event.path
        return writer

    def _place_of(self, event: Enter, writer: CatalogWriter) -> _Placement:
        owner = None if event.before is None else writer.owner_of(event.before)
        return _Placement(writer, event.stays, owner)

    # Names

    def _pair(self, pair: Pair) -> None:
        new = pair.new
        group = self._link_group(pair.path, new.links) if new and new.links else 0
        decision = decide(pair, group if self._place.stays else None, self._distrust)
        if decision.removed is not None:
            self._remove(pair.path, decision.removed)
        if new is None:
            return
        if new.entry.is_directory:
            self._directory(pair.path, decision.old, new.entry)
        else:
            self._leaf(pair.path, decision, new, group)

    def _directory(self, path: bytes, old: CatalogEntry | None, new: CatalogEntry) -> None:
        nested = NESTED_MOUNTPOINT if self._layout.is_root(path) else 0
        if old is not None and old.is_nested and not (nested and self._place.stays):
            self._forget_nested(path)
        self._put(self._place, path, old, new._replace(flags=DIRECTORY | nested))

    def _leaf(self, path: bytes, decision: Decision, new: Item, group: int) -> None:
        entry, old = new.entry, decision.old
        if new.links:
            entry = entry._replace(hardlinks=group << 32 | len(new.links))
        place = self._place
        if decision.content is Content.COMPLETE:
            self._put(place, path, old, entry, new.chunks)
        elif decision.content is Content.PUBLISHED:
            assert old is not None
            body = old._replace(hardlinks=entry.hardlinks)
            self._put(place, path, old, body, self._chunks_to_move(path, old))
        else:
            place.writer.hold()

            def done(body: StoredBody) -> None:
                whole = entry._replace(flags=entry.flags | body.flags, digest=body.digest)
                self._put(place, path, old, whole, body.chunks)
                place.writer.release()

            self._store_body(new, done)

    def _chunks_to_move(self, path: bytes, old: CatalogEntry) -> tuple[Chunk, ...]:
        if not old.is_chunked or self._old is None:
            return ()
        return self._old.chunks(path)

    def _store_body(self, new: Item, done: Callable[[StoredBody], None]) -> None:
        if new.file is None:
            self._bodies.add_stream(lambda size: b"", 0, done)
            return
        if not new.links:
            self._bodies.add(new.file, new.entry, done)
            return
        shared = self._shared.get(new.links[0])
        if shared is None:
            shared = self._shared[new.links[0]] = _SharedBody()
            shared.waiting.append(done)
            self._bodies.add(new.file, new.entry, shared.finish)
        elif shared.body is None:
            shared.waiting.append(done)
        else:
            done(shared.body)

    def _link_group(self, path: bytes, links: tuple[bytes, ...]) -> int:
        """The number of a hard link group in its catalog: the old one if it is the same group."""
        group = self._groups.get(links[0])
        if group is None:
            if self._place.stays:
                group = published_link_group(self._old, path, links)
            group = group or self._place.writer.new_link_group()
            self._groups[links[0]] = group
        return group

    # What becomes of an entry

    def _put(
        self,
        place: _Placement,
        path: bytes,
        old: CatalogEntry | None,
        new: CatalogEntry,
        chunks: tuple[Chunk, ...] = (),
    ) -> None:
        """Put *new* into its catalog, and remove *old* from the catalog that had it."""
        same = (
            old is not None
            and same_entry(old, new, place.stays)
            and (not chunks or self._chunks_to_move(path, old) == chunks)
        )
        if old is None:
            self._added += 1
        elif not same and not _same_but_for_nesting(old, new):
            self._changed += 1
        if same and place.stays:
            return
        if old is not None and not place.stays and place.old_owner:
            place.old_owner.remove(path)
        place.writer.put(path, new)
        if chunks or (old is not None and old.is_chunked):
            place.writer.put_chunks(path, chunks)

    def _remove(self, path: bytes, old: CatalogEntry) -> None:
        """Remove *old* and all that is below it from the new catalogs."""
        assert self._old is not None
        owner = self._place.old_owner
        pending = [(path, old)]
        while pending:
            path, old = pending.pop()
            self._removed += 1
            if owner:
                owner.remove(path)
            if old.is_nested:
                totals = self._forget_nested(path)
                self._removed += totals
            elif old.is_directory:
                pending += [(path + b"/" + e.name, e) for e in self._old.listdir(path)]

    def _forget_nested(self, mountpoint: bytes) -> int:
        """Drop the old reference to a nested catalog; gives the number of entries below it."""
        assert self._old is not None
        totals = self._old.catalog(mountpoint).catalog.totals()
        if self._place.old_owner:
            self._place.old_owner.remove_nested(mountpoint, totals)
        # Each catalog's root is counted, and as a mountpoint too, but for the first.
        return totals.entries - 1 - totals.as_dict()["nested"]


def _same_but_for_nesting(old: CatalogEntry, new: CatalogEntry) -> bool:
    return old._replace(flags=old.flags & ~NESTED_MOUNTPOINT) == new._replace(
        flags=new.flags & ~NESTED_MOUNTPOINT
    )
