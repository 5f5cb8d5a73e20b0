"""Checks that a catalog makes sense in itself, whether it comes from a server or lies on disk.

What is wrong is told to a function of the caller's, which gets the path (as the catalog has it) and
the reason: one look shows all faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from pyparrot.errors import printable
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_counters import CatalogCounters
from pyparrot.sources.cvmfs.catalog_rows import (
    DIRECTORY,
    NESTED_ROOT,
    CatalogEntry,
    Chunk,
)
from pyparrot.sources.cvmfs.chunks import NOT_THE_FILE, make_up

Fault = Callable[[bytes, str], None]
"""Takes a path and what is wrong there."""


def check_structure(
    catalog: Catalog, mountpoint: bytes, fault: Fault
) -> Iterator[tuple[bytes, CatalogEntry]]:
    """Check that a catalog is the one of *mountpoint* and that all in it can be reached.

    Gives the paths and entries of its regular files, whose content is for `content_of` to check.
    """
    if catalog.mountpoint != mountpoint:
        made_for = printable(catalog.mountpoint) or "/"
        fault(mountpoint, f"the catalog of another directory: {made_for}")
        return
    root = catalog.lookup(mountpoint)
    wanted = DIRECTORY | (NESTED_ROOT if mountpoint else 0)
    if root is None or root.flags & wanted != wanted:
        fault(mountpoint, "the catalog lacks its own root directory")
        return
    mounted = {
        reference.mountpoint
        for reference in (*catalog.nested_catalogs(), *catalog.bind_mountpoints())
    }
    reached = 1
    pending = [mountpoint]
    while pending:
        directory = pending.pop()
        for entry in catalog.listdir(directory):
            reached += 1
            path = directory + b"/" + entry.name
            if b"/" in entry.name or entry.name in (b"", b".", b".."):
                fault(path, "a bad name")
            elif entry.is_nested:
                if path not in mounted:
                    fault(path, "no such nested catalog")
            elif entry.is_directory:
                pending.append(path)
            elif entry.is_regular:
                yield path, entry
    entries = catalog.count().entries
    if reached != entries:
        left = entries - reached
        fault(mountpoint, f"{left} entries can't be reached from the catalog's root")


def content_of(
    catalog: Catalog, path: bytes, entry: CatalogEntry, fault: Fault
) -> tuple[Chunk, ...]:
    """Check that the entry of a regular file says where its content is; gives its chunks.

    They are none if the file is stored whole, and if there is something wrong with them.
    """
    if entry.is_chunked:
        chunks = catalog.chunks(path)
        if make_up(chunks, entry.size):
            return chunks
        fault(path, NOT_THE_FILE)
    elif entry.digest is None:
        fault(path, "no content")
    return ()


def difference(
    recorded: CatalogCounters, counted: CatalogCounters, *, all_recorded: bool = True
) -> str:
    """How counters that a catalog records differ from what was counted; empty if they don't.

    Catalogs of older schemas do not record all counters: without *all_recorded* zeros are
    taken for missing ones.
    """
    pairs = zip(recorded.as_dict().items(), counted.values)
    return ", ".join(
        f"{name} {said} not {real}"
        for (name, said), real in pairs
        if said != real and (said or all_recorded)
    )
