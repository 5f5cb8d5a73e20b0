"""How the shim gets into programs: what their dynamic linker is told (``csrc/preload.h``)."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pyparrot._core import ffi, lib
from pyparrot.shim.board import Board
from pyparrot.shim.libraries import Libraries

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libpyparrot.so")
_LIST = "/etc/ld.so.preload"
_LIST_MOST = 65536
_MFD_EXEC = 0x10


class Shared:
    """What shims write: counters and the touch map (``struct pp_board_shared``)."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("pyparrot-shared")
        os.ftruncate(self._descriptor, lib.PP_SHARED_SIZE)
        self._memory = mmap.mmap(self._descriptor, lib.PP_SHARED_SIZE)
        self._buffer = ffi.from_buffer(self._memory, require_writable=True)
        self.pointer = ffi.cast("struct pp_board_shared *", self._buffer)
        self.file = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def touched(self, start: int, words: int) -> Iterator[tuple[int, int]]:
        """The words from *start* on that are not 0: (number from *start* on, value)."""
        head = ffi.sizeof("struct pp_board_shared")
        first, end = head + 4 * start, head + 4 * (start + words)
        position = first
        while position < end:
            try:  # most of the file is holes
                position = max(os.lseek(self._descriptor, position, os.SEEK_DATA), first)
                stop = min(os.lseek(self._descriptor, position, os.SEEK_HOLE), end)
            except OSError:
                return
            view = memoryview(self._memory)[position : max(position, stop)].cast("I")
            for number, word in enumerate(view, (position - first) // 4):
                if word:
                    yield number, word
            view.release()
            position = stop


class Shim:
    """The shim of a session: its own file with its board, and the libraries that go with it.

    *pointer* is the ``struct pp_preload *`` for the engine. `OSError` or `ValueError` if this host
    does not allow it.
    """

    def __init__(self, store: ObjectStore, cookie: int, mark: int, views: str) -> None:
        if os.statvfs(store.directory).f_flag & os.ST_NOEXEC:
            raise OSError(f"{store.directory}: mounted without exec")
        with open(LIBRARY, "rb") as file:
            content = file.read()
        self._file = _memory_file("pyparrot", content)
        # ld.so would complain in every program.
        mmap.mmap(
            self._file, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC
        ).close()
        self.board = Board(self._file, content, cookie, mark, views)
        self.shared = Shared()
        self.board.share(self.shared.file)
        before = b""
        with contextlib.suppress(OSError), open(_LIST, "rb") as others:
            before = others.read(_LIST_MOST) + b"\n"
        self._list = _memory_file("ld.so.preload", before + os.fsencode(LIBRARY) + b"\n")
        self._library = ffi.new("char[]", os.fsencode(LIBRARY))
        self.pointer = ffi.new("struct pp_preload *")
        self.pointer.library = self._library
        self.pointer.list, self.pointer.shim = self._list, self._file
        self.libraries = Libraries(store, self.board, self.pointer)

    def prepare(self, task: int, complain: Callable[[Exception], None]) -> None:
        """Get ready before programs start: *task* is one of ours.

        Nearly all of them have the C library that we have, too.
        """
        self.pointer.filters = _filters(task)
        for path in _own_libraries():
            try:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    self.libraries.add(descriptor)
                finally:
                    os.close(descriptor)
            except (OSError, ValueError) as error:
                complain(error)


def _memory_file(name: str, content: bytes) -> int:
    flags = os.MFD_CLOEXEC
    try:
        descriptor = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:  # before Linux 6.3 there is no such flag, and no need
        descriptor = os.memfd_create(name, flags)
    # Pages of zeros need not be written.
    page = mmap.PAGESIZE
    os.ftruncate(descriptor, len(content))
    zeros = bytes(16 * page)
    for position in range(0, len(content), len(zeros)):
        piece = content[position : position + len(zeros)]
        if piece != zeros:
            os.pwrite(descriptor, piece, position)
    return descriptor


def _filters(task: int) -> int:
    with open(f"/proc/{task}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Seccomp_filters:"):
                return int(line.split()[1])
    return 1


def _own_libraries() -> set[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.rstrip("\n").partition("/")[2] for line in maps}
    names = ("libc.so.", "libpthread.so.")
    return {f"/{path}" for path in paths if os.path.basename(path).startswith(names)}

