"""Pins: paths whose files, and the catalogs that lead there, stay in the cache.

A pin holds what a path was at one revision. What it holds is written down (``pins/`` in the cache's
directory), because a later revision would not tell any more; so a pin can be taken back without
the repository, and what two pins have in common stays until both are gone. The ledger's flags,
which protect from eviction, follow from these records.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs.prefetch import Outcome, prefetch, walk

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.sources.cvmfs.remote import RemoteRepository

_DIRECTORY = "pins"
_BATCH = 64


class Pin(NamedTuple):
    """What is pinned: a path in a repository, at a revision, and the names of its objects."""

    repository: str
    path: str
    revision: int
    objects: tuple[str, ...]


def pin(repository: RemoteRepository, path: bytes, progress: Progress) -> Outcome:
    """Fetch a path's files and pin them, with the catalogs that are needed to get there.

    Pinning a path again replaces what was pinned before. What could not be fetched is not pinned.
    """
    store = repository.store
    objects: list[str] = []

    def got(name: str) -> None:
        # Flagged as they come: later ones must not push out the first.
        objects.append(name)
        if len(objects) % _BATCH == 0:
            store.pin(objects[-_BATCH:])

    outcome = prefetch(repository, [path], progress, got)
    if outcome.failures and not objects:
        return outcome
    for prefix in sorted(_catalogs(repository, path)):
        objects += store.names(prefix)
    revision = repository.lookup("/").holder.revision
    record = Pin(repository.name, _normal(path), revision, tuple(objects))
    with _locked(store):
        store.write_file(_file(record.repository, record.path), _encode(record))
        _settle(store)
    _check(store, record)
    return outcome


def _check(store: ObjectStore, record: Pin) -> None:
    gone = sum(not os.path.exists(store.path(name)) for name in record.objects)
    if gone:
        raise PyparrotError(
            f"/cvmfs/{record.repository}{record.path}",
            f"{gone} of its objects had to go again: the cache is too small",
            "a larger CVMFS_QUOTA_LIMIT (in MB)",
        )


def unpin(store: ObjectStore, fqrn: str, path: bytes) -> bool:
    """Take a pin back; False if there is none of this path."""
    with _locked(store):
        try:
            os.unlink(store.file(_file(fqrn, _normal(path))))
        except FileNotFoundError:
            return False
        _settle(store)
    return True


def pins(store: ObjectStore) -> list[Pin]:
    """All pins, by repository and path."""
    try:
        names = os.listdir(store.file(_DIRECTORY))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if not name.endswith(".json"):
            continue
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            with open(store.file(_DIRECTORY, name), encoding="ascii") as file:
                record = json.load(file)
            found.append(Pin(**{**record, "objects": tuple(record["objects"])}))
    return sorted(found)


def settle(store: ObjectStore) -> None:
    """Make the ledger's flags agree with the pins, such as after a crash or a lost ledger."""
    with _locked(store):
        _settle(store)


def forget(store: ObjectStore) -> None:
    """Take all pins back."""
    with _locked(store):
        for found in pins(store):
            os.unlink(store.file(_file(found.repository, found.path)))
        _settle(store)


def pinned(store: ObjectStore) -> set[str]:
    """The names of all objects that pins hold."""
    return {name for found in pins(store) for name in found.objects}


def _settle(store: ObjectStore) -> None:
    wanted = pinned(store)
    flagged = {record.name for record in store.records() if record.pinned}
    store.pin(flagged - wanted, False)
    store.pin(wanted - flagged, True)


@contextlib.contextmanager
def _locked(store: ObjectStore) -> Iterator[None]:
    """One process at a time changes pins; the lock ends with its process."""
    os.makedirs(store.file(_DIRECTORY), mode=0o700, exist_ok=True)
    with open(store.file(_DIRECTORY, "lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(fqrn: str, path: str) -> str:
    key = hashlib.sha1(f"{fqrn}{path}".encode("utf-8", "surrogateescape"), usedforsecurity=False)
    return os.path.join(_DIRECTORY, key.hexdigest() + ".json")


def _encode(record: Pin) -> bytes:
    return json.dumps(record._asdict()).encode("ascii")


def _normal(path: bytes) -> str:
    return posixpath.normpath("/" + os.fsdecode(path).lstrip("/"))


def _catalogs(repository: RemoteRepository, path: bytes) -> set[str]:
    """What the names of all catalogs on the way to *path* and below it begin with.

    The catalog itself has such a name, and so have the index files made of it.
    """
    from pyparrot.sources.cvmfs.handles import catalog_name
    from pyparrot.sources.cvmfs.hashes import Kind
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
    for _, node in walk(repository, path, lambda *_: None):
        if node.flags & NESTED:
            on_the_way.add(catalog_name(node.handle))
    return {f"{name}{Kind.CATALOG.value}" for name in on_the_way}
