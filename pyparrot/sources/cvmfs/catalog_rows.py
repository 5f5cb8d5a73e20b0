"""What a catalog's rows hold: entries with their flags, chunks, references to nested catalogs.

Source: CernVM-FS ``catalog_sql.h``, whose names and bits the flags have.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind

DIRECTORY = 1
NESTED_MOUNTPOINT = 2
FILE = 4
SYMLINK = 8
SPECIAL = 16
NESTED_ROOT = 32
CHUNKED = 64
EXTERNAL = 128
BIND_MOUNTPOINT = 0x4000
HIDDEN = 0x8000

_HASH_SHIFT = 8
_COMPRESSION_SHIFT = 11
STORAGE = 7 << _HASH_SHIFT | 7 << _COMPRESSION_SHIFT
"""The flags that tell how a body is named and stored."""

_PATH_HASH = struct.Struct("<qq")

PathKey = tuple[int, int]


def path_key(path: bytes) -> PathKey:
    """The key of a path: its MD5, as two little-endian signed words."""
    first, second = _PATH_HASH.unpack(hashlib.md5(path, usedforsecurity=False).digest())
    return first, second


def parent_key(path: bytes) -> PathKey:
    """The key of a path's parent; zeros for the root."""
    return path_key(path.rpartition(b"/")[0]) if path else (0, 0)


class Chunk(NamedTuple):
    """A piece of a file: where it stands in the file, its size, and its object's digest."""

    offset: int
    size: int
    digest: bytes


class CatalogEntry(NamedTuple):
    """A row of a catalog: a name and all that is known of it.

    *size* is in bytes (for devices st_rdev), *mtime* in unix seconds with *mtime_ns* beside it
    (None: not recorded), *digest* names the body (None for a chunked file or what has no body),
    *hardlinks* holds the link group above and the link count below bit 32, *xattr* is a blob as
    `xattrs` packs it.
    """

    name: bytes
    flags: int
    mode: int
    size: int
    mtime: int
    mtime_ns: int | None
    uid: int
    gid: int
    hardlinks: int = 1
    digest: bytes | None = None
    symlink: bytes = b""
    xattr: bytes | None = None

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory, mounted or not."""
        return bool(self.flags & DIRECTORY)

    @property
    def is_regular(self) -> bool:
        """Whether this is a file with a body."""
        return self.flags & (FILE | SYMLINK | SPECIAL) == FILE

    @property
    def is_nested(self) -> bool:
        """Whether the directory's content stands in a nested catalog."""
        return bool(self.flags & NESTED_MOUNTPOINT)

    @property
    def is_chunked(self) -> bool:
        """Whether the body is stored in chunks."""
        return bool(self.flags & CHUNKED)

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the body's or the chunks' hashes; `ValueError` if unknown."""
        return algorithm_of(self.flags)

    @property
    def compression(self) -> Compression:
        """How body or chunks are stored; `ValueError` if unknown."""
        return compression_of(self.flags)

    @property
    def link_group(self) -> int:
        """The hard link group, unique in one catalog; 0 for none."""
        return self.hardlinks >> 32

    @property
    def link_count(self) -> int:
        """st_nlink."""
        return self.hardlinks & 0xFFFFFFFF


class StoredObject(NamedTuple):
    """A body or chunk as a catalog lists it: its digest, its entry's storage flags, its kind."""

    digest: bytes
    flags: int
    kind: Kind

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the hash; `ValueError` if unknown."""
        return algorithm_of(self.flags)

    @property
    def compression(self) -> Compression:
        """How the object is stored; `ValueError` if unknown."""
        return compression_of(self.flags)


def algorithm_of(flags: int) -> Algorithm:
    """The algorithm of the hashes of what an entry with *flags* needs; `ValueError` if unknown."""
    return Algorithm(flags >> _HASH_SHIFT & 7)


def compression_of(flags: int) -> Compression:
    """How what an entry with *flags* needs is stored; `ValueError` if unknown."""
    return Compression(flags >> _COMPRESSION_SHIFT & 7)


def storage_flags(algorithm: Algorithm, compression: Compression) -> int:
    """The bits of *flags* that tell how a body is named and stored."""
    return algorithm << _HASH_SHIFT | compression << _COMPRESSION_SHIFT


class NestedCatalog(NamedTuple):
    """A reference to a nested catalog: its mountpoint, hash and uncompressed size."""

    mountpoint: bytes
    hash: ContentHash
    size: int
