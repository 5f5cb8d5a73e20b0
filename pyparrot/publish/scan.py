"""Walks an input tree beside the published tree, directory by directory.

Only pairs names; what a pair means for catalogs and bodies is for the reader of the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Union

from pyparrot.publish.input import InputTree, Item
from pyparrot.publish.layout import Layout
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree


class Enter(NamedTuple):
    """The pairs of directory *entry* follow.

    *mountpoint* is that of the catalog that describes what is in the directory, *before* the one
    that does so in the old tree; None if the old tree has no such directory.
    """

    path: bytes
    entry: CatalogEntry
    mountpoint: bytes
    before: bytes | None

    @property
    def known(self) -> bool:
        """Whether the old tree has such a directory."""
        return self.before is not None

    @property
    def stays(self) -> bool:
        """Whether what is in the directory stays in the same catalog."""
        return self.before == self.mountpoint


class Pair(NamedTuple):
    """A name in the directory entered last: what it was, and what it is to be; one may be None."""

    path: bytes
    old: CatalogEntry | None
    new: Item | None


class Leave(NamedTuple):
    """All that is below a directory has been walked."""

    path: bytes


Event = Union[Enter, Pair, Leave]


def scan(input_tree: InputTree, old: CatalogTree | None, layout: Layout) -> Iterator[Event]:
    """Every name in either tree, parents first, each directory's names in order and together.

    Directories that the input lacks are not entered. What it keeps is left out, unless its catalog
    changes.
    """
    pending: list[Event] = [Enter(b"", input_tree.root().entry, b"", None if old is None else b"")]
    while pending:
        event = pending.pop()
        yield event
        if not isinstance(event, Enter):
            continue
        pending.append(Leave(event.path))
        below = []
        for pair in _pairs(event, input_tree, old, layout):
            if pair.new and pair.new.kept and event.stays and not layout.changes_below(pair.path):
                continue
            yield pair
            if pair.new and pair.new.entry.is_directory:
                mountpoint = pair.path if layout.is_root(pair.path) else event.mountpoint
                known = pair.old is not None and pair.old.is_directory
                before = old.mountpoint_of(pair.path) if old and known else None
                below.append(Enter(pair.path, pair.new.entry, mountpoint, before))
        pending += reversed(below)


def _pairs(
    directory: Enter, input_tree: InputTree, old: CatalogTree | None, layout: Layout
) -> Iterator[Pair]:
    """Merge two listings, both in the order of names."""
    path = directory.path
    old_entries = old.listdir(path) if old and directory.known else iter(())
    new_items = layout.with_markers(path, directory.entry, input_tree.listdir(path))
    old_entry, new_item = next(old_entries, None), next(new_items, None)
    while old_entry or new_item:
        old_name = old_entry.name if old_entry else None
        new_name = new_item.entry.name if new_item else None
        if new_name is None or (old_name is not None and old_name < new_name):
            yield Pair(path + b"/" + (old_name or b""), old_entry, None)
            old_entry = next(old_entries, None)
        elif old_name is None or new_name < old_name:
            yield Pair(path + b"/" + new_name, None, new_item)
            new_item = next(new_items, None)
        else:
            yield Pair(path + b"/" + new_name, old_entry, new_item)
            old_entry, new_item = next(old_entries, None), next(new_items, None)
