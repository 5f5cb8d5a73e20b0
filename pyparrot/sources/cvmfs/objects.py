"""Gets objects: from the cache, else over HTTP, verified on the way and unpacked.

No byte reaches the cache before the hash of the whole object is known to be right; what an
object unpacks to is bounded by what the catalog says of it.
"""

from __future__ import annotations

import errno
import os
import zlib
from typing import TYPE_CHECKING, Protocol

from pyparrot.cache.store import ObjectStore
from pyparrot.sources.cvmfs.chunks import NOT_THE_FILE, make_up
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind
from pyparrot.transport import Corrupt, SingleFlight, Transport, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyparrot.sources.cvmfs.catalog import Chunk

METADATA_LIMIT = 1 << 30
"""The most that a catalog, history or metainfo object may unpack to, in bytes."""

_CERTIFICATE_LIMIT = 1 << 20
_CHUNKS_AT_ONCE = 8

_INFLATE_PIECE = 1 << 20
_PACKED_EXTRA = 1 << 16
"""What a packed object may have beyond its content: zlib adds at most 5 bytes in 16 kB."""


class Target(Protocol):
    """The part of a binary file that an `ObjectSink` uses."""

    def seek(self, position: int, /) -> int:
        """Go to a position."""

    def truncate(self) -> int:
        """Drop what is behind the position."""

    def write(self, data: bytes, /) -> int:
        """Write all of *data*."""

    def flush(self) -> None:
        """Let others see it."""


class ObjectSink:
    """Unpacks an object into *file*, and knows at the end whether it is the one of that *name*.

    *limit* is the most that it may unpack to, in bytes; *exact* tells whether it must be as much.
    """

    def __init__(
        self,
        file: Target,
        name: ContentHash,
        compression: Compression,
        limit: int,
        exact: bool,
    ) -> None:
        self._file = file
        self._name = name
        self._compression = compression
        self._limit = limit
        self._exact = exact
        self._size = 0
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        if self._size:  # a new file would get a dozen system calls for nothing
            self._file.seek(0)
            self._file.truncate()
        self._hasher = self._name.algorithm.hasher()
        self._stream = zlib.decompressobj() if self._compression is Compression.ZLIB else None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Take the next packed bytes."""
        self._hasher.update(data)
        if self._stream is None:
            self._put(data)
            return
        while data:
            if self._stream.eof:
                raise Corrupt("bytes behind the end of the zlib stream")
            try:
                content = self._stream.decompress(data, _INFLATE_PIECE)
            except zlib.error:
                raise Corrupt("not a zlib stream") from None
            self._put(content)
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _put(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._limit:
            raise Corrupt(f"it unpacks to more than {self._limit} bytes")
        self._file.write(content)

    def finish(self) -> None:
        """Check what came."""
        if self._name.algorithm.finish(self._hasher) != self._name:
            raise Corrupt("its content does not have the hash in its name")
        if self._stream is not None and not self._stream.eof:
            raise Corrupt("the zlib stream is cut off")
        if self._exact and self._size != self._limit:
            raise Corrupt(f"it unpacks to {self._size} bytes, not {self._limit}")
        self._file.flush()


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
        self._flights: SingleFlight[str, str] = SingleFlight()

    def metadata(self, name: ContentHash, kind: Kind) -> str:
        """The path of an unpacked catalog, history, certificate or metainfo object."""
        limit = _CERTIFICATE_LIMIT if kind is Kind.CERTIFICATE else METADATA_LIMIT
        return self._object(name, kind, Compression.ZLIB, limit, exact=False)

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
        if body.chunks:
            key = _chunked_name(body)
        elif body.name is not None:
            key = str(body.name) + Kind.BODY.value
        else:
            return False
        return self._store.find(key, body.size) is not None

    def _object(
        self,
        name: ContentHash,
        kind: Kind,
        compression: Compression,
        limit: int,
        exact: bool,
        external_path: bytes | None = None,
    ) -> str:
        key = str(name) + kind.value

        def fetch() -> str:
            with self._store.writing() as file:
                sink = ObjectSink(file, name, compression, limit, exact)
                self._fetch(sink, name, kind, limit, external_path, None)
                return self._store.add(key, file.name)

        return self._get(key, limit if exact else None, fetch)

    def _get(self, key: str, size: int | None, fetch: Callable[[], str]) -> str:
        found = self._store.find(key, size)
        if found is not None:
            return found

        def fetch_if_missing() -> str:
            with self._store.alone(key):
                # Somebody may have got it since the first look.
                return self._store.find(key, size) or self._store.with_space(fetch)

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
        limit = size + size // 1000 + _PACKED_EXTRA
        if external_path is None:
            self._transport.fetch(name.path(kind), sink, limit=limit)
        elif self._external is None:
            raise OSError(errno.EIO, "an external file, and no CVMFS_EXTERNAL_URL is configured")
        else:
            self._external.fetch(external_path, sink, limit=limit, part=part)

    # Chunked files

    def _chunked(self, body: Body, path: bytes) -> str:
        """A chunked file is put together when it is first opened, its chunks side by side."""
        key = _chunked_name(body)

        def fetch() -> str:
            with self._store.writing() as file:
                file.truncate(body.size)
                self._fetch_chunks(file.fileno(), body, path if body.is_external else None)
                return self._store.add(key, file.name)

        return self._get(key, body.size, fetch)

    def _fetch_chunks(self, descriptor: int, body: Body, external_path: bytes | None) -> None:
        if not make_up(body.chunks, body.size):
            raise OSError(errno.EIO, NOT_THE_FILE)

        def fetch(chunk: Chunk) -> None:
            name = ContentHash(chunk.digest, body.algorithm)
            part = range(chunk.offset, chunk.offset + chunk.size) if external_path else None
            # Right into its place: the file gets its name when all chunks are known to be right.
            place = _Place(descriptor, chunk.offset)
            sink = ObjectSink(place, name, body.compression, chunk.size, True)
            self._fetch(sink, name, Kind.CHUNK, chunk.size, external_path, part)

        from concurrent.futures import ThreadPoolExecutor  # few files have chunks

        with ThreadPoolExecutor(_CHUNKS_AT_ONCE, "chunk") as pool:
            try:
                list(pool.map(fetch, body.chunks))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _chunked_name(body: Body) -> str:
    """The name of a whole chunked file: a hash over its chunks, told apart by a letter."""
    hasher = Algorithm.SHA1.hasher()
    storage = int(body.algorithm), int(body.compression)
    for chunk in body.chunks:
        hasher.update(b"%d %d %d %d " % (chunk.offset, chunk.size, *storage) + chunk.digest)
    return str(Algorithm.SHA1.finish(hasher)) + "W"


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
