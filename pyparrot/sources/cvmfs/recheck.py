"""Checks objects of repositories in the cache: is each still what its name says?

An object's name is the hash of the bytes that the server has, but the cache holds what these unpack
to. So what does not have the hash itself is packed again: zlib at its default level gives the same
bytes everywhere (``cvmfs_fsck`` counts on it, too). It costs time, some 30 MB/s a core, but no
space and no network.

Two kinds are pyparrot's own, and only a catalog can vouch for them: an index file is right if the
catalog makes the same one again; a file put together from chunks if some catalog lists chunks that
give its name, and each piece has its chunk's hash. Where that catalog is not in the cache, nothing
vouches for them.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
from collections.abc import Iterator

from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.cache.verify import Check, Checker, register
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import (
    CHUNKED,
    Chunk,
    PathKey,
    algorithm_of,
    compression_of,
)
from pyparrot.sources.cvmfs.compression import Compression, Packer
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import ContentHash
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.sources.cvmfs.object_names import (
    CATALOG,
    CHUNKED_FILE,
    FILE,
    INDEX,
    INDEX_FORMAT,
    NAMED_BY_CONTENT,
    chunked_name,
)

_PIECE = 1 << 20
_PLAIN, _PACKED = Compression.NONE, Compression.ZLIB


def _hash_of(name: ObjectName) -> ContentHash | None:
    """The hash in a name; None if its algorithm is unknown."""
    parts = name.parts
    with contextlib.suppress(ValueError):
        return ContentHash.parse(parts.hash if parts else "")
    return None


# What is named by its content


def _check_content(store: ObjectStore) -> Check:
    def check(name: ObjectName) -> bool | None:
        content_hash = _hash_of(name)
        if content_hash is None:
            return None
        with open(store.path(name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Only bodies may be stored as they are.
            if name.kind == FILE and _has_hash(file.fileno(), 0, size, content_hash, _PLAIN):
                return True
            return _has_hash(file.fileno(), 0, size, content_hash, _PACKED)

    return check


def _has_hash(
    descriptor: int, start: int, size: int, name: ContentHash, compression: Compression
) -> bool:
    """Whether a part of a file, packed, has the hash *name*."""
    packer, hasher = Packer(compression), name.algorithm.hasher()
    position, end = start, start + size
    while position < end:
        piece = os.pread(descriptor, min(_PIECE, end - position), position)
        if not piece:
            return False
        hasher.update(packer.add(piece))
        position += len(piece)
    hasher.update(packer.end())
    return name.algorithm.finish(hasher) == name


# Chunked files


def _check_chunked(store: ObjectStore) -> Check:
    files = dict(_chunked_files(store))

    def check(name: ObjectName) -> bool | None:
        chunked = files.get(name)
        return None if chunked is None else _is_put_together(store.path(name), chunked)

    return check


def _is_put_together(path: str, chunked: Body) -> bool:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size != chunked.size:
            return False
        return all(
            _has_hash(
                file.fileno(),
                chunk.offset,
                chunk.size,
                ContentHash(chunk.digest, chunked.algorithm),
                chunked.compression,
            )
            for chunk in chunked.chunks
        )


def _chunked_files(store: ObjectStore) -> Iterator[tuple[ObjectName, Body]]:
    """The chunked files that the catalogs in the cache list."""
    for name in [name for name, _ in store.files() if name.kind == CATALOG]:
        try:
            with contextlib.closing(Catalog.open(store.path(name))) as catalog:
                yield from _chunked_files_of(catalog)
        except BROKEN:
            continue  # evicted meanwhile, or of a kind that was never read: it vouches for nothing


def _chunked_files_of(catalog: Catalog) -> Iterator[tuple[ObjectName, Body]]:
    chunks: dict[PathKey, list[Chunk]] = {}
    for key, chunk in catalog.all_chunks():
        chunks.setdefault(key, []).append(chunk)
    if not chunks:
        return
    for row in catalog.rows():
        flags, size = row[5], row[7]
        if flags & CHUNKED and row[:2] in chunks:
            algorithm, compression = algorithm_of(flags), compression_of(flags)
            body = Body(size, algorithm, compression, None, tuple(chunks[row[:2]]))
            yield chunked_name(body.chunks, algorithm, compression), body


# Index files


def _check_index(store: ObjectStore) -> Check:
    def check(name: ObjectName) -> bool | None:
        """Whether an index file is what its catalog gives."""
        parts, catalog_hash = name.parts, _hash_of(name)
        if parts is None or catalog_hash is None:
            return None
        root_hash, index_format = parts.fields
        source = store.path(CATALOG.name(catalog_hash))
        if int(index_format) != INDEX_FORMAT or not os.path.exists(source):
            return None
        again = store.temporary_file()
        try:
            with contextlib.closing(Catalog.open(source)) as catalog:
                build_index(catalog, catalog_hash, catalog.mountpoint, int(root_hash, 16), again)
            return filecmp.cmp(store.path(name), again, shallow=False)
        except BROKEN:
            return None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(again)

    return check


register(Checker(NAMED_BY_CONTENT, _check_content))
register(Checker((CHUNKED_FILE,), _check_chunked, rest_on_others=True))
register(Checker((INDEX,), _check_index, rest_on_others=True, alone=True))
