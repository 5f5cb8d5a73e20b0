"""Says what a publication would change, without storing anything."""

from __future__ import annotations

from collections.abc import Iterator

from pyparrot.errors import printable
from pyparrot.progress import Progress
from pyparrot.publish.build import Changes
from pyparrot.publish.content import Body, BodyStore
from pyparrot.publish.decisions import same_entry, same_metadata, stored
from pyparrot.publish.input import Item, Source
from pyparrot.publish.layout import Layout
from pyparrot.publish.repository import Repository
from pyparrot.publish.scan import Pair, walk
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs.catalog import Entry
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind


class _Nowhere(Storage):
    """Takes objects and forgets them: packing tells their names."""

    def put(self, name: ContentHash, kind: Kind, packed: bytes) -> int:
        return 0


def preview(
    source: Source,
    old: CatalogTree,
    layout: Layout,
    repository: Repository,
    distrust: bool,
    progress: Progress,
) -> Changes:
    """Print a line for every name that would be added, changed or removed; gives their numbers."""
    counts = {"added": 0, "changed": 0, "removed": 0}

    def note(what: str, path: bytes) -> None:
        counts[what] += 1
        print(f"{what:8}{printable(path)}")

    root = old.lookup(b"")
    if root is not None and not same_metadata(root, source.root().entry):
        note("changed", b"/")
    with BodyStore(_Nowhere(repository.settings.root), repository.settings) as bodies:
        for event in walk(source, old, layout):
            if not isinstance(event, Pair):
                continue
            progress.advance()
            _compare(event, old, bodies, distrust, note)
        bodies.finish()
    return Changes(**counts)


def _compare(
    event: Pair, old: CatalogTree, bodies: BodyStore, distrust: bool, note: object
) -> None:
    assert callable(note)
    before, after = event.old, event.new
    if before is not None and (after is None or before.is_directory != after.entry.is_directory):
        for path in _all_below(event.path, before, old):
            note("removed", path)
        before = None
    if after is None:
        return
    if before is None:
        note("added", event.path)
    elif not same_metadata(before, after.entry):
        note("changed", event.path)
    elif stored(after):
        if not _same_stored(before, after):
            note("changed", event.path)
    elif distrust and after.file is not None:
        known = before

        def done(body: Body) -> None:
            chunks = old.chunks(event.path) if known.is_chunked else ()
            if (body.digest, body.chunks) != (known.digest, chunks):
                note("changed", event.path)

        bodies.add(after.file, after.entry, done)


def _same_stored(before: Entry, after: Item) -> bool:
    entry = after.entry._replace(flags=after.entry.flags | before.flags)
    return same_entry(before, entry, same_catalog=False)


def _all_below(path: bytes, entry: Entry, old: CatalogTree) -> Iterator[bytes]:
    pending = [(path, entry)]
    while pending:
        path, entry = pending.pop()
        yield path
        if entry.is_directory:
            children = [(path + b"/" + child.name, child) for child in old.listdir(path)]
            pending += reversed(children)
