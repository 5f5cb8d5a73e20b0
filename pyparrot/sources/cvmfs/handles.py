"""Handles: what index files keep for this source alone (see `pyparrot.tree.entries`).

A catalog's handle is a byte for the algorithm, the digest, and its size (8 bytes) if what refers to
it says one. A body's starts with a byte that
has the algorithm in bits 0 to 2, the compression in bits 3 to 5, and two flags; then come the
digest, if there is one, and the chunks, if there are any: offset and size (8 bytes each) and
digest.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyparrot.sources.cvmfs.catalog_rows import Chunk
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import DIGEST_SIZE, Algorithm, ContentHash
from pyparrot.tree.entries import Node
from pyparrot.tree.index import BadIndexError

EXTERNAL = 64
HAS_DIGEST = 128

_NAME_SIZE = 1 + DIGEST_SIZE
_SIZE = struct.Struct("=Q")
_LIMIT = 1 << 64

CHUNK = struct.Struct(f"=QQ{DIGEST_SIZE}s")


class Body(NamedTuple):
    """A regular file's content: its size in bytes, and the objects that it is made of.

    *digest* is None if the catalog names no object for the whole, *chunks* is empty if the content
    is not in chunks. What *is_external* is found by its path, on other servers.
    """

    size: int
    algorithm: Algorithm
    compression: Compression
    digest: bytes | None
    chunks: tuple[Chunk, ...] = ()
    is_external: bool = False

    @property
    def name(self) -> ContentHash | None:
        """The hash of the object that is the whole content."""
        return None if self.digest is None else ContentHash(self.digest, self.algorithm)

    @classmethod
    def of(cls, node: Node) -> Body:
        """The content of the regular file *node*; `BadIndexError` if its handle can't be."""
        handle = node.handle
        try:
            storage = handle[0]
            start = 1 + DIGEST_SIZE if storage & HAS_DIGEST else 1
            if start > len(handle):
                raise ValueError("a digest is cut off")
            return cls(
                node.size,
                Algorithm(storage & 7),
                Compression(storage >> 3 & 7),
                handle[1:start] if storage & HAS_DIGEST else None,
                tuple(Chunk(*fields) for fields in CHUNK.iter_unpack(handle[start:])),
                bool(storage & EXTERNAL),
            )
        except (IndexError, ValueError, struct.error) as error:
            raise BadIndexError(f"a damaged index: {error}") from None


def pack_storage(algorithm: Algorithm, compression: Compression, is_external: bool) -> int:
    """The first byte of a body's handle, without `HAS_DIGEST`."""
    return algorithm | compression << 3 | (EXTERNAL if is_external else 0)


def catalog_handle(name: ContentHash, size: int = 0) -> bytes:
    """The handle of the catalog *name*, which unpacks to *size* bytes (0: not known)."""
    stated = _SIZE.pack(size) if 0 < size < _LIMIT else b""
    return bytes((name.algorithm,)) + name.digest + stated


def catalog_name(handle: bytes) -> ContentHash:
    """The name of the catalog with that *handle*; `BadIndexError` if it is none."""
    try:
        if len(handle) not in (_NAME_SIZE, _NAME_SIZE + _SIZE.size):
            raise ValueError("it names no catalog")
        return ContentHash(handle[1:_NAME_SIZE], Algorithm(handle[0]))
    except ValueError as error:
        raise BadIndexError(f"a damaged index: {error}") from None


def catalog_size(handle: bytes) -> int:
    """What the catalog with that *handle* unpacks to, in bytes; 0 if that is not known."""
    size: int = _SIZE.unpack(handle[_NAME_SIZE:])[0] if len(handle) > _NAME_SIZE else 0
    return size
