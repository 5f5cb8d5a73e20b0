"""The published tree with a tar file laid over it, as extracting it there would do."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from pyparrot.publish.input import MARKER, Item, Surveyed
from pyparrot.publish.layout import RULES_FILE
from pyparrot.publish.pruned_tree import PrunedTree
from pyparrot.publish.staging_tree import IMPLIED_MODE, StagingTree
from pyparrot.sources.cvmfs.catalog_rows import DIRECTORY, CatalogEntry, Chunk


class ArchiveInput:
    """What remains of the published tree, and a staging tree laid over it."""

    def __init__(self, old: PrunedTree, staged: StagingTree) -> None:
        self._old = old
        self._staged = staged.catalog
        # New rules are for all that is there.
        self._all_may_change = (
            old.removes(RULES_FILE) or self._staged.lookup(RULES_FILE) is not None
        )

    def root(self) -> Item:
        """The root directory."""
        return self._directory(b"", self._staged.lookup(b""), self._old.lookup(b""))

    def listdir(self, path: bytes) -> Iterator[Item]:
        """What the directory will hold."""
        staged = {entry.name: entry for entry in self._staged.listdir(path)}
        old = {entry.name: entry for entry in self._old.listdir(path)}
        groups = _link_groups(staged.values())
        left = _link_groups(entry for name, entry in old.items() if name not in staged)
        for name in sorted({**old, **staged}):
            full = path + b"/" + name
            above, below = staged.get(name), old.get(name)
            if above is None:
                assert below is not None
                yield self._published(full, below, left.get(below.link_group, ()))
            elif above.is_directory:
                gone = below is None or not below.is_directory
                yield self._directory(full, above, None if gone else below)
            else:
                chunks = self._staged.chunks(full) if above.is_chunked else ()
                yield _linked(above, chunks, groups.get(above.link_group, ()))

    def survey(self) -> Iterator[Surveyed]:
        """The directories of the catalogs in which something changes."""
        pending = [b""]
        while pending:
            path = pending.pop()
            directories, kept = [], []
            entries = 0
            marked = False
            for item in self.listdir(path):
                entries += 1
                if item.entry.is_directory:
                    directories.append(item.entry.name)
                    if item.kept and item.entry.is_nested and not self._all_may_change:
                        kept.append(item.entry.name)
                elif item.entry.name == MARKER:
                    marked = True
            yield Surveyed(path, tuple(directories), entries, marked)
            for name in kept:
                yield Surveyed(path + b"/" + name, (), 0, marked=True, kept=True)
            pending += [path + b"/" + name for name in directories if name not in kept]

    def _published(self, path: bytes, entry: CatalogEntry, left: tuple[bytes, ...]) -> Item:
        """A name that the tar file lacks; *left* is what is left of its hard link group."""
        if entry.is_directory and self._old.removes_below(path):
            return self._directory(path, None, entry)
        if entry.link_group and len(left) != entry.link_count:
            return _linked(entry, self._old.chunks(path) if entry.is_chunked else (), left)
        return Item(entry, links=left, kept=True)

    def _directory(
        self, path: bytes, staged: CatalogEntry | None, old: CatalogEntry | None
    ) -> Item:
        if old is not None and (staged is None or staged.mode == IMPLIED_MODE):
            entry = old._replace(flags=DIRECTORY)
        else:
            assert staged is not None
            entry = staged
            if entry.mode == IMPLIED_MODE:
                entry = entry._replace(mode=stat.S_IFDIR | 0o755)
        above = {entry.name: entry.is_directory for entry in self._staged.listdir(path)}
        below = {entry.name: entry.is_directory for entry in self._old.listdir(path)}
        return Item(entry._replace(hardlinks=2 + sum({**below, **above}.values())))


def _linked(entry: CatalogEntry, chunks: tuple[Chunk, ...], members: tuple[bytes, ...]) -> Item:
    """An entry whose hard link group has *members*."""
    links = members if len(members) > 1 else ()
    return Item(entry._replace(hardlinks=max(1, len(members))), chunks=chunks, links=links)


def _link_groups(entries: Iterable[CatalogEntry]) -> dict[int, tuple[bytes, ...]]:
    """The hard link groups of a directory: their members, in the order of names."""
    groups: dict[int, tuple[bytes, ...]] = {}
    for entry in entries:
        if entry.link_group:
            groups[entry.link_group] = (*groups.get(entry.link_group, ()), entry.name)
    return groups
