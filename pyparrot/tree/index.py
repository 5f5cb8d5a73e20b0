"""Index files: catalogs in the form that look-ups need.

The format and its rules stand in ``csrc/core/index.h``; here it is made from a catalog, and mapped.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pyparrot.core import ffi, lib
from pyparrot.sources.cvmfs.catalog import (
    BIND_MOUNTPOINT,
    CHUNKED,
    NESTED_MOUNTPOINT,
    Chunk,
    NestedCatalog,
    path_hash,
)
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import DIGEST_SIZE, Algorithm, ContentHash

if TYPE_CHECKING:
    from pyparrot.core import PpRecord

ROOT_HASH: int = lib.PP_HASH_ROOT
"""The path hash of a repository's root directory."""

_ROW = struct.Struct("<qqqqqqQIIIIIIIIIIHH20sBB6x")
_CHUNK = struct.Struct("<QQ20s4x")
_NO_DIGEST = bytes(DIGEST_SIZE)
_MASK = 0xFFFFFFFF
_DEEPEST = 4096
_MOUNTPOINT = NESTED_MOUNTPOINT | BIND_MOUNTPOINT
_FAULTS = (
    "",
    "out of memory",
    "no root directory",
    "a bad name",
    "a bad symlink",
    "a type that its flags contradict",
    "a name that is there twice",
    "a number that can't be",
    "an unknown hash or compression algorithm",
    "a directory that is below itself",
    "more than an index can hold",
)


class BadCatalogError(ValueError):
    """A catalog that can't be true: its text says why."""


class Source(Protocol):
    """What an index is made from: a `Catalog`, or what has the same rows."""

    @property
    def revision(self) -> int:
        """The revision that it is of."""

    def get_property(self, name: str) -> str | None:
        """A property's value."""

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """As `Catalog.rows`."""

    def all_chunks(self) -> Iterator[tuple[tuple[int, int], Chunk]]:
        """As `Catalog.all_chunks`."""

    def nested_catalogs(self) -> list[NestedCatalog]:
        """As `Catalog.nested_catalogs`."""

    def bind_mountpoints(self) -> list[NestedCatalog]:
        """As `Catalog.bind_mountpoints`."""


def build(catalog: Source, name: ContentHash, root: bytes, root_hash: int, file: str) -> None:
    """Write the index of *catalog* to the new *file*.

    *name* is the catalog's hash, *root* the path of its root directory in the catalog itself (its
    mountpoint, or empty), *root_hash* the hash of the path where that directory is seen.
    `BadCatalogError` if the catalog is broken or hostile.
    """
    try:
        rows, row_count, texts, chunks = _pack(catalog)
        revision, ttl = catalog.revision, int(catalog.get_property("TTL") or 0)
        if not (0 <= revision < 1 << 63 and 0 <= ttl < 1 << 63):
            raise ValueError("its revision or TTL can't be")
    except (struct.error, *BROKEN) as error:
        raise BadCatalogError(f"catalog {name}: {error}") from None
    builder = ffi.gc(
        lib.pp_builder_new(
            ffi.from_buffer("struct pp_row[]", rows),
            row_count,
            ffi.from_buffer(texts),
            len(texts),
            ffi.from_buffer("struct pp_chunk[]", chunks),
            len(chunks) // _CHUNK.size,
            path_hash(root),
            root_hash,
        ),
        lib.pp_builder_free,
    )
    if builder == ffi.NULL:
        raise MemoryError
    bad_row = ffi.new("size_t *")
    fault = lib.pp_builder_plan(builder, bad_row)
    if fault:
        raise _bad_row(name, fault, rows, texts, bad_row[0])
    size = lib.pp_builder_size(builder)
    with open(file, "xb+") as output:
        os.posix_fallocate(output.fileno(), 0, size)  # a full disk must not be a SIGBUS
        with mmap.mmap(output.fileno(), size) as mapped:
            target = ffi.from_buffer(mapped, require_writable=True)
            try:
                digest, algorithm = name
                fault = lib.pp_builder_fill(builder, target, digest, algorithm, revision, ttl)
            finally:
                ffi.release(target)  # a file can't be unmapped while something refers to it
    if fault:
        os.unlink(file)
        raise BadCatalogError(f"catalog {name}: {_FAULTS[fault]}")


