"""What the supervisor tells all shims of its session (``csrc/shim/shared_state.h``)."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib

if TYPE_CHECKING:
    from pyparrot.core import Pointer, PpMount, PpSharedMount, PpSharedState
    from pyparrot.libc.shared_usage import SharedUsage
    from pyparrot.tree.index import Index
    from pyparrot.tree.snapshot import Snapshot

_SIZE: int = lib.PP_SHARED_STATE_SIZE
_FIRST_WORD = 16  # of the touch map; 0 says that there are none
_WORDS = (lib.PP_SHARED_USAGE_SIZE - ffi.sizeof("struct pp_shared_usage")) // 4


class Shown(NamedTuple):
    """A mount as shims have to know it.

    *hash* is its place in the table, *record* its ``struct pp_mount *``, *number* is its own for
    ever. Without a *snapshot* its mount point is reserved.
    """

    hash: int
    record: PpMount
    number: int
    snapshot: Snapshot | None


class Refusal(NamedTuple):
    """Nothing is mounted where the path hash is *hash*, until then (seconds of CLOCK_MONOTONIC)."""

    hash: int
    until: int


class SharedState:
    """A shared state, in memory that others can map: `descriptor`."""

    def __init__(self, cookie: int, mark: int, views: str) -> None:
        self.descriptor = os.memfd_create("pyparrot-shared-state")
        os.ftruncate(self.descriptor, _SIZE)
        self._lock = threading.Lock()
        self._memory = mmap.mmap(self.descriptor, _SIZE)
        self._buffer = ffi.from_buffer(self._memory, require_writable=True)
        self.pointer: PpSharedState = ffi.cast("struct pp_shared_state *", self._buffer)
        self.pointer.used = ffi.sizeof("struct pp_shared_state")
        ffi.memmove(self.pointer.magic, lib.PP_SHARED_STATE_MAGIC, len(self.pointer.magic))
        self._texts: dict[bytes, int] = {}
        self._is_full = False
        self._told: set[tuple[int, int]] = set()
        self._next_word = _FIRST_WORD
        encoded = os.fsencode(views)
        self.pointer.views, self.pointer.views_length = self._text(encoded), len(encoded)
        self.pointer.views_device = os.stat(views).st_dev
        self.pointer.mark = mark
        self.pointer.cookie = cookie
        self._shared: SharedUsage | None = None
        self.touched: list[tuple[int, int, Index]] = []
        """Catalogs with words in the touch map: the first word, the mount's number, the index."""

    def share(self, shared: SharedUsage) -> None:
        """Let shims count, and say what they touch, in *shared*."""
        self._shared = shared
        self.pointer.shared = self._text(os.fsencode(shared.file))

    def count(self) -> None:
        """Have what is answered where counted."""
        lib.pp_shared_state_set(self.pointer, lib.PP_SHARED_COUNTS)

    def show(
        self, mounts: Sequence[Shown], refusals: Iterable[Refusal], depth: int, covers: bool
    ) -> None:
        """Replace the table of mounts. *covers*: one is where something real is, too."""
        with self._lock:
            if covers:
                lib.pp_shared_state_set(self.pointer, lib.PP_SHARED_COVERS)
            refused = list(refusals)
            table = ffi.new("struct pp_shared_table *", (depth, len(mounts), len(refused), 0))
            content = bytes(ffi.buffer(table))
            content += b"".join(bytes(ffi.buffer(self._mount(each))) for each in mounts)
            for each in refused:
                content += bytes(ffi.buffer(ffi.new("struct pp_shared_refusal *", tuple(each))))
            offset = self._append(content)
            # No more room: without a table shims leave everything to us.
            self.pointer.table = 0 if self._is_full else offset
            self.pointer.generation += 1
        for mount in mounts:
            self.tell(mount)

    def tell(self, mount: Shown) -> None:
        """Tell of the catalogs of a mount that are at hand."""
        if mount.snapshot is None:
            return
        with self._lock:
            for index in mount.snapshot.indexes():
                if (mount.number, index.root_hash) not in self._told:
                    self._told.add((mount.number, index.root_hash))
                    self._tell_catalog(mount.number, index)

    def _tell_catalog(self, number: int, index: Index) -> None:
        catalog = ffi.new("struct pp_shared_catalog *")
        catalog.next, catalog.mount = self.pointer.catalogs, number
        catalog.root_hash = index.root_hash
        catalog.file = self._text(os.fsencode(index.file))
        words = index.pointer.records_size // lib.PP_TOUCH_UNIT + 1
        if self._next_word + words <= _WORDS:
            catalog.touched = self._next_word
            self.touched.append((self._next_word, number, index))
            if self._shared is not None:  # what the engine opens counts, too
                index.pointer.touched = self._shared.words(self._next_word)
            self._next_word += words
        offset = self._append(bytes(ffi.buffer(catalog))) if catalog.file else 0
        if offset:
            self.pointer.catalogs = offset

    def _mount(self, shown: Shown) -> PpSharedMount:
        given = shown.record
        mount = ffi.new("struct pp_shared_mount *")
        mount.hash, mount.device, mount.blocks = shown.hash, given.device, given.blocks
        mount.id, mount.flags = shown.number, given.flags
        mount.path, mount.path_length = self._text_of(given.path), given.path_length
        mount.view, mount.view_length = self._text_of(given.view), given.view_length
        if shown.snapshot is not None:
            variables = b"".join(text + b"\0" for text in shown.snapshot.variables)
            mount.environment = self._text(variables)
            if shown.snapshot.covered:
                hashes = ffi.new("uint64_t[]", [*shown.snapshot.covered, 0])
                mount.covered = self._text(bytes(ffi.buffer(hashes)))
        return mount

    def _text_of(self, text: Pointer[bytes]) -> int:
        return self._text(ffi.string(text))

    def _text(self, content: bytes) -> int:
        """Where a text stands, with a NUL behind it; 0 if there is no room."""
        if content not in self._texts:
            self._texts[content] = self._append(content + b"\0")
        return self._texts[content]

    def _append(self, content: bytes) -> int:
        offset: int = self.pointer.used
        if offset + len(content) > _SIZE:
            self._is_full = True
            return 0
        self._memory[offset : offset + len(content)] = content
        self.pointer.used = offset + len(content) + -len(content) % 8
        return offset
