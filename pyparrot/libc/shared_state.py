"""What the supervisor tells all shims of its session (``csrc/shim/shared_state.h``)."""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING

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


class SharedState:
    """A shared state, in memory that others can map: `descriptor`.

    The mount table is written into its *memory* (`pyparrot.run.mount_memory`). `OutOfRoom` if
    *views*, the directory of views, does not fit.
    """

    def __init__(self, cookie: int, mark: int, views: str) -> None:
        self.descriptor = os.memfd_create("pyparrot-shared-state")
        os.ftruncate(self.descriptor, _SIZE)
        self._lock = threading.Lock()
        self._mapping = mmap.mmap(self.descriptor, _SIZE)
        buffer = ffi.from_buffer(self._mapping, require_writable=True)
        self._buffer = buffer  # as long as it lives the mapping does
        self.pointer: PpSharedState = ffi.cast("struct pp_shared_state *", buffer)
        self.pointer.used = ffi.sizeof("struct pp_shared_state")
        ffi.memmove(self.pointer.magic, lib.PP_SHARED_STATE_MAGIC, len(self.pointer.magic))
        used = ffi.addressof(self.pointer, "used")
        self.memory = AppendOnlyMemory(ffi.cast("char *", buffer), _SIZE, used)
        self._told: set[tuple[int, int]] = set()
        self._next_word = _FIRST_WORD
        encoded = os.fsencode(views)
        self.pointer.views = self.memory.append_text(encoded)
        self.pointer.views_length = len(encoded)
        self.pointer.views_device = os.stat(views).st_dev
        self.pointer.mark = mark
        self.pointer.cookie = cookie
        self._shared: SharedUsage | None = None
        self.touched: list[tuple[int, int, Index]] = []
        """Catalogs with words in the touch map: the first word, the mount's number, the index."""

    def share(self, shared: SharedUsage) -> None:
        """Let shims count, and say what they touch, in *shared*."""
        self._shared = shared
        self.pointer.shared = self.memory.append_text(os.fsencode(shared.file))

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
                    self._add_catalog(mount, index)

    def _add_catalog(self, mount: int, index: Index) -> None:
        touched = 0
        words = index.pointer.records_size // lib.PP_TOUCH_UNIT + 1
        if self._next_word + words <= _WORDS:
            touched = self._next_word
            self.touched.append((touched, mount, index))
            if self._shared is not None:  # what the engine opens counts, too
                index.pointer.touched = self._shared.words(touched)
            self._next_word += words
        try:
            file = self.memory.append_text(os.fsencode(index.file))
            offset = self.memory.reserve(ffi.sizeof("struct pp_shared_catalog"))
        except OutOfRoom:
            return
        catalog = self.memory.at("struct pp_shared_catalog *", offset)
        catalog.next, catalog.mount = self.pointer.catalogs, mount
        catalog.root_hash, catalog.touched, catalog.file = index.root_hash, touched, file
        self.pointer.catalogs = offset
