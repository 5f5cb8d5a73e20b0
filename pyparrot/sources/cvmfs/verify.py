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
from pyparrot.sources.cvmfs.catalog import DIRECTORY, EXTERNAL, NESTED_ROOT, Catalog, Entry
from pyparrot.sources.cvmfs.chunks import NOT_THE_FILE, make_up
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.object_names import stored_name
from pyparrot.sources.cvmfs.object_sink import Nowhere, ObjectSink
from pyparrot.sources.cvmfs.objects import METADATA_LIMIT

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository

_MOST_FAULTS = 1000
"""Then it is over: the server is gone, and each object would take its time to fail."""

_PACKED_EXTRA = 1 << 16


class Findings(NamedTuple):
    """What was looked at (numbers, and bytes unpacked), and what is wrong with it.

    *unchecked* external files could not be checked, as no server for them is configured.
    """

    catalogs: int
    objects: int
    bytes: int
    unchecked: int
    faults: tuple[str, ...]


def verify(repository: RemoteRepository, catalogs_only: bool, progress: Progress) -> Findings:
    """Check the revision that *repository* was opened at.

    Its cache should be empty: what is in it is not asked of the server. Catalogs go there for as
    long as they are looked at.
    """
    return _Verifier(repository, catalogs_only, progress).run()


class _MountedCatalog(NamedTuple):
    """A catalog: which one, what its root is called in itself, and where that is seen."""

    name: ContentHash
    root: bytes
    shown: bytes


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

    def run(self) -> Findings:
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
        return Findings(len(self._catalogs), objects, size, self._unchecked, tuple(self._faults))

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
        pending = [_MountedCatalog(self._repository.root, b"", b"")]
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

    def _check_catalog(self, catalog: Catalog, mounted: _MountedCatalog) -> Iterator[_Object]:
        if catalog.mountpoint != mounted.root:
            self._fault(mounted.shown, f"the catalog of {printable(catalog.mountpoint) or '/'}")
            return
        root = catalog.lookup(mounted.root)
        wanted = DIRECTORY | (NESTED_ROOT if mounted.root else 0)
        if root is None or root.flags & wanted != wanted:
            self._fault(mounted.shown, "the catalog lacks its own root directory")
            return
        counted, recorded = catalog.count(), catalog.counters("self")
        for name, number in counted.as_dict().items():
            said = recorded.as_dict()[name]
            if said and said != number:  # catalogs of older schemas do not record all
                self._fault(mounted.shown, f"the catalog counts {said} for {name}, not {number}")
        reached = 1
        for path, entry in _entries(catalog, mounted.root):
            reached += 1
            shown = mounted.shown + path[len(mounted.root) :]
            if b"/" in entry.name or entry.name in (b"", b".", b".."):
                self._fault(shown, "a bad name")
            elif entry.is_regular and not self._catalogs_only:
                yield from self._objects_of(catalog, path, shown, entry)
        if reached != counted.entries:
            left = counted.entries - reached
            self._fault(mounted.shown, f"{left} entries can't be reached from the catalog's root")

    def _objects_of(
        self, catalog: Catalog, path: bytes, shown: bytes, entry: Entry
    ) -> Iterator[_Object]:
        """The objects that a file needs, if they were not seen before."""
        external = bool(entry.flags & EXTERNAL)
        if external and self._repository.external is None:
            self._unchecked += 1
            return
        algorithm, compression = entry.algorithm, entry.compression
        pieces: list[_Object] = []
        if entry.is_chunked:
            chunks = catalog.chunks(path)
            if not make_up(chunks, entry.size):
                self._fault(shown, NOT_THE_FILE)
                chunks = ()
            for offset, size, digest in chunks:
                part = range(offset, offset + size) if external else None
                name = ContentHash(digest, algorithm)
                pieces.append(_Object(name, Kind.CHUNK, compression, size, shown, external, part))
        elif entry.digest is None:
            self._fault(shown, "it has no content")
        else:
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
        limit = min(METADATA_LIMIT << 10, stored.size + stored.size // 1000 + _PACKED_EXTRA)
        if not stored.external:
            repository.transport.fetch(stored.name.path(stored.kind), sink, limit=limit)
        else:
            assert repository.external is not None
            repository.external.fetch(stored.path, sink, limit=limit, part=stored.part)


def _below(catalog: Catalog, mounted: _MountedCatalog) -> list[_MountedCatalog]:
    """The catalogs that are mounted in *catalog*."""
    inside = [
        _MountedCatalog(
            nested.hash, nested.mountpoint, mounted.shown + nested.mountpoint[len(mounted.root) :]
        )
        for nested in catalog.nested_catalogs()
    ]
    bound = [
        _MountedCatalog(other.hash, b"", mounted.shown + other.mountpoint[len(mounted.root) :])
        for other in catalog.bind_mountpoints()
    ]
    return inside + bound


def _entries(catalog: Catalog, root: bytes) -> Iterator[tuple[bytes, Entry]]:
    """What a catalog has below its root, by the paths that it uses itself."""
    pending = [root]
    while pending:
        directory = pending.pop()
        for entry in catalog.listdir(directory):
            path = directory + b"/" + entry.name
            yield path, entry
            if entry.is_directory and not entry.is_nested:
                pending.append(path)


def _why(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, PyparrotError):
        return _why(cause)
    if isinstance(error, PyparrotError):
        missing = getattr(error, "errno", 0) == errno.ENOENT
        return "missing" if missing else error.why
    return getattr(error, "strerror", None) or str(error)
