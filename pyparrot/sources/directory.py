"""A local directory, shown read-only at another path.

Each directory is listed when it is first looked into, and stays as it was then for as long as the
run lasts; a file's content is that of its first open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import zlib
from typing import TYPE_CHECKING, BinaryIO

from pyparrot.cache.identity import Identity
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
_TRIES = 20


class _Changed(Exception):
    """A file was changed while it was copied."""


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
        for _ in range(_TRIES):
            status = os.stat(source, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_size != node.size:
                break  # not what the listing says
            with contextlib.suppress(_Changed):
                return self._copy(source, Identity.of(status))
        why = "it has changed since its directory was listed"
        raise OSError(errno.ESTALE, why, os.fsdecode(source))

    def _copy(self, source: bytes, identity: Identity) -> str:
        """The copy of the file *source* in one state; `_Changed` if it is in another one."""
        name = _hash(source, identity)

        def copy(output: BinaryIO) -> ObjectName:
            crc = 0
            with open(source, "rb", opener=_open) as stream:
                identity.settle(stream.fileno())
                while piece := _read(source, stream):
                    crc = zlib.crc32(piece, crc)
                    output.write(piece)
                if Identity.of(os.fstat(stream.fileno())) != identity:
                    raise _Changed
            return _COPY.name(name, checksum(crc))

        def find_or_copy() -> str:
            return self._store.find_first(_COPY.beginning(name)) or self._store.write(copy)

        return self._flights.run(name, find_or_copy)

    def magic_xattr(self, found: Found, name: bytes) -> bytes | None:
        """As `pyparrot.sources.capabilities.MagicXattrs`."""
        from pyparrot.sources import magic_xattrs

        return magic_xattrs.value(self, found, name)

    def close(self) -> None:
        """Bring the cache's ledger up to date."""
        self._store.flush()


def _hash(source: bytes, identity: Identity) -> str:
    """What tells a file in one state from all others and from what it was."""
    import hashlib

    facts = b"%s\0" % source + b"".join(b"%d\0" % number for number in identity)
    return hashlib.sha1(facts, usedforsecurity=False).hexdigest()


def _open(source: str, flags: int) -> int:
    """Open a file that might be a pipe by now, which must not stop us."""
    return os.open(source, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _read(source: bytes, stream: BinaryIO) -> bytes:
    with naming(os.fsdecode(source)):
        return stream.read(_PIECE)


def _named(name: bytes, status: os.stat_result, path: bytes) -> Named:
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
    return Named.of(name, status, target)
