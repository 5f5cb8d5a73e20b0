"""Decides, name by name, what a new revision does: `build` carries it out, `preview` shows it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pyparrot.publish.input import Item
from pyparrot.publish.scan import Pair
from pyparrot.sources.cvmfs.catalog_rows import (
    DIRECTORY,
    FILE,
    SPECIAL,
    SYMLINK,
    CatalogEntry,
)
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree

_TYPE = DIRECTORY | FILE | SYMLINK | SPECIAL


class Content(Enum):
    """Where the body of a name comes from."""

    COMPLETE = "it has none, or its entry says already where it is stored"
    PUBLISHED = "from the published tree: the metadata say that it has not changed"
    READ = "it has to be read and stored"


class Decision(NamedTuple):
    """What a pair of names means.

    *removed* is the published entry that goes, with all that is below it. *old* is the one that
    the new name replaces, None if the name is added. *alike* says that *old* and the new entry
    differ in their bodies at most.
    """

    removed: CatalogEntry | None
    old: CatalogEntry | None
    alike: bool
    content: Content


def decide(pair: Pair, link_group: int | None, distrust: bool) -> Decision:
    """What becomes of a name.

    *link_group* is the number of the new name's hard link group in its catalog (0: it has none);
    None if the name comes to another catalog, where numbers mean something else. *distrust* has
    files read that look unchanged.
    """
    old, new = pair.old, pair.new
    removed = None
    if old is not None and (new is None or old.is_directory != new.entry.is_directory):
        removed, old = old, None
    if new is None:
        return Decision(removed, None, False, Content.COMPLETE)
    alike = old is not None and same_metadata(old, new.entry)
    if old is not None and link_group is not None and not new.entry.is_directory:
        alike = alike and old.link_group == link_group
    if _is_complete(new):
        content = Content.COMPLETE
    elif alike and not (distrust and new.file is not None):
        content = Content.PUBLISHED
    else:
        content = Content.READ
    return Decision(removed, old, alike, content)


def published_link_group(old: CatalogTree | None, path: bytes, links: tuple[bytes, ...]) -> int:
    """The number of the hard link group that *links*, names beside *path*, are in the old tree.

    0 if they are not all the members of one group there.
    """
    if old is None:
        return 0
    directory = path.rpartition(b"/")[0]
    entries = [old.lookup(directory + b"/" + name) for name in links]
    groups = {entry.hardlinks if entry else 0 for entry in entries}
    hardlinks = groups.pop()
    return hardlinks >> 32 if not groups and hardlinks & 0xFFFFFFFF == len(links) else 0


def same_metadata(old: CatalogEntry, new: CatalogEntry) -> bool:
    """Whether two entries differ in their bodies at most, and in the number of a link group."""
    return _metadata(old) == _metadata(new)


def same_entry(old: CatalogEntry, new: CatalogEntry, same_catalog: bool) -> bool:
    """Whether two complete entries say the same; link groups matter only within one catalog."""
    if same_catalog:
        return old == new
    return old._replace(hardlinks=old.link_count) == new._replace(hardlinks=new.link_count)


def _is_complete(item: Item) -> bool:
    return not item.entry.is_regular or item.entry.digest is not None or bool(item.chunks)


def _metadata(entry: CatalogEntry) -> CatalogEntry:
    return entry._replace(flags=entry.flags & _TYPE, hardlinks=entry.link_count, digest=None)
