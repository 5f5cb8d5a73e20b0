"""Says what a publication would change, without storing anything."""

from __future__ import annotations

from collections.abc import Iterator

from pyparrot.errors import printable
from pyparrot.progress import Progress
from pyparrot.publish.build import Changes
from pyparrot.publish.content import BodyStore, StoredBody
from pyparrot.publish.decisions import (
    Content,
    decide,
    published_link_group,
    same_entry,
    same_metadata,
)
from pyparrot.publish.input import InputTree, Item
from pyparrot.publish.layout import Layout
from pyparrot.publish.repository import StoredRepository
from pyparrot.publish.scan import Enter, Pair, scan
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind


class _Nowhere(Storage):
    """Takes objects and forgets them: packing tells their names."""

    def put(self, name: ContentHash, kind: Kind, packed: bytes) -> int:
        return 0


def preview(
    input_tree: InputTree,
    old: CatalogTree,
    layout: Layout,
    repository: StoredRepository,
    distrust: bool,
    progress: Progress,
) -> Changes:
    """Print a line for every name that would be added, changed or removed; gives their numbers."""
    with BodyStore(_Nowhere(repository.settings.root), repository.settings) as bodies:
        shown = _Preview(old, bodies, distrust)
        root = old.lookup(b"")
        if root is not None and not same_metadata(root, input_tree.root().entry):
            shown.note("changed", b"/")
        for event in scan(input_tree, old, layout):
            if isinstance(event, Enter):
                shown.enter(event)
            elif isinstance(event, Pair):
                progress.advance()
                shown.compare(event)
        bodies.finish()
    return shown.changes


class _Preview:
    """Prints what the pairs of a scan mean, and counts it."""

    def __init__(self, old: CatalogTree, bodies: BodyStore, distrust: bool) -> None:
        self.changes = Changes()
        self._old = old
        self._bodies = bodies
        self._distrust = distrust
        # Of the directory that was entered last:
        self._stays = False
        self._groups: dict[bytes, int] = {}

    def note(self, what: str, path: bytes) -> None:
        """Print that a name is *what*: a field of `Changes`, in which it is counted."""
        self.changes = self.changes._replace(**{what: getattr(self.changes, what) + 1})
        print(f"{what:8}{printable(path)}")

    def enter(self, event: Enter) -> None:
        """The pairs of another directory follow."""
        self._stays = event.stays
        self._groups = {}

    def compare(self, pair: Pair) -> None:
        """Print what becomes of a name, and of what is below it if it goes."""
        decision = decide(pair, self._link_group(pair), self._distrust)
        if decision.removed is not None:
            for path in _all_below(pair.path, decision.removed, self._old):
                self.note("removed", path)
        old, new = decision.old, pair.new
        if new is None:
            return
        if old is None:
            self.note("added", pair.path)
        elif not decision.alike:
            self.note("changed", pair.path)
        elif decision.content is Content.COMPLETE:
            if not _same_stored(old, new):
                self.note("changed", pair.path)
        elif decision.content is Content.READ:
            self._compare_bodies(pair.path, old, new)

    def _link_group(self, pair: Pair) -> int | None:
        """The published number of the new name's link group; None in another catalog."""
        if not self._stays:
            return None
        if pair.new is None or not pair.new.links:
            return 0
        links = pair.new.links
        if links[0] not in self._groups:
            self._groups[links[0]] = published_link_group(self._old, pair.path, links)
        # A group that the published tree lacks would get a number that no group has there.
        return self._groups[links[0]] or -1

    def _compare_bodies(self, path: bytes, old: CatalogEntry, new: Item) -> None:
        def done(body: StoredBody) -> None:
            chunks = self._old.chunks(path) if old.is_chunked else ()
            if (body.digest, body.chunks) != (old.digest, chunks):
                self.note("changed", path)

        assert new.file is not None
        self._bodies.add(new.file, new.entry, done)


def _same_stored(old: CatalogEntry, new: Item) -> bool:
    entry = new.entry._replace(flags=new.entry.flags | old.flags)
    return same_entry(old, entry, same_catalog=False)


def _all_below(path: bytes, entry: CatalogEntry, old: CatalogTree) -> Iterator[bytes]:
    pending = [(path, entry)]
    while pending:
        path, entry = pending.pop()
        yield path
        if entry.is_directory:
            children = [(path + b"/" + child.name, child) for child in old.listdir(path)]
            pending += reversed(children)
