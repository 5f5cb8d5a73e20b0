"""Gets objects: from the cache, else over HTTP, verified on the way and unpacked.

No byte reaches the cache before the hash of the whole object is known to be right; what an
object unpacks to is bounded by what the catalog says of it.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, Callable, TypeVar

from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError
from pyparrot.single_flight import SingleFlight
from pyparrot.sources.cvmfs.catalog_rows import Chunk
from pyparrot.sources.cvmfs.chunks import NOT_THE_FILE, make_up
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.object_names import chunked_name, stored_name
from pyparrot.sources.cvmfs.object_sink import ObjectSink
from pyparrot.transport import Transport, TransportError
from pyparrot.tree.damage import is_damage, reason

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

METADATA_LIMIT = 1 << 30
"""The most that a catalog, history or metainfo object may unpack to, in bytes."""

_SPARE_METADATA = 16 << 20
_MOST_GROWTH = 8
"""What a catalog may unpack to: so much, and so many times what is stated. Old versions of the
official tools stated sizes that are not exact."""

_CERTIFICATE_LIMIT = 1 << 20
_CHUNKS_AT_ONCE = 16

_PACKED_EXTRA = 1 << 16
"""What a packed object may have beyond its content: zlib adds at most 5 bytes in 16 kB."""

_Result = TypeVar("_Result")


class Objects:
    """The objects of one repository, by hash. Any number of threads may ask.

    *external* fetches what lies outside of the repository. Failures are `OSError`: EIO with the
    reason if an object can't be had, ENOSPC if there is no room for it.
    """

    def __init__(
        self, store: ObjectStore, transport: Transport, external: Transport | None
    ) -> None:
        self._store = store
        self._transport = transport
        self._external = external
        self._flights: SingleFlight[ObjectName, str] = SingleFlight()
        self._hopeless: set[ObjectName] = set()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def metadata(self, name: ContentHash, kind: Kind, stated: int = 0) -> str:
        """The path of an unpacked catalog, history, certificate or metainfo object.

        *stated* is what it unpacks to (bytes) as what refers to it says; 0 if it says nothing.
        """
        limit = _CERTIFICATE_LIMIT if kind is Kind.CERTIFICATE else METADATA_LIMIT
        if stated:
            limit = min(limit, _SPARE_METADATA + _MOST_GROWTH * stated)
        return self._object(name, kind, Compression.ZLIB, limit, exact=False)

    def read(
        self, name: ContentHash, kind: Kind, use: Callable[[str], _Result], stated: int = 0
    ) -> _Result:
        """What *use* makes of the file of an object, as `metadata` gives it.

        If it fails, the file in the cache is taken for damaged: it is thrown away, the object
        fetched again, and *use* called once more. What fails then, too, is so at its publisher's,
        and not fetched a third time as long as this lives. `OSError` if it can't be fetched again,
        and what *use* raises if that does not help.
        """
        file = self.metadata(name, kind, stated)
        key = stored_name(name, kind)
        try:
            return use(file)
        except (OSError, PyparrotError, *BROKEN) as error:
            if key in self._hopeless or not is_damage(error):
                raise
            why = reason(error)
        self._store.discard(key)
        try:
            file = self.metadata(name, kind, stated)
        except OSError as error:
            again = f"{why}; and it can't be fetched again: {reason(error)}"
            raise OSError(error.errno, again, file) from None
        try:
            return use(file)
        except (OSError, PyparrotError, *BROKEN):
            self._hopeless.add(key)
            raise

    def body(self, body: Body, path: bytes) -> str:
        """The path of a file's content; *path* is where the file is in the repository."""
        if body.chunks:
            return self._chunked(body, path)
        if body.name is None or not any(body.name.digest):
            raise OSError(errno.EIO, "its catalog names no content for it", os.fsdecode(path))
        source = path if body.is_external else None
        return self._object(body.name, Kind.BODY, body.compression, body.size, True, source)

    def cached(self, body: Body) -> bool:
        """Whether a file's content is there already."""
        name = _name_of(body)
        return name is not None and self._store.find(name, body.size) is not None

    def _object(
        self,
        name: ContentHash,
        kind: Kind,
        compression: Compression,
        limit: int,
        exact: bool,
        external_path: bytes | None = None,
    ) -> str:
        key = stored_name(name, kind)

        def fetch(file: BinaryIO) -> ObjectName:
            sink = ObjectSink(file, name, compression, limit, exact)
            self._fetch(sink, name, kind, limit, external_path, None)
            return key

        return self._get(key, limit if exact else None, fetch)

    def _get(
        self, key: ObjectName, size: int | None, fetch: Callable[[BinaryIO], ObjectName]
    ) -> str:
        found = self._store.find(key, size)
        if found is not None:
            return found

        def fetch_if_missing() -> str:
            with self._store.alone(key):
                # Another process may have got it since the first look.
                return self._store.find(key, size) or self._store.write(fetch)

        try:
            return self._flights.run(key, fetch_if_missing)
        except TransportError as error:
            raise OSError(errno.EIO, str(error)) from error

    def _fetch(
        self,
        sink: ObjectSink,
        name: ContentHash,
        kind: Kind,
        size: int,
        external_path: bytes | None,
        part: range | None,
    ) -> None:
        limit = packed_limit(size)
        if external_path is None:
            self._transport.fetch(name.path(kind), sink, limit=limit)
        elif self._external is None:
            raise OSError(errno.EIO, "an external file, and no CVMFS_EXTERNAL_URL is configured")
        else:
            self._external.fetch(external_path, sink, limit=limit, part=part)

    # Chunked files

    def _chunked(self, body: Body, path: bytes) -> str:
        """A chunked file is put together when it is first opened, its chunks side by side."""
        key = chunked_name(body.chunks, body.algorithm, body.compression)

        def fetch(file: BinaryIO) -> ObjectName:
            file.truncate(body.size)
            self._fetch_chunks(file.fileno(), body, path)
            return key

        return self._get(key, body.size, fetch)

    def _fetch_chunks(self, descriptor: int, body: Body, path: bytes) -> None:
        external_path = path if body.is_external else None
        if not make_up(body.chunks, body.size):
            raise OSError(errno.EIO, NOT_THE_FILE, os.fsdecode(path))

        def fetch(chunk: Chunk) -> None:
            name = ContentHash(chunk.digest, body.algorithm)
            part = range(chunk.offset, chunk.offset + chunk.size) if external_path else None
            # Right into its place: the file gets its name when all chunks are known to be right.
            place = _Place(descriptor, chunk.offset)
            sink = ObjectSink(place, name, body.compression, chunk.size, True)
            self._fetch(sink, name, Kind.CHUNK, chunk.size, external_path, part)

        from concurrent.futures import wait

        pool = self._chunk_pool()
        under_way = [pool.submit(fetch, chunk) for chunk in body.chunks]
        try:
            for each in under_way:
                each.result()
        except BaseException:
            for each in under_way:
                each.cancel()
            wait(under_way)  # they write to the file, which is closed next
            raise

    def _chunk_pool(self) -> ThreadPoolExecutor:
        """The threads that fetch chunks: as many for all files together as have connections."""
        from concurrent.futures import ThreadPoolExecutor  # few files have chunks

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_CHUNKS_AT_ONCE, "chunk")
            return self._pool

    def close(self) -> None:
        """End the threads; what waits for them fails."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def packed_limit(size: int) -> int:
    """The most bytes that an object may have which unpacks to *size* bytes."""
    return size + size // 1000 + _PACKED_EXTRA


def _name_of(body: Body) -> ObjectName | None:
    """The name of a file's content in the store; None if its catalog names no content."""
    if body.chunks:
        return chunked_name(body.chunks, body.algorithm, body.compression)
    return None if body.name is None else stored_name(body.name, Kind.BODY)


class _Place:
    """A part of a file, to be written as if it were a file; of no more than its size."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self._start = self._position = start

    def seek(self, position: int, /) -> int:
        self._position = self._start + position
        return position

    def truncate(self) -> int:
        return 0  # what comes next covers all that was there

    def write(self, data: bytes, /) -> int:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, self._position)
            self._position += written
            rest = rest[written:]
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""
