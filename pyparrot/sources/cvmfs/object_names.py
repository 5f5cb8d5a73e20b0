"""The objects of CernVM-FS repositories in the cache, by kind: their names.

Most are named as on the server: by the hash of the bytes that the server has, and the letter of
their kind (`hashes.Kind`). Two kinds are pyparrot's own: files that were put together from chunks,
and the index files that are made of catalogs.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyparrot.cache.names import Kind, ObjectName, register
from pyparrot.sources.cvmfs import hashes
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash

INDEX_FORMAT = 3
"""A part of the names of index files: another one when what is in them changes."""

FILE = register(Kind("files"))
CATALOG = register(Kind("catalogs", hashes.Kind.CATALOG.value))
TAG_DATABASE = register(Kind("tag databases", hashes.Kind.HISTORY.value))
CERTIFICATE = register(Kind("certificates", hashes.Kind.CERTIFICATE.value))
DESCRIPTION = register(Kind("descriptions", hashes.Kind.METAINFO.value))
NAMED_BY_CONTENT = (FILE, CATALOG, TAG_DATABASE, CERTIFICATE, DESCRIPTION)
"""The kinds whose names are the hash of what the server has."""

CHUNKED_FILE = register(Kind("chunked files", "W"))
INDEX = register(Kind("indexes", CATALOG.letter, ("[0-9a-f]{16}", "[0-9]+")))
"""Fields: the hash of the path where the catalog's root directory is seen, and the format."""

_OF_LETTER = {kind.letter: kind for kind in NAMED_BY_CONTENT}


def stored_name(name: ContentHash, kind: hashes.Kind) -> ObjectName:
    """The name of an object that the server has. There is none for chunks: they are not kept."""
    return _OF_LETTER[kind.value].name(name)


def index_name(catalog: ContentHash, root_hash: int) -> ObjectName:
    """The name of the index of a catalog whose root directory is seen where *root_hash* says."""
    return INDEX.name(catalog, f"{root_hash:016x}", INDEX_FORMAT)


def chunked_name(
    chunks: Iterable[tuple[int, int, bytes]], algorithm: int, compression: int
) -> ObjectName:
    """The name of a whole chunked file: a hash over its chunks (offset, size, digest)."""
    hasher = Algorithm.SHA1.hasher()
    for offset, size, digest in chunks:
        hasher.update(b"%d %d %d %d " % (offset, size, algorithm, compression) + digest)
    return CHUNKED_FILE.name(Algorithm.SHA1.finish(hasher))
