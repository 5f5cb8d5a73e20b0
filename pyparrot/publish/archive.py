"""The published tree with a tar file laid over it, as extracting it there would do."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from pyparrot.repository.cvmfs.catalog import DIRECTORY, Entry
from pyparrot.repository.cvmfs.tree import CatalogTree

from .source import MARKER, Item, Surveyed, is_published
from .stage import IMPLIED_MODE, Stage


class ArchiveSource:
    """The published tree without *removed* paths, and with a stage laid over it."""

    def __init__(self, old: CatalogTree, stage: Stage, removed: Sequence[bytes]) -> None:
        self._old = old
        self._stage = stage.catalog
        self._removed = frozenset(removed)
        self._above_removed = {
            path[:end]
            for path in removed
            for end in range(len(path))
            if path[end : end + 1] == b"/"
        }

    def root(self) -> Item:
        """The root directory."""
        old = self._old.lookup(b"")
        assert old is not None
        return self._directory(b"", self._stage.lookup(b""), old)

    def listdir(self, path: bytes) -> Iterator[Item]:
        """What the directory will hold."""
        staged = {entry.name: entry for entry in self._stage.listdir(path)}
        old = {entry.name: entry for entry in self._old_entries(path)}
        links = _link_members(staged)
        broken = _broken_groups(old, staged, self._removed, path)
        for name in sorted({**old, **staged}):
            full = path + b"/" + name
            above, below = staged.get(name), old.get(name)
            if above is None:
                assert below is not None
                if full in self._removed:
                    continue
                if full in self._above_removed and below.is_directory:
                    yield self._directory(full, None, below)
                elif below.link_group in broken:
                    yield self._ungrouped(full, below, broken[below.link_group])
                else:
                    yield Item(below, kept=True)
            elif above.is_directory:
                gone = below is None or not below.is_directory or full in self._removed
                yield self._directory(full, above, None if gone else below)
            else:
                members = links.get(above.link_group, ()) if above.link_group else ()
                count = max(1, len(members))
                yield Item(
                    above._replace(hardlinks=count),
                    chunks=self._stage.chunks(full) if above.is_chunked else (),
                    links=members if count > 1 else (),
                )

    def survey(self) -> Iterator[Surveyed]:
        """The directories that the stage touches."""
        pending = [b""]
        while pending:
            path = pending.pop()
            directories = []
            entries = 0
            marked = False
            for item in self.listdir(path):
                marked = marked or item.entry.name == MARKER
                if not item.kept:
                    entries += 1
                    if item.entry.is_directory:
                        directories.append(item.entry.name)
            yield Surveyed(path, tuple(directories), entries, marked)
            pending += [path + b"/" + name for name in directories]

    def _old_entries(self, path: bytes) -> Iterator[Entry]:
        if path in self._removed:
            return iter(())
        return self._old.listdir(path) if is_published(self._old, path) else iter(())

    def _directory(self, path: bytes, staged: Entry | None, old: Entry | None) -> Item:
        if old is not None and (staged is None or staged.mode == IMPLIED_MODE):
            entry = old._replace(flags=DIRECTORY)
        else:
            assert staged is not None
            entry = staged
            if entry.mode == IMPLIED_MODE:
                entry = entry._replace(mode=stat.S_IFDIR | 0o755)
        names = {e.name for e in self._stage.listdir(path) if e.is_directory}
        if old is not None:
            names |= {
                e.name
                for e in self._old_entries(path)
                if e.is_directory
                and path + b"/" + e.name not in self._removed
                and self._stays_directory(path + b"/" + e.name)
            }
        return Item(entry._replace(hardlinks=2 + len(names)))

    def _stays_directory(self, path: bytes) -> bool:
        staged = self._stage.lookup(path)
        return staged is None or staged.is_directory

    def _ungrouped(self, path: bytes, entry: Entry, members: tuple[bytes, ...]) -> Item:
        """A published hard link of whose group others go away."""
        return Item(
            entry._replace(hardlinks=len(members)),
            chunks=self._old.chunks(path) if entry.is_chunked else (),
            links=members if len(members) > 1 else (),
        )


def _link_members(entries: dict[bytes, Entry]) -> dict[int, tuple[bytes, ...]]:
    members: dict[int, tuple[bytes, ...]] = {}
    for name, entry in sorted(entries.items()):
        if entry.link_group:
            members[entry.link_group] = (*members.get(entry.link_group, ()), name)
    return members


def _broken_groups(
    old: dict[bytes, Entry], staged: dict[bytes, Entry], removed: frozenset[bytes], path: bytes
) -> dict[int, tuple[bytes, ...]]:
    """What remains of published hard link groups that lose members."""
    remaining = {}
    for group, names in _link_members(old).items():
        kept = tuple(n for n in names if n not in staged and path + b"/" + n not in removed)
        if kept != names:
            remaining[group] = kept
    return remaining
