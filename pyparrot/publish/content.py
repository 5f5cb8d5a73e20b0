"""Packs and stores bodies, in parallel.

The calling thread finds the work and gets every result, in the order of submission; a pool of
threads compresses, hashes and writes (zlib, hashlib and system calls release the GIL). What is
under way is bounded, in bytes, so a tree of any size takes the same memory.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.errors import naming
from pyparrot.publish.input import changed, source_error
from pyparrot.publish.settings import Settings
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs.catalog_rows import (
    CHUNKED,
    CatalogEntry,
    Chunk,
    storage_flags,
)
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind

_BATCH_FILES = 32
_BATCH_BYTES = 1 << 20
_PIECE = 1 << 20
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

WHOLE_LIMIT = 32 << 20
"""A body up to this size is packed in memory; a larger one, if it isn't chunked, piece by piece."""


class StoredBody(NamedTuple):
    """Where a body is stored: what its catalog entry says of it, and its chunks if it has any."""

    flags: int
    digest: bytes | None
    chunks: tuple[Chunk, ...] = ()


class _Stored(NamedTuple):
    name: ContentHash
    new_bytes: int


class _Work(NamedTuple):
    future: Future[Any]
    size: int
    finish: Callable[[Any], None]


class BodyStore:
    """Stores the bodies of files and whole objects. Use as a context manager.

    Callbacks run in the calling thread, in the order of submission, during `add…` and `finish`.
    Any failure (`PyparrotError`, `OSError`) is raised there too. *new_objects* and *new_bytes*
    count what was not in the storage before.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._flags = storage_flags(settings.algorithm, settings.compression)
        workers = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(workers, "pack")
        self._under_way: deque[_Work] = deque()
        self._bytes_under_way = 0
        # Every worker has something to do, and something next.
        self._limit = 2 * workers * max(settings.chunk_maximum, WHOLE_LIMIT // 4)
        self._batch: list[tuple[bytes, CatalogEntry, Callable[[StoredBody], None]]] = []
        self._batch_bytes = 0
        self.new_objects = 0
        self.new_bytes = 0

    def __enter__(self) -> BodyStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, file: bytes, entry: CatalogEntry, done: Callable[[StoredBody], None]) -> None:
        """Store the body of *file*, which must be as *entry* says, and call *done*."""
        if self._settings.chunking and entry.size > self._settings.chunk_minimum:
            self._add_large(file, entry, done)
            return
        self._batch.append((file, entry, done))
        self._batch_bytes += entry.size
        if len(self._batch) >= _BATCH_FILES or self._batch_bytes >= _BATCH_BYTES:
            self._flush()

    def add_object(self, file: str, kind: Kind, done: Callable[[ContentHash], None]) -> None:
        """Store the content of *file* as an object that is always compressed; *file* is removed."""

        def finish(stored: _Stored) -> None:
            self._count(stored)
            done(stored.name)

        size = os.stat(file).st_size
        self._submit(size, finish, self._store_object, file, kind)

    def add_stream(
        self, read: Callable[[int], bytes], size: int, done: Callable[[StoredBody], None]
    ) -> None:
        """Store a body that is read by *read* (a file's method), which gives *size* bytes."""
        if self._settings.chunking and size > self._settings.chunk_minimum:
            self._cut(read, size, done)
        elif size <= WHOLE_LIMIT:
            self._submit_whole(_read_exactly(read, size), done)
        else:
            self._finish_body(self._store_pieces(read, size), done)

    def after(self, done: Callable[[], None]) -> None:
        """Call *done* when everything that was added before has been stored."""
        self._flush()
        if self._under_way:
            self._submit(0, lambda _: done(), int)
        else:
            done()

    def finish(self) -> None:
        """Wait until everything is stored and all callbacks have run, also what those add."""
        while self._batch or self._under_way:
            self._flush()
            self._collect(0)

    # In the calling thread

    def _flush(self) -> None:
        if not self._batch:
            return
        batch, size = self._batch, self._batch_bytes
        self._batch, self._batch_bytes = [], 0

        def finish(results: Sequence[_Stored]) -> None:
            for (_, _, done), stored in zip(batch, results):
                self._finish_body(stored, done)

        files = [(file, entry) for file, entry, _ in batch]
        self._submit(max(size, _BATCH_BYTES), finish, self._store_batch, files)

    def _add_large(
        self, file: bytes, entry: CatalogEntry, done: Callable[[StoredBody], None]
    ) -> None:
        with _opened(file, entry) as descriptor:
            self._cut(_reader(descriptor, file), entry.size, done)

    def _cut(
        self, read: Callable[[int], bytes], size: int, done: Callable[[StoredBody], None]
    ) -> None:
        settings = self._settings
        chunks: list[Chunk] = []
        window = bytearray()
        start = 0
        while start < size:
            missing = min(settings.chunk_maximum, size - start) - len(window)
            window += _read_exactly(read, missing)
            length = lib.pp_chunk_cut(
                ffi.from_buffer("uint8_t[]", window),
                len(window),
                settings.chunk_minimum,
                settings.chunk_average,
                settings.chunk_maximum,
            )
            content = bytes(memoryview(window)[:length])
            del window[:length]
            if length == size:
                self._submit_whole(content, done)
                return
            finish = self._chunk_finisher(chunks, start, length, done, start + length == size)
            self._submit(length, finish, self._store_bytes, content, Kind.CHUNK)
            start += length

    def _chunk_finisher(
        self,
        chunks: list[Chunk],
        start: int,
        length: int,
        done: Callable[[StoredBody], None],
        last: bool,
    ) -> Callable[[_Stored], None]:
        def finish(stored: _Stored) -> None:
            self._count(stored)
            chunks.append(Chunk(start, length, stored.name.digest))
            if last:
                done(StoredBody(self._flags | CHUNKED, None, tuple(chunks)))

        return finish

    def _submit_whole(self, content: bytes, done: Callable[[StoredBody], None]) -> None:
        def finish(stored: _Stored) -> None:
            self._finish_body(stored, done)

        self._submit(len(content), finish, self._store_bytes, content, Kind.BODY)

    def _submit(
        self, size: int, finish: Callable[[Any], None], function: Callable[..., Any], *args: Any
    ) -> None:
        self._collect(max(0, self._limit - size))
        self._bytes_under_way += size
        self._under_way.append(_Work(self._pool.submit(function, *args), size, finish))

    def _collect(self, limit: int) -> None:
        """Take results until at most *limit* bytes are under way, and what is done anyway."""
        while self._under_way and (
            self._bytes_under_way > limit or self._under_way[0].future.done()
        ):
            work = self._under_way.popleft()
            self._bytes_under_way -= work.size
            work.finish(work.future.result())

    def _finish_body(self, stored: _Stored, done: Callable[[StoredBody], None]) -> None:
        """Count a body that is stored whole, and hand it over."""
        self._count(stored)
        done(StoredBody(self._flags, stored.name.digest))

    def _count(self, stored: _Stored) -> None:
        self.new_objects += stored.new_bytes > 0
        self.new_bytes += stored.new_bytes

    # In the pool's threads

    def _store_batch(self, files: list[tuple[bytes, CatalogEntry]]) -> list[_Stored]:
        return [self._store_file(file, entry) for file, entry in files]

    def _store_file(self, file: bytes, entry: CatalogEntry) -> _Stored:
        with _opened(file, entry) as descriptor:
            if entry.size > WHOLE_LIMIT:
                return self._store_pieces(_reader(descriptor, file), entry.size)
            content = _read_file(descriptor, file, entry.size)
        return self._store_bytes(content, Kind.BODY)

    def _store_bytes(self, content: bytes, kind: Kind) -> _Stored:
        packed = self._settings.compression.pack(content)
        name = self._settings.algorithm.of(packed)
        return _Stored(name, self._storage.put(name, kind, packed))

    def _store_object(self, file: str, kind: Kind) -> _Stored:
        with open(file, "rb") as stream:
            packed = Compression.ZLIB.pack(stream.read())
        os.unlink(file)
        name = self._settings.algorithm.of(packed)
        return _Stored(name, self._storage.put(name, kind, packed))

    def _store_pieces(self, read: Callable[[int], bytes], size: int) -> _Stored:
        packer = self._settings.compression.packer()
        hasher = self._settings.algorithm.hasher()
        temporary = self._storage.temporary_file()
        with open(temporary, "xb") as output:

            def write(packed: bytes) -> None:
                hasher.update(packed)
                with naming(temporary):
                    output.write(packed)
                    output.flush()

            # Not to the end of the file: someone may be adding to it as fast as it is read.
            for start in range(0, size, _PIECE):
                write(packer.add(_read_exactly(read, min(_PIECE, size - start))))
            write(packer.end())
        name = self._settings.algorithm.finish(hasher)
        return _Stored(name, self._storage.adopt(temporary, name, Kind.BODY))


@contextlib.contextmanager
def _opened(file: bytes, entry: CatalogEntry) -> Iterator[int]:
    """Open *file* of a source to read its body, which must be as *entry* says before and after."""
    try:
        descriptor = os.open(file, _OPEN_FLAGS)
    except OSError as error:
        raise source_error(file, error) from None
    try:
        _check_unchanged(descriptor, file, entry)
        yield descriptor
        _check_unchanged(descriptor, file, entry)
    except EOFError:
        raise changed(file) from None
    finally:
        os.close(descriptor)


def _check_unchanged(descriptor: int, file: bytes, entry: CatalogEntry) -> None:
    status = os.fstat(descriptor)
    known = (entry.size, entry.mtime * 1_000_000_000 + (entry.mtime_ns or 0))
    if (status.st_size, status.st_mtime_ns) != known or not stat.S_ISREG(status.st_mode):
        raise changed(file)


def _reader(descriptor: int, file: bytes) -> Callable[[int], bytes]:
    """Reads from the open *file* of a source."""

    def read(size: int) -> bytes:
        try:
            return os.read(descriptor, size)
        except OSError as error:
            raise source_error(file, error) from None

    return read


def _read_file(descriptor: int, file: bytes, size: int) -> bytes:
    try:
        content = os.read(descriptor, size + 1)
        while 0 < len(content) < size:
            more = os.read(descriptor, size - len(content))
            if not more:
                break
            content += more
    except OSError as error:
        raise source_error(file, error) from None
    if len(content) != size:
        raise changed(file)
    return content


def _read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Exactly *size* bytes of *read*; `EOFError` if there are fewer."""
    pieces = []
    while size:
        piece = read(min(size, 16 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
