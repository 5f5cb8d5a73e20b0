"""A local directory, shown read-only at another path.

Each directory is listed when somebody first looks into it, and stays as it was then for as long as
the session lasts; a file's content is that of its first open.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from typing import TYPE_CHECKING, BinaryIO

from pyparrot.cache.names import CHECKSUM, Kind, ObjectName, checksum, register
from pyparrot.single_flight import SingleFlight
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.names import Listed, Listing, index_listing
from pyparrot.tree.base import Repository
from pyparrot.tree.index import ROOT_HASH, Index, Node
from pyparrot.tree.snapshot import NeedCatalog, Snapshot

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore


_COPY = register(Kind("copies of local files", "L", (CHECKSUM,)))
"""Its hash is one over what tells a file, as it was at some time, from all others."""

_PIECE = 1 << 20


class LocalDirectory(Repository):
    """The directory *top* of the real file system, as a repository that is seen at *mountpoint*."""

    def __init__(self, top: str, mountpoint: bytes, store: ObjectStore) -> None:
        self._top = os.fsencode(os.path.realpath(top))
        self._store = store
        self._flights: SingleFlight[str, str] = SingleFlight()
        status = os.stat(self._top)
        self.name = "directory"
        self.device = status.st_dev
        self.snapshot = Snapshot(self._list(b"", ROOT_HASH), mountpoint)
        self.identity = b"%s %d %d" % (self._top, status.st_dev, os.getpid())

    def _list(self, path: bytes, root_hash: int) -> Index:
        directory = self._top + path
        with os.scandir(directory) as entries:
            found = [
                _listed(entry.name, entry.stat(follow_symlinks=False), entry.path)
                for entry in entries
            ]
        top = _listed(b"", os.stat(directory), directory)
        return index_listing(self._store, Listing(top, found, nested=True), root_hash, path)

    def catalog(self, need: NeedCatalog) -> Index:
        """The listing of a directory."""
        return self._list(need.mountpoint, need.root_hash)

    def body(self, node: Node, path: bytes) -> str:
        """A copy of a file as it is now: what a program has open shall not change under it."""
        source = self._top + path
        status = os.stat(source, follow_symlinks=False)
        hasher = Algorithm.SHA1.hasher()
        for part in (source, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns):
            hasher.update(b"%s\0" % (part if isinstance(part, bytes) else b"%d" % part))
        identity = Algorithm.SHA1.finish(hasher)

        def copy(output: BinaryIO) -> ObjectName:
            crc = 0
            with open(source, "rb") as stream:
                while piece := stream.read(_PIECE):
                    crc = zlib.crc32(piece, crc)
                    output.write(piece)
            return _COPY.name(identity, checksum(crc))

        def find_or_copy() -> str:
            found = self._store.find_first(_COPY.beginning(identity))
            if found is not None:
                return found
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fsdecode(source))
            return self._store.write(copy)

        return self._flights.run(str(identity), find_or_copy)

    def close(self) -> None:
        """Bring the cache's ledger up to date."""
        self._store.flush()


def _listed(name: bytes, status: os.stat_result, path: bytes) -> Listed:
    mode = status.st_mode
    is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    return Listed(
        name,
        mode,
        status.st_rdev if is_device else status.st_size,
        status.st_mtime_ns,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
        os.readlink(path) if stat.S_ISLNK(mode) else b"",
    )
