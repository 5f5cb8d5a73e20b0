"""Verifies a repository from its signatures down to the last byte of every object.

Faults are collected, not raised: one look shows all that is wrong.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from pyparrot.errors import PyparrotError, printable
from pyparrot.progress import Progress
from pyparrot.publish import keys, signed_files
from pyparrot.publish.object_marks import KIND_OF_REFERENCE, mark_of_body
from pyparrot.publish.repository import StoredRepository, roots_of
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs import manifest, reflog
from pyparrot.sources.cvmfs.catalog_check import check_structure, content_of, difference
from pyparrot.sources.cvmfs.catalog_counters import CatalogCounters
from pyparrot.sources.cvmfs.catalog_rows import StoredObject
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.object_sink import Nowhere, ObjectSink
from pyparrot.transport import Corrupt

_PIECE = 1 << 20
_NO_LIMIT = 1 << 63
"""Objects are unpacked and forgotten piece by piece, so their size does not matter."""

_UNDER_WAY = 256
"""Objects that are being verified at once: bounds memory, keeps the threads busy."""


class CheckReport(NamedTuple):
    """What was looked at (numbers, and bytes as stored), and what is wrong with it."""

    revisions: int
    catalogs: int
    objects: int
    bytes: int
    faults: tuple[str, ...]


def check(fqrn: str, only_current: bool, progress: Progress) -> CheckReport:
    """Check the current revision, and unless *only_current* all tagged ones."""
    repository = StoredRepository.open(fqrn)
    with _Checker(repository, progress) as checker:
        return checker.run(only_current)


class _Checker:
    def __init__(self, repository: StoredRepository, progress: Progress) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._progress = progress
        self._faults: list[str] = []
        self._objects: set[bytes] = set()
        self._totals: dict[bytes, CatalogCounters | None] = {}
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "check")
        self._under_way: deque[Future[int]] = deque()
        self._bytes = 0

    def __enter__(self) -> _Checker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, only_current: bool) -> CheckReport:
        repository = self._repository
        roots: list[tuple[str, ContentHash]] = []
        with self._noting():
            current = repository.manifest
            roots.append((f"revision {current.revision}", current.catalog))
            self._check_signatures(current)
            self._check_roots(current)
            if not only_current:
                roots += [(f"tag {tag.name}", tag.catalog) for tag in repository.tags(current)]
        for name, root in roots:
            self._check_catalog(name, root, b"")
        while self._under_way:
            self._collect()
        return CheckReport(
            len({root for _, root in roots}),
            len(self._totals),
            len(self._objects),
            self._bytes,
            tuple(self._faults),
        )

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except PyparrotError as error:
            self._faults.append(str(error))
        except (OSError, sqlite3.Error, ValueError) as error:
            self._faults.append(f"{self._storage.root}: {error}")

    def _fault(self, where: str, why: str) -> None:
        self._faults.append(f"{where}: {why}")

    def _check_signatures(self, current: Manifest) -> None:
        fqrn = self._repository.fqrn
        with self._noting():
            master = keys.load_public_key(keys.key_file(fqrn, "pub"))
            whitelist = signed_files.read_whitelist(self._storage, fqrn, master)
            signed_files.check_manifest_certificate(self._storage, current, whitelist)
            signed_files.check_keys(keys.load_signing_keys(fqrn), whitelist)

    def _check_roots(self, current: Manifest) -> None:
        for name, kind in roots_of(current):
            with self._noting():
                self._storage.read(name, KIND_OF_REFERENCE[kind])
        with self._noting():
            listed = {reference.hash for reference in self._repository.references()}
            for name, _ in roots_of(current):
                if name not in listed:
                    self._fault(reflog.FILE_NAME, f"does not list {name}")
            self._check_reflog(current)

    def _check_reflog(self, current: Manifest) -> None:
        if current.reflog is None:
            return
        log = os.path.join(self._storage.root, reflog.FILE_NAME)
        published = os.path.join(self._storage.root, manifest.FILE_NAME)
        # One that is newer than the manifest is of a publication that was cut off between the two.
        cut_off = os.stat(log).st_mtime_ns > os.stat(published).st_mtime_ns
        content = self._storage.read_file(reflog.FILE_NAME)
        if not cut_off and current.reflog.algorithm.of(content) != current.reflog:
            self._fault(log, "corrupt: it does not have the hash in the manifest")

    # Catalogs

    def _check_catalog(
        self, where: str, name: ContentHash, mountpoint: bytes
    ) -> CatalogCounters | None:
        """Check a catalog and all below it; gives what it counts, None if it can't be read."""
        key = name.digest
        if key in self._totals:
            return self._totals[key]
        self._totals[key] = None
        with self._noting():
            with self._repository.open_catalog(name) as catalog:
                label = f"{where}, catalog {os.fsdecode(mountpoint) or '/'}"
                nested = catalog.nested_catalogs()

                def fault(path: bytes, why: str) -> None:
                    inner = f"{printable(path)}: " if path != mountpoint else ""
                    self._fault(label, inner + why)

                for path, entry in check_structure(catalog, mountpoint, fault):
                    content_of(catalog, path, entry, fault)
                for stored in catalog.objects():
                    self._check_object(label, stored)
                counted = catalog.count()
                recorded, below = catalog.counters("self"), catalog.counters("subtree")
            self._totals[key] = recorded + below
            if recorded != counted:
                self._fault(label, f"counters differ: {difference(recorded, counted)}")
            totals = [self._check_catalog(where, n.hash, n.mountpoint) for n in nested]
            known = [counters for counters in totals if counters is not None]
            subtree = sum(known, CatalogCounters())
            if below != subtree and len(known) == len(totals):
                self._fault(label, f"subtree counters differ: {difference(below, subtree)}")
        return self._totals[key]

    # Objects

    def _check_object(self, label: str, stored: StoredObject) -> None:
        found = mark_of_body(stored)
        if found in self._objects:
            return
        self._objects.add(found)
        name = ContentHash(stored.digest, stored.algorithm)
        if len(self._under_way) >= _UNDER_WAY:
            self._collect()
        self._under_way.append(
            self._pool.submit(_verify, self._storage, label, name, stored.kind, stored.compression)
        )

    def _collect(self) -> None:
        with self._noting():
            self._bytes += self._under_way.popleft().result()
        self._progress.advance()


def _verify(
    storage: Storage, label: str, name: ContentHash, kind: Kind, compression: Compression
) -> int:
    """Read an object and check its hash and that it unpacks; gives its size as stored."""
    path = storage.path(name, kind)
    sink = ObjectSink(Nowhere(), name, compression, _NO_LIMIT, exact=False)
    size = 0
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(_PIECE), b""):
                size += len(piece)
                sink.write(piece)
        sink.finish()
    except FileNotFoundError:
        raise PyparrotError(path, f"missing, needed by {label}") from None
    except Corrupt as corrupt:
        raise PyparrotError(path, f"corrupt: {corrupt.why}") from None
    return size
