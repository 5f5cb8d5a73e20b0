"""From a catalog to an index file: what the format says, in the terms of trees.

What catalogs say is not believed: each row is checked here as far as only the format knows what is
right, and in C (``csrc/python/index_build.h``) for the rest.
"""

from __future__ import annotations

import functools
import stat
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import (
    BIND_MOUNTPOINT,
    CHUNKED,
    DIRECTORY,
    EXTERNAL,
    NESTED_MOUNTPOINT,
    SPECIAL,
    SYMLINK,
    PathKey,
    algorithm_of,
    compression_of,
    path_key,
)
from pyparrot.sources.cvmfs.catalog_rows import HIDDEN as HIDDEN_ENTRY
from pyparrot.sources.cvmfs.database import BROKEN, Rations
from pyparrot.sources.cvmfs.handles import (
    CHUNK,
    HAS_DIGEST,
    catalog_handle,
    pack_storage,
)
from pyparrot.sources.cvmfs.hashes import DIGEST_SIZE, ContentHash
from pyparrot.tree.entries import CUT_OFF, HIDDEN, NESTED, pack_attributes
from pyparrot.tree.index import BadIndexError, Most, build

_MASK = 0xFFFFFFFF
_MOUNTPOINT = NESTED_MOUNTPOINT | BIND_MOUNTPOINT
_LIMIT = 1 << 63

_MOST_GROWTH = 4
"""How much more bytes an index's texts have at most than their catalog: handles are added, and an
attribute's lengths take 6 bytes instead of 2."""

_SHORT = 1024
"""Attributes of so many bytes may be remembered: a thousand of them are 1 MB."""


def build_index(
    catalog: Catalog, name: ContentHash, root: bytes, root_hash: int, file: str
) -> None:
    """Write the index of *catalog* to the new *file*.

    *name* is the catalog's hash, *root* the path of its root directory in the catalog itself (its
    mountpoint, or empty), *root_hash* the hash of the path where that directory is seen.
    `BadIndexError` if the catalog is broken or hostile.
    """
    try:
        revision, ttl = catalog.revision, int(catalog.get_property("TTL") or 0)
        if not (0 <= revision < _LIMIT and 0 <= ttl < _LIMIT):
            raise BadIndexError("its revision or TTL can't be")
        build(
            _entries(catalog),
            file,
            root=path_key(root),
            root_hash=root_hash,
            handle=catalog_handle(name),
            revision=revision,
            ttl=ttl,
            most=Most(Rations.rows(catalog.size), Rations.bytes(catalog.size) * _MOST_GROWTH),
        )
    except BROKEN as error:
        raise BadIndexError(f"catalog {name}: {error}") from None


class _Meaning(NamedTuple):
    """What an entry's flags say, together with the type in its mode."""

    flags: int
    """The tree's own."""

    is_mountpoint: bool
    is_chunked: bool
    without_digest: bytes
    """The handle of an entry that has no digest."""

    with_digest: bytes
    """What the handle of an entry with a digest starts with."""


def _meaning(flags: int, mode: int) -> _Meaning:
    """`BadIndexError` if they contradict each other, or name an algorithm that is not known."""
    is_directory, is_symlink = bool(flags & DIRECTORY), bool(flags & SYMLINK)
    is_regular = stat.S_ISREG(mode)
    if (
        is_directory != stat.S_ISDIR(mode)
        or is_symlink != stat.S_ISLNK(mode)
        or not (is_directory or is_symlink or bool(flags & SPECIAL) != is_regular)
        or (flags & CHUNKED and not is_regular)
        or (flags & _MOUNTPOINT and not is_directory)
    ):
        raise BadIndexError("a type that its flags contradict")
    try:
        storage = pack_storage(algorithm_of(flags), compression_of(flags), bool(flags & EXTERNAL))
    except ValueError:
        raise BadIndexError("an unknown hash or compression algorithm") from None
    return _Meaning(
        (NESTED if flags & _MOUNTPOINT else 0) | (HIDDEN if flags & HIDDEN_ENTRY else 0),
        bool(flags & _MOUNTPOINT),
        bool(flags & CHUNKED),
        bytes((storage,)) if is_regular else b"",
        bytes((storage | HAS_DIGEST,)),
    )


def _entries(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    """The rows of a catalog as `pyparrot.tree.entries.Entry` has them."""
    chunks = _chunks(catalog)
    references = (*catalog.nested_catalogs(), *catalog.bind_mountpoints())
    nested = {
        path_key(each.mountpoint): catalog_handle(each.hash, each.size) for each in references
    }
    # Few combinations of flags and type are different, and there may be a million rows.
    meanings: dict[int, _Meaning] = {}
    for row in catalog.rows():
        a, b, c, d, name, flags, mode, size, mtime, ns, uid, gid, links, digest, to, xattr = row
        combination = flags << 4 | mode >> 12
        meaning = meanings.get(combination)
        if meaning is None:
            try:
                meaning = meanings[combination] = _meaning(flags, mode)
            except BadIndexError as error:
                raise BadIndexError(f"{error}: {name!r}") from None
        bits, is_mountpoint, is_chunked, handle, with_digest = meaning
        if digest is not None:
            handle = with_digest + digest
            if len(digest) != DIGEST_SIZE:
                raise BadIndexError(f"a hash of {len(digest)} bytes: {name!r}")
        if is_mountpoint:
            if (a, b) not in nested:
                raise BadIndexError(f"no catalog for the mountpoint {name!r}")
            handle = nested[a, b]
        elif is_chunked:
            handle += chunks.get((a, b), b"")
        x = _attributes(xattr) if xattr else b""
        uid, gid, group, links = uid & _MASK, gid & _MASK, links >> 32 & _MASK, links & _MASK or 1
        ns = ns or 0
        yield a, b, c, d, name, mode, size, mtime, ns, uid, gid, links, group, bits, to, handle, x


def _chunks(catalog: Catalog) -> dict[PathKey, bytes]:
    """The chunks of each chunked file, as its handle has them."""
    packed: dict[PathKey, list[bytes]] = {}
    rations = Rations(catalog.size)
    try:
        for key, chunk in catalog.all_chunks():
            rations.take(chunk.digest)
            if len(chunk.digest) != DIGEST_SIZE:
                raise BadIndexError(f"a chunk's hash of {len(chunk.digest)} bytes")
            packed.setdefault(key, []).append(CHUNK.pack(*chunk))
    except struct.error as error:
        raise BadIndexError(f"a chunk that can't be: {error}") from None
    return {key: b"".join(parts) for key, parts in packed.items()}


def _attributes(blob: bytes) -> bytes:
    """Extended attributes as a tree has them; those that can be read, if the blob is malformed."""
    return _short_attributes(blob) if len(blob) <= _SHORT else _repacked(blob)


@functools.lru_cache(maxsize=1024)
def _short_attributes(blob: bytes) -> bytes:
    return _repacked(blob)


def _repacked(blob: bytes) -> bytes:
    readable, is_whole = xattrs.unpack_readable(blob)
    return pack_attributes(readable) + (b"" if is_whole else CUT_OFF)