def _bad_row(name: ContentHash, fault: int, rows: bytes, texts: bytes, row: int) -> Exception:
    why = _FAULTS[fault]
    if (row + 1) * _ROW.size > len(rows):
        return BadCatalogError(f"catalog {name}: {why}")
    fields = _ROW.unpack_from(rows, row * _ROW.size)
    text, length = fields[6], fields[17]
    return BadCatalogError(f"catalog {name}: {why}: {texts[text : text + length]!r}")


def _pack(catalog: Source) -> tuple[bytes, int, bytes, bytes]:
    """All rows, their texts and chunks in the form of ``struct pp_row`` and ``pp_chunk``."""
    chunk_ranges, chunks = _pack_chunks(catalog)
    nested = {path_hash(n.mountpoint): n.hash for n in catalog.nested_catalogs()}
    nested.update((path_hash(n.mountpoint), n.hash) for n in catalog.bind_mountpoints())
    packed: list[bytes] = []
    texts: list[bytes] = []
    position = 0
    pack, no_chunks = _ROW.pack, (0, 0)
    # A catalog may have a million rows: one flat loop, and no object a row but its bytes.
    for row in catalog.rows():
        (a, b, c, d, name, flags, mode, size, mtime, mtime_ns, uid, gid, links, digest) = row[:14]
        symlink, xattr = row[14], row[15] or b""
        has_digest, algorithm = 1, 0
        if flags & _MOUNTPOINT:
            if (a, b) not in nested:
                raise BadCatalogError(f"no catalog for the mountpoint {name!r}")
            digest, algorithm = nested[a, b]
        if digest is None:
            digest, has_digest = _NO_DIGEST, 0
        elif len(digest) != DIGEST_SIZE:
            raise BadCatalogError(f"a hash of {len(digest)} bytes: {name!r}")
        first_chunk, chunk_count = (
            chunk_ranges.get((a, b), no_chunks) if flags & CHUNKED else no_chunks
        )
        text = name + symlink + xattr
        packed.append(
            pack(
                *(a, b, c, d, size, mtime, position, mtime_ns or 0, mode, uid & _MASK, gid & _MASK),
                *(links & _MASK or 1, links >> 32 & _MASK, flags & _MASK),
                *(first_chunk, chunk_count, len(xattr), len(name), len(symlink)),
                *(digest, has_digest, algorithm),
            )
        )
        texts.append(text)
        position += len(text)
    return b"".join(packed), len(packed), b"".join(texts), chunks


def _pack_chunks(catalog: Source) -> tuple[dict[tuple[int, int], tuple[int, int]], bytes]:
    ranges: dict[tuple[int, int], tuple[int, int]] = {}
    packed: list[bytes] = []
    for key, chunk in catalog.all_chunks():
        if len(chunk.digest) != DIGEST_SIZE:
            raise BadCatalogError(f"a chunk's hash of {len(chunk.digest)} bytes")
        first, count = ranges.get(key, (len(packed), 0))
        ranges[key] = (first, count + 1)
        packed.append(_CHUNK.pack(*chunk))
    return ranges, b"".join(packed)


class Node(NamedTuple):
    """What an index says of one name.

    *size* is in bytes (st_rdev for devices), *mtime* in nanoseconds of unix time, *target* a
    symlink's as it is stored, *digest* names the body or the nested catalog, *chunks* are those of
    a chunked body, *xattrs* a blob.
    """

    name: bytes
    inode: int
    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    nlink: int
    flags: int
    algorithm: Algorithm
    compression: Compression
    digest: bytes
    target: bytes
    chunks: tuple[Chunk, ...]
    xattrs: bytes


