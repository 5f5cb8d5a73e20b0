"""A local directory, shown read-only at another path.

Each directory is listed when it is first looked into, and stays as it was then for as long as the
run lasts; a file's content is that of its first open.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from typing import TYPE_CHECKING, BinaryIO

from pyparrot.cache.names import CHECKSUM, Kind, ObjectName, checksum, register
from pyparrot.errors import naming
from pyparrot.single_flight import SingleFlight
from pyparrot.tree.base import Tree
from pyparrot.tree.index import ROOT_HASH, Index
from pyparrot.tree.listing import Named, index_listing
from pyparrot.tree.snapshot import NeedIndex, Snapshot

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.sources.registry import Context
    from pyparrot.tree.entries import Node
    from pyparrot.tree.snapshot import Found

_COPY = register(Kind("copies of local files", "L", (CHECKSUM,)))
"""Its hash is one over what tells a file, as it was at some time, from all others."""

_PIECE = 1 << 20

_TICK = 2_500_000_000
"""Nanoseconds that are longer than the unit of any file system's times."""


def open_directory(text: str, context: Context) -> LocalDirectory:
    """What the registry calls for ``/directory`` and ``./directory``."""
    return LocalDirectory(text, context.mountpoint, context.store)


class LocalDirectory(Tree):
    """The directory *top* of the real file system, as a tree that is seen at *mountpoint*."""

    is_passing = True

    def __init__(self, top: str, mountpoint: bytes, store: ObjectStore) -> None:
        self._top = os.fsencode(os.path.realpath(top))
        self._store = store
        self._flights: SingleFlight[str, str] = SingleFlight()
        status = os.stat(self._top)
        self.name = "directory"
        self.device = status.st_dev
        self.snapshot = Snapshot(self._list(b"", ROOT_HASH), mountpoint)
        # What a run sees is as it was at its first open, so no other run may take it for the same.
        self.identity = b"%s %s" % (self._top, os.urandom(16))

    def _list(self, path: bytes, root_hash: int) -> Index:
        directory = self._top + path
        with os.scandir(directory) as entries:
            held = [
                _named(entry.name, entry.stat(follow_symlinks=False), entry.path)
                for entry in entries
            ]
        top = Named.of(b"", os.stat(directory))
        return index_listing(self._store, top, held, root_hash, path, nested=True)

    def fetch_index(self, need: NeedIndex) -> Index:
        """The listing of a directory."""
        return self._list(need.mountpoint, need.root_hash)

    def body(self, node: Node, path: bytes) -> str:
        """A copy of a file as it is now: what a program has open must not change under it."""
        source = self._top + path
        with _open_regular(source) as stream:
            status = os.fstat(stream.fileno())
            if status.st_size != node.size:
                raise _changed(source)  # a program that was told the size must not find another
            identity = _identity(source, status)

            def copy(output: BinaryIO) -> ObjectName:
                return self._copy(source, stream, output, identity)

            def find_or_copy() -> str:
                found = self._store.find_first(_COPY.beginning(identity))
                return self._store.write(copy) if found is None else found

            return self._flights.run(identity, find_or_copy)

    @staticmethod
    def _copy(source: bytes, stream: BinaryIO, output: BinaryIO, identity: str) -> ObjectName:
        """Copy what is open in *stream*; ESTALE if it changes meanwhile."""
        crc = 0
        before = _facts(os.fstat(stream.fileno()))
        stream.seek(0)  # it may be written again when there is room
        while piece := _read(source, stream):
            crc = zlib.crc32(piece, crc)
            output.write(piece)
        after = os.fstat(stream.fileno())
        if _facts(after) != before:
            raise _changed(source)
        if time.time_ns() - after.st_ctime_ns < _TICK:
            # The next change may come within the same tick of the file system's clock, and be seen
            # in nothing: so this copy is not to be found again.
            identity = _digest(os.urandom(16))
        return _COPY.name(identity, checksum(crc))

    def magic_xattr(self, found: Found, name: bytes) -> bytes | None:
        """As `pyparrot.sources.capabilities.MagicXattrs`."""
        from pyparrot.sources import magic_xattrs

        return magic_xattrs.value(self, found, name)

    def close(self) -> None:
        """Bring the cache's ledger up to date."""
        self._store.flush()


def _open_regular(source: bytes) -> BinaryIO:
    """Open a regular file; ESTALE if it is something else by now (a pipe must not stop us)."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(source, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _changed(source) from None
        raise
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise _changed(source)
    return stream


def _changed(source: bytes) -> OSError:
    why = "it has changed since its directory was listed"
    return OSError(errno.ESTALE, why, os.fsdecode(source))


def _read(source: bytes, stream: BinaryIO) -> bytes:
    with naming(os.fsdecode(source)):
        return stream.read(_PIECE)


def _facts(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file, as it is now, from all others that ever had its name."""
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _identity(source: bytes, status: os.stat_result) -> str:
    """What tells a file, as it is now, from all others and from what it was."""
    return _digest(b"%s\0" % source + b"".join(b"%d\0" % fact for fact in _facts(status)))


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _named(name: bytes, status: os.stat_result, path: bytes) -> Named:
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
    return Named.of(name, status, target)
