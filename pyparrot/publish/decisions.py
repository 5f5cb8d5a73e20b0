"""Tells whether a name in a source is what the published tree says already."""

from __future__ import annotations

from pyparrot.publish.input import Item
from pyparrot.sources.cvmfs.catalog import (
    CHUNKED,
    DIRECTORY,
    FILE,
    SPECIAL,
    SYMLINK,
    Entry,
)

_TYPE = DIRECTORY | FILE | SYMLINK | SPECIAL
_BODY = CHUNKED | 0x3F00
"""The flags that say where a body is: known only once it is stored."""


def stored(item: Item) -> bool:
    """Whether an item is complete: it has no body, or its body is in the repository already."""
    return not item.entry.is_regular or item.entry.digest is not None or bool(item.chunks)


def same_metadata(old: Entry, new: Entry) -> bool:
    """Whether two entries differ in their bodies at most, and in the number of a link group."""
    return _metadata(old) == _metadata(new)


def same_entry(old: Entry, new: Entry, same_catalog: bool) -> bool:
    """Whether two complete entries say the same; link groups count only within one catalog."""
    if same_catalog:
        return old == new
    return old._replace(hardlinks=old.link_count) == new._replace(hardlinks=new.link_count)


def _metadata(entry: Entry) -> Entry:
    return entry._replace(flags=entry.flags & _TYPE, hardlinks=entry.link_count, digest=None)