class Index:
    """An index file, mapped. It stays mapped as long as anything refers to it.

    *file* is a name by which other processes can open it, as long as this one lives; *path* is
    where its root directory is in the repository.
    """

    def __init__(self, file: str, path: bytes = b"", keep: bool = False) -> None:
        """With *keep* the file may be unlinked afterwards."""
        self.path = path
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            # Nothing can't be mapped.
            self._mapped = mmap.mmap(opened.fileno(), size, prot=mmap.PROT_READ) if size else b""
            self._kept = os.dup(opened.fileno()) if keep else -1
        self.file = f"/proc/{os.getpid()}/fd/{self._kept}" if keep else os.path.abspath(file)
        self._buffer = ffi.from_buffer(self._mapped)
        self.pointer = ffi.new("struct pp_index *")
        if lib.pp_index_open(self.pointer, self._buffer, len(self._mapped)) != 0:
            raise BadCatalogError(f"{file}: not an index of this version, or damaged")

    def __del__(self) -> None:
        if getattr(self, "_kept", -1) >= 0:
            os.close(self._kept)

    @property
    def root_hash(self) -> int:
        """The hash of the path where the catalog's root directory is seen."""
        value: int = self.pointer.header.root_hash
        return value

    @property
    def entries(self) -> int:
        """The number of names, the root directory among them."""
        value: int = self.pointer.header.entries
        return value

    @property
    def revision(self) -> int:
        """The repository's revision in which the catalog was made."""
        value: int = self.pointer.header.revision
        return value

    @property
    def ttl(self) -> int:
        """How many seconds the catalog may be taken for the newest; 0 if it does not say."""
        value: int = self.pointer.header.ttl
        return value

    @property
    def catalog(self) -> ContentHash:
        """The catalog's hash."""
        header = self.pointer.header
        return ContentHash(bytes(header.catalog), Algorithm(header.algorithm))

    def node(self, record: PpRecord) -> Node:
        """What *record* (a ``struct pp_record *`` of this index) says.

        `BadCatalogError` if that can't be.
        """
        length, target_length = record.name_length, record.target_length
        text = bytes(ffi.buffer(ffi.addressof(record, "text"), length + target_length + 1))
        chunks, attributes = self._extra(record)
        try:
            algorithm = Algorithm(record.storage & 7)
            compression = Compression(record.storage >> 3 & 7)
        except ValueError as error:
            raise BadCatalogError(f"a damaged index: {error}") from None
        return Node(
            name=text[:length],
            inode=record.inode,
            mode=record.mode,
            size=record.size,
            mtime=record.mtime * 1_000_000_000 + record.mtime_ns,
            uid=record.uid,
            gid=record.gid,
            nlink=record.nlink,
            flags=record.flags,
            algorithm=algorithm,
            compression=compression,
            digest=bytes(record.digest),
            target=text[length + 1 :],
            chunks=chunks,
            xattrs=attributes,
        )

    def path_of(self, record: PpRecord) -> bytes:
        """The path of *record* in the repository."""
        names: list[bytes] = []
        while record != lib.pp_index_root(self.pointer) and len(names) < _DEEPEST:
            names.append(bytes(ffi.buffer(record.text, record.name_length)))
            record = lib.pp_index_record(self.pointer, record.parent)
        return b"/".join([self.path, *reversed(names)])

    def children(self, record: PpRecord) -> Iterator[Node]:
        """What the directory *record* holds, hidden names left out, in the order of their bytes."""
        child = lib.pp_index_record(self.pointer, record.first_child)
        for _ in range(record.children):
            if child == ffi.NULL:
                raise BadCatalogError("a damaged index: a directory ends early")
            if not child.flags & lib.PP_HIDDEN:
                yield self.node(child)
            child = lib.pp_index_next(self.pointer, child)

    def _extra(self, record: PpRecord) -> tuple[tuple[Chunk, ...], bytes]:
        size = ffi.new("size_t *")
        extra = lib.pp_index_extra(self.pointer, record, size)
        if extra == ffi.NULL:
            return (), b""
        content = bytes(ffi.buffer(extra, size[0]))
        split = size[0] - record.xattr_size
        chunks = tuple(Chunk(*fields) for fields in _CHUNK.iter_unpack(content[:split]))
        return chunks, content[split:]
