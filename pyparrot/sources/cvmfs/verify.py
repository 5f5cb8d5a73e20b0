"""Checks a repository from outside: does the server have all that the revision needs, unharmed?

Every catalog and every object is fetched, hashed and unpacked; nothing of it is kept. Faults are
collected, not raised: one look shows all that is wrong.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.errors import PyparrotError, printable
from pyparrot.parallel import in_parallel
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_check import (
    Fault,
    check_structure,
    content_of,
    difference,
)
from pyparrot.sources.cvmfs.catalog_rows import EXTERNAL, CatalogEntry
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.object_names import stored_name
from pyparrot.sources.cvmfs.object_sink import Nowhere, ObjectSink
from pyparrot.sources.cvmfs.objects import METADATA_LIMIT, packed_limit

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository

_MOST_FAULTS = 1000
"""Then it is over: the server is gone, and each object would take its time to fail."""


class VerifyReport(NamedTuple):
    """What was looked at (numbers, and bytes unpacked), and what is wrong with it.

    *unchecked* external files could not be checked, as no server for them is configured.
    """

    catalogs: int
    objects: int
    bytes: int
    unchecked: int
    faults: tuple[str, ...]


def verify(repository: RemoteRepository, catalogs_only: bool, progress: Progress) -> VerifyReport:
    """Check the revision that *repository* was opened at.

    Its cache should be empty: what is in it is not asked of the server. Catalogs go there for as
    long as they are looked at.
    """
    return _Verifier(repository, catalogs_only, progress).run()


class _Mounted(NamedTuple):
    """A catalog: which one, what its root is called in itself, and where that is seen."""

    name: ContentHash
    root: bytes
    shown: bytes

    def seen(self, path: bytes) -> bytes:
        """Where a path that the catalog has is seen."""
        return self.shown + path[len(self.root) :]


class _Object(NamedTuple):
    """An object that a file needs; *size* is that of its content, *part* of an external file."""

    name: ContentHash
    kind: Kind
    compression: Compression
    size: int
    path: bytes
    external: bool
    part: range | None


class _Verifier:
    def __init__(
        self, repository: RemoteRepository, catalogs_only: bool, progress: Progress
    ) -> None:
        self._repository = repository
        self._catalogs_only = catalogs_only
        self._progress = progress
        self._faults: list[str] = []
        self._catalogs: set[ContentHash] = set()
        self._seen: set[object] = set()
        self._unchecked = 0

    def run(self) -> VerifyReport:
        objects = size = 0
        self._check_roots()
        for stored, future in in_parallel(self._fetch, self._objects()):
            if len(self._faults) >= _MOST_FAULTS:
                self._faults.append("too many faults: the rest was not checked")
                break
            try:
                future.result()
                objects, size = objects + 1, size + stored.size
            except (OSError, PyparrotError) as error:
                self._fault(stored.path, f"object {stored.name}{stored.kind.value}: {_why(error)}")
            self._progress.advance()
        catalogs, faults = len(self._catalogs), tuple(self._faults)
        return VerifyReport(catalogs, objects, size, self._unchecked, faults)

    def _fault(self, path: bytes, why: str) -> None:
        self._faults.append(f"{printable(path) or '/'}: {why}")

    def _check_roots(self) -> None:
        """Check what the manifest names besides the catalog; its certificate is checked already."""
        manifest = self._repository.manifest
        if manifest is None:
            return
        try:
            self._repository.tags()
        except (OSError, PyparrotError) as error:
            self._fault(b"tag database", _why(error))
        if manifest.metainfo is not None:
            try:
                self._repository.objects.metadata(manifest.metainfo, Kind.METAINFO)
            except OSError as error:
                self._fault(b"description", _why(error))

    # Catalogs

    def _objects(self) -> Iterator[_Object]:
        """Go through all catalogs, check them, and give the objects that their files need."""
        pending = [_Mounted(self._repository.root, b"", b"")]
        while pending:
            mounted = pending.pop()
            if mounted.name in self._catalogs:
                continue
            self._catalogs.add(mounted.name)
            try:
                file = self._repository.objects.metadata(mounted.name, Kind.CATALOG)
                with closing(Catalog.open(file)) as catalog:
                    pending += reversed(_below(catalog, mounted))
                    yield from self._check_catalog(catalog, mounted)
            except (OSError, PyparrotError) as error:
                self._fault(mounted.shown, f"catalog {mounted.name}: {_why(error)}")
            except BROKEN as error:
                self._fault(mounted.shown, f"bad catalog {mounted.name}: {error}")
            finally:
                self._repository.store.discard(stored_name(mounted.name, Kind.CATALOG))

    def _check_catalog(self, catalog: Catalog, place: _Mounted) -> Iterator[_Object]:
        def fault(path: bytes, why: str) -> None:
            self._fault(place.seen(path), why)

        recorded, counted = catalog.counters("self"), catalog.count()
        differing = difference(recorded, counted, all_recorded=False)
        if differing:
            fault(place.root, f"counters differ: {differing}")
        for path, entry in check_structure(catalog, place.root, fault):
            if not self._catalogs_only:
                yield from self._objects_of(catalog, path, place.seen(path), entry, fault)

    def _objects_of(
        self, catalog: Catalog, path: bytes, shown: bytes, entry: CatalogEntry, fault: Fault
    ) -> Iterator[_Object]:
        """The objects that a file needs, if they were not seen before."""
        external = bool(entry.flags & EXTERNAL)
        if external and self._repository.external is None:
            self._unchecked += 1
            return
        algorithm, compression = entry.algorithm, entry.compression
        pieces: list[_Object] = []
        for offset, size, digest in content_of(catalog, path, entry, fault):
            part = range(offset, offset + size) if external else None
            name = ContentHash(digest, algorithm)
            pieces.append(_Object(name, Kind.CHUNK, compression, size, shown, external, part))
        if entry.digest is not None and not entry.is_chunked:
            name = ContentHash(entry.digest, algorithm)
            pieces.append(_Object(name, Kind.BODY, compression, entry.size, shown, external, None))
        for piece in pieces:
            # External content is found by its path: the same hash elsewhere says nothing.
            key = piece[:3] if not external else (shown, piece.part)
            if key not in self._seen:
                self._seen.add(key)
                yield piece

    # Objects

    def _fetch(self, stored: _Object) -> None:
        repository = self._repository
        sink = ObjectSink(Nowhere(), stored.name, stored.compression, stored.size, True)
        limit = min(METADATA_LIMIT << 10, packed_limit(stored.size))
        if not stored.external:
            repository.transport.fetch(stored.name.path(stored.kind), sink, limit=limit)
        else:
            assert repository.external is not None
            repository.external.fetch(stored.path, sink, limit=limit, part=stored.part)


def _below(catalog: Catalog, place: _Mounted) -> list[_Mounted]:
    """The catalogs that are mounted in *catalog*."""
    inside = [
        _Mounted(nested.hash, nested.mountpoint, place.seen(nested.mountpoint))
        for nested in catalog.nested_catalogs()
    ]
    bound = [
        _Mounted(other.hash, b"", place.seen(other.mountpoint))
        for other in catalog.bind_mountpoints()
    ]
    return inside + bound


def _why(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, PyparrotError):
        return _why(cause)
    if isinstance(error, PyparrotError):
        missing = getattr(error, "errno", 0) == errno.ENOENT
        return "missing" if missing else error.why
    return getattr(error, "strerror", None) or str(error)
