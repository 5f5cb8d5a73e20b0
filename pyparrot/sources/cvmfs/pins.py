"""Pins paths of repositories: fetches what is needed to read them, and holds it in the cache."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from pyparrot.cache.names import ObjectName
from pyparrot.cache.pins import Pin
from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs.prefetch import FetchSummary, prefetch, readable_entries

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.sources.cvmfs.remote import RemoteRepository

_BATCH = 64


def pin(repository: RemoteRepository, path: bytes, progress: Progress) -> FetchSummary:
    """Fetch a path's files and pin them, with the catalogs that are needed to get there.

    Pinning a path again replaces what was pinned before. What could not be fetched is not pinned.
    """
    store = repository.store
    objects: list[ObjectName] = []

    def got(name: ObjectName) -> None:
        # Flagged as they come: later ones must not push out the first.
        objects.append(name)
        if len(objects) % _BATCH == 0:
            store.pin(objects[-_BATCH:])

    summary = prefetch(repository, [path], progress, got)
    if summary.failures and not objects:
        return summary
    for prefix in sorted(_catalogs(repository, path)):
        objects += store.names(prefix)
    revision = repository.lookup("/").holder.revision
    record = Pin(repository.name, pinned_path(path), revision, tuple(objects))
    store.pins.hold(record)
    _check(store, record)
    return summary


def pinned_path(path: bytes) -> str:
    """What a path in a repository is called in the pin that holds it."""
    return posixpath.normpath("/" + os.fsdecode(path).lstrip("/"))


def _check(store: ObjectStore, record: Pin) -> None:
    gone = sum(not os.path.exists(store.path(name)) for name in record.objects)
    if gone:
        raise PyparrotError(
            f"/cvmfs/{record.repository}{record.path}",
            f"{gone} of its objects had to go again: the cache is too small",
            "a larger CVMFS_QUOTA_LIMIT (in MB)",
        )


def _catalogs(repository: RemoteRepository, path: bytes) -> set[ObjectName]:
    """The names of all catalogs on the way to *path* and below it.

    The names of the index files that were made of a catalog begin with its name.
    """
    from pyparrot.sources.cvmfs.handles import catalog_name
    from pyparrot.sources.cvmfs.object_names import CATALOG
    from pyparrot.tree.entries import NESTED

    real = repository.lookup(path).path
    on_the_way = {catalog_name(repository.lookup("/").holder.handle)}
    for way in (path.rstrip(b"/"), real):
        parts = way.split(b"/")
        for end in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:end])
            # A symlink on the way may lead through another catalog than its target is in.
            found = repository.lookup(prefix or b"/", follow_symlinks=False)
            on_the_way.add(catalog_name(found.holder.handle))
    for _, node in readable_entries(repository, path, lambda *_: None):
        if node.flags & NESTED:
            on_the_way.add(catalog_name(node.handle))
    return {CATALOG.name(name) for name in on_the_way}
