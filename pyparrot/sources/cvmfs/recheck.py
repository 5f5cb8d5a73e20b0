"""Checks what is in the cache: is every object still what its name says?

An object's name is the hash of the bytes that the server has, but the cache holds what these unpack
to. So what does not have the hash itself is packed again: zlib at its default level gives the same
bytes everywhere (``cvmfs_fsck`` counts on it, too). It costs time, some 30 MB/s a core, but no
space and no network.

Two kinds are pyparrot's own, and only a catalog can vouch for them: an index file is right if the
catalog makes the same one again; a file put together from chunks if some catalog lists chunks that
give its name, and each piece has its chunk's hash. Where that catalog is not in the cache, nobody
knows: such objects are dropped, for a byte that nothing vouches for must not be in the cache, and
to fetch it again is cheaper than to be wrong.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
from collections.abc import Iterator
from typing import Callable, NamedTuple, Union

from pyparrot.cache.store import ObjectStore
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs.catalog import CHUNKED, Catalog, Chunk, PathHash
from pyparrot.sources.cvmfs.compression import Compression, Packer
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind
from pyparrot.sources.cvmfs.indexing import INDEX_FORMAT, build_index
from pyparrot.sources.cvmfs.objects import _chunked_name
from pyparrot.sources.cvmfs.prefetch import in_parallel

_PIECE = 1 << 20
_WHOLE = "W"
_NAME = re.compile(r"([0-9a-f]{40}(?:-rmd160|-shake128)?)([A-Z]?)(?:\.([0-9a-f]{16})\.([0-9]+))?")


class Report(NamedTuple):
    """How much was looked at, what was corrupt, and what nothing vouches for; both are gone."""

    objects: int
    bytes: int
    corrupt: tuple[str, ...]
    doubtful: tuple[str, ...]


class _Name(NamedTuple):
    """The name of an object in the cache, taken apart; *root* is that of an index file."""

    hash: ContentHash
    kind: str
    root: int | None
    format: int


def recheck(store: ObjectStore, progress: Progress) -> Report:
    """Check all objects in *store*, and remove those that are not right."""
    store.reconcile()
    sizes = {name: status.st_size for name, status in store.files()}
    progress.expect(len(sizes))
    verdicts = _Verdicts(store, progress)
    names = {name: _parse(name) for name in sizes}
    named_by_hash = [n for n, parsed in names.items() if parsed and _has_own_hash(parsed)]
    # Catalogs are among them, and have to be known to be right before they vouch for others.
    verdicts.judge(named_by_hash, lambda name: _is_right(store.path(name), names[name]))
    whole = [n for n, parsed in names.items() if parsed and parsed.kind == _WHOLE]
    files = dict(_chunked_files(store, verdicts.catalogs(names))) if whole else {}
    verdicts.judge(whole, lambda name: _is_put_together(store.path(name), files.get(name)))
    indexes = [n for n, parsed in names.items() if parsed and parsed.root is not None]
    verdicts.judge(indexes, lambda name: _is_index(store, name, names[name]), threads=1)
    verdicts.judge([n for n, parsed in names.items() if parsed is None], lambda _: None)
    return Report(
        len(sizes), sum(sizes.values()), tuple(verdicts.corrupt), tuple(verdicts.doubtful)
    )


_Verdict = Callable[[str], Union[bool, None]]
"""Right, wrong, or None: nothing vouches for it."""


class _Verdicts:
    def __init__(self, store: ObjectStore, progress: Progress) -> None:
        self.corrupt: list[str] = []
        self.doubtful: list[str] = []
        self._store = store
        self._progress = progress

    def judge(self, names: list[str], verdict: _Verdict, threads: int | None = None) -> None:
        """Ask *verdict* about each name: right, wrong, or None if nobody knows."""
        count = threads or len(os.sched_getaffinity(0))
        for name, future in in_parallel(verdict, sorted(names), count):
            with contextlib.suppress(FileNotFoundError):  # evicted meanwhile: nothing is wrong
                found = future.result()
                if not found:
                    (self.doubtful if found is None else self.corrupt).append(name)
                    self._store.discard(name)
            self._progress.advance()

    def catalogs(self, names: dict[str, _Name | None]) -> list[str]:
        """The catalogs that were found right."""
        gone = {*self.corrupt, *self.doubtful}
        return [
            name
            for name, parsed in names.items()
            if parsed and _is_catalog(parsed) and name not in gone
        ]


def _parse(name: str) -> _Name | None:
    match = _NAME.fullmatch(name)
    if match is None or not _known_kind(match[2], match[3] is not None):
        return None
    root = int(match[3], 16) if match[3] else None
    return _Name(ContentHash.parse(match[1]), match[2], root, int(match[4] or 0))


def _known_kind(letter: str, is_index: bool) -> bool:
    if is_index:
        return letter == Kind.CATALOG.value
    return letter == _WHOLE or letter in (kind.value for kind in Kind if kind is not Kind.CHUNK)


def _has_own_hash(name: _Name) -> bool:
    return name.root is None and name.kind != _WHOLE


def _is_catalog(name: _Name) -> bool:
    return _has_own_hash(name) and name.kind == Kind.CATALOG.value


# Verdicts


def _is_right(path: str, name: _Name | None) -> bool:
    assert name is not None
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        # Only bodies may be stored as they are.
        if name.kind == Kind.BODY.value and _has_hash(file.fileno(), 0, size, name.hash, _PLAIN):
            return True
        return _has_hash(file.fileno(), 0, size, name.hash, _PACKED)


def _is_put_together(path: str, chunked: Body | None) -> bool | None:
    if chunked is None:
        return None
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


def _is_index(store: ObjectStore, name: str, parsed: _Name | None) -> bool | None:
    """Whether an index file is what its catalog gives."""
    assert parsed is not None
    assert parsed.root is not None
    source = store.path(f"{parsed.hash}{parsed.kind}")
    if parsed.format != INDEX_FORMAT or not os.path.exists(source):
        return None
    again = store.temporary_file()
    try:
        with contextlib.closing(Catalog.open(source)) as catalog:
            build_index(catalog, parsed.hash, catalog.mountpoint, parsed.root, again)
        return filecmp.cmp(store.path(name), again, shallow=False)
    except BROKEN:
        return None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(again)


_PLAIN, _PACKED = Compression.NONE, Compression.ZLIB


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


# What catalogs vouch for


def _chunked_files(store: ObjectStore, catalogs: list[str]) -> Iterator[tuple[str, Body]]:
    """The chunked files that *catalogs* list, by the name of the whole file in the cache."""
    for name in catalogs:
        try:
            with contextlib.closing(Catalog.open(store.path(name))) as catalog:
                yield from _chunked_files_of(catalog)
        except BROKEN:
            continue  # evicted meanwhile, or of a kind that was never read: it vouches for nothing


def _chunked_files_of(catalog: Catalog) -> Iterator[tuple[str, Body]]:
    chunks: dict[PathHash, list[Chunk]] = {}
    for key, chunk in catalog.all_chunks():
        chunks.setdefault(key, []).append(chunk)
    if not chunks:
        return
    for row in catalog.rows():
        flags, size = row[5], row[7]
        if flags & CHUNKED and row[:2] in chunks:
            body = _body(flags, size, tuple(chunks[row[:2]]))
            yield _chunked_name(body), body


def _body(flags: int, size: int, chunks: tuple[Chunk, ...]) -> Body:
    algorithm, compression = Algorithm(flags >> 8 & 7), Compression(flags >> 11 & 7)
    return Body(size, algorithm, compression, None, chunks)
