"""What the supervisor tells all shims of its session (``csrc/shim/shared_state.h``)."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.libc.append_only import AppendOnlyMemory, OutOfRoom

if TYPE_CHECKING:
    from pyparrot.core import PpSharedState
    from pyparrot.libc.shared_usage import SharedUsage
    from pyparrot.tree.index import Index
    from pyparrot.tree.snapshot import Snapshot

_SIZE: int = lib.PP_SHARED_STATE_SIZE
_FIRST_WORD = 16  # of the touch map; 0 says that there are none
_WORDS = (lib.PP_SHARED_USAGE_SIZE - ffi.sizeof("struct pp_shared_usage")) // 4

# Of <linux/fcntl.h>; Python has no name for the last.
_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4 | 0x10  # SEAL, SHRINK, GROW, FUTURE_WRITE


class ToldCatalog(NamedTuple):
    """A catalog that shims were told of: its index's *file*, and the *path* of its root directory.

    *words* is the number of its first word in the touch map; 0 if it has none.
    """

    mount: int
    root_hash: int
    words: int
    file: str
    path: bytes


class SharedState:
    """A shared state, in memory that others can map: `descriptor`.

    The memory can be written by this process alone, and by those that are forked from it: nobody
    can write to the file or map it for writing, whatever his rights. The mount table is written
    into its *memory* (`pyparrot.run.mount_memory`).
    """

    def __init__(self, cookie: int) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self.descriptor = os.memfd_create("pyparrot-shared-state", flags)
        os.ftruncate(self.descriptor, _SIZE)
        os.fchmod(self.descriptor, 0o444)
        self._lock = threading.Lock()
        self._mapping = mmap.mmap(self.descriptor, _SIZE)
        fcntl.fcntl(self.descriptor, _ADD_SEALS, _SEALS)
        buffer = ffi.from_buffer(self._mapping, require_writable=True)
        self._buffer = buffer  # as long as it lives the mapping does
        self.pointer: PpSharedState = ffi.cast("struct pp_shared_state *", buffer)
        self.pointer.used = ffi.sizeof("struct pp_shared_state")
        ffi.memmove(self.pointer.magic, lib.PP_SHARED_STATE_MAGIC, len(self.pointer.magic))
        used = ffi.addressof(self.pointer, "used")
        self.memory = AppendOnlyMemory(ffi.cast("char *", buffer), _SIZE, used)
        self.pointer.words = _FIRST_WORD
        self.pointer.cookie = cookie
        self._told: set[tuple[int, int]] = set()
        self._words: dict[tuple[bytes, str], int] = {}  # by mountpoint and file
        self._before: dict[tuple[int, int], ToldCatalog] = {}
        self._shared: SharedUsage | None = None
        self.touched: list[tuple[int, int, Index]] = []
        """Catalogs with words in the touch map: the first word, the mount's number, the index."""

    def set_views(self, views: str, mark: int) -> None:
        """Tell where views are, and when all were modified (seconds of unix time).

        `OutOfRoom` if the path does not fit.
        """
        self.pointer.mark = mark
        encoded = os.fsencode(views)
        self.pointer.views = self.memory.append_text(encoded)
        self.pointer.views_length = len(encoded)
        self.pointer.views_device = os.stat(views).st_dev
        self.pointer.owner = os.geteuid()

    def share(self, shared: SharedUsage, process: int) -> None:
        """Let shims count, and say what they touch, in *shared*: by a descriptor of *process*."""
        self._shared = shared
        status = os.fstat(shared.descriptor)
        identity = self.pointer.shared_identity
        identity.device, identity.inode = status.st_dev, status.st_ino
        self.pointer.shared = self.memory.append_text(os.fsencode(shared.file_of(process)))

    def resume(self) -> None:
        """Go on with what another process has told, which has ended."""
        self._before = {(told.mount, told.root_hash): told for told in self.told()}
        # It may have come upon a change of working directories, and not have told of it.
        lib.pp_shared_state_moved(self.pointer)

    def not_reopened(self) -> list[ToldCatalog]:
        """Catalogs that a process before this one has told of, and this one had no use for."""
        return list(self._before.values())

    def told(self) -> Iterator[ToldCatalog]:
        """The catalogs that shims were told of, as any process has told them: the oldest first.

        If the same was told twice, since its file was another one, the last is true.
        """
        offsets = []
        offset = self.pointer.catalogs
        while offset:
            offsets.append(offset)
            offset = self.memory.at("struct pp_shared_catalog *", offset).next
        for offset in reversed(offsets):
            told = self.memory.at("struct pp_shared_catalog *", offset)
            file, path = (self.memory.text(text) for text in (told.file, told.path))
            yield ToldCatalog(told.mount, told.root_hash, told.touched, os.fsdecode(file), path)

    def count(self) -> None:
        """Have shims count the calls that they answer."""
        lib.pp_shared_state_set(self.pointer, lib.PP_SHARED_COUNTS)

    def publish(self, table: int, shadows: bool) -> None:
        """Replace the mount table by that at the offset *table* of `memory`.

        0: there was no room for it, and shims have to leave everything to the supervisor.
        *shadows*: a mount point is the path of something real, too.
        """
        with self._lock:
            if shadows:
                lib.pp_shared_state_set(self.pointer, lib.PP_SHARED_SHADOWS)
            self.pointer.table = table
            self.pointer.generation += 1

    def add_catalogs(self, mount: int, snapshot: Snapshot) -> None:
        """Tell of the catalogs at hand of the mount with that number.

        What finds no room is not told: shims leave it to the supervisor.
        """
        with self._lock:
            for index in snapshot.indexes():
                if (mount, index.root_hash) not in self._told:
                    self._told.add((mount, index.root_hash))
                    before = self._before.pop((mount, index.root_hash), None)
                    if before is not None and before.file == index.file:
                        self._touch(before.words, mount, index)
                    else:
                        self._add_catalog(mount, index, snapshot.mountpoint)

    def forget(self, mount: int) -> None:
        """No catalog of the mount with that number is asked for any more, or noted in `touched`."""
        with self._lock:
            self._told = {told for told in self._told if told[0] != mount}
            self._before = {key: told for key, told in self._before.items() if key[0] != mount}
            self.touched = [touched for touched in self.touched if touched[1] != mount]

    def _touch(self, words: int, mount: int, index: Index) -> None:
        """Have what is used of *index* noted in the touch map."""
        if words and words + _words_of(index) <= _WORDS:
            self.touched.append((words, mount, index))
            if self._shared is not None:  # what the engine opens counts, too
                index.pointer.touched = self._shared.words(words)

    def _words_for(self, index: Index, mountpoint: bytes) -> int:
        """The words of an index. Revisions share those of the catalogs that they share."""
        key = (mountpoint, index.file)
        if index.kept is None and key in self._words:
            return self._words[key]
        first: int = self.pointer.words
        if first + _words_of(index) > _WORDS:
            return 0
        self.pointer.words = first + _words_of(index)
        if index.kept is None:
            self._words[key] = first
        return first

    def _add_catalog(self, mount: int, index: Index, mountpoint: bytes) -> None:
        words = self._words_for(index, mountpoint)
        self._touch(words, mount, index)
        try:
            file = self.memory.append_text(os.fsencode(index.file))
            path = self.memory.append_text(index.path)
            offset = self.memory.reserve(ffi.sizeof("struct pp_shared_catalog"))
        except OutOfRoom:
            return
        catalog = self.memory.at("struct pp_shared_catalog *", offset)
        catalog.next, catalog.mount = self.pointer.catalogs, mount
        catalog.root_hash, catalog.touched = index.root_hash, words
        catalog.file, catalog.path = file, path
        if index.kept is not None:
            status = os.fstat(index.kept)
            identity = catalog.identity
            identity.device, identity.inode = status.st_dev, status.st_ino
            identity.changed = status.st_ctime_ns
        self.pointer.catalogs = offset


def _words_of(index: Index) -> int:
    """How many words of the touch map an index needs."""
    words: int = index.pointer.records_size // lib.PP_TOUCH_UNIT + 1
    return words
