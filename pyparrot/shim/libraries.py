"""Patched copies of libraries, in the cache: one for each build of a library."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyparrot._core import ffi, lib

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.shim.board import Board
    from pyparrot.shim.patched import Patched

_FORMAT = 1
"""Of the copies: another one when what is patched, or how, has changed."""

_TRAILER = struct.Struct("<8sQQQQ")  # behind the end of a copy: magic, then `Patched`
_MAGIC = b"PPPATCH\n"
_HEAD = 65536
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_NOTE_SEGMENT, _BUILD_ID = 4, 3


def build_id(head: bytes) -> str | None:
    """The build id (hexadecimal) of the ELF file that begins with *head*; None if it has none.

    Format: the System V ABI; NT_GNU_BUILD_ID as GNU ld writes it.
    """
    if len(head) < _HEADER.size or not head.startswith(b"\x7fELF\x02\x01"):
        return None
    fields = _HEADER.unpack_from(head)
    table, size, count = fields[5], fields[9], fields[10]
    if size != _SEGMENT.size or table + size * count > len(head):
        return None
    for number in range(count):
        segment = _SEGMENT.unpack_from(head, table + number * size)
        if segment[0] == _NOTE_SEGMENT:
            found = _build_id_in(head[segment[2] : segment[2] + segment[5]])
            if found:
                return found.hex()
    return None


def _build_id_in(notes: bytes) -> bytes:
    position = 0
    while position + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, position)
        name = position + _NOTE.size
        content = name + name_size + -name_size % 4
        if kind == _BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            return notes[content : content + size]
        position = content + size + -size % 4
    return b""


class Libraries:
    """The patched copies that a session serves: *preload* is its ``struct pp_preload *``."""

    def __init__(self, store: ObjectStore, board: Board, preload: Any) -> None:
        self._store = store
        self._board = board
        self._preload = preload
        self._lock = threading.Lock()
        self._known: set[str] = set()  # builds that the board has been told of
        self._seen: set[tuple[int, ...]] = set()
        self._files: list[Any] = []

    def add(self, descriptor: int) -> None:
        """Serve a patched copy of the library that is open there, making it if need be.

        `OSError` and `ValueError` if that can't be done.
        """
        status = os.fstat(descriptor)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            if key in self._seen:
                return
            self._seen.add(key)
        head = os.pread(descriptor, _HEAD, 0)
        build = build_id(head) or self._digest(descriptor)
        name = f"{build}P.{_FORMAT}"
        path = self._store.find(name)
        patched = _read_trailer(path) if path else None
        if path is None or patched is None:
            patched, path = self._make(descriptor, name)
        with self._lock:
            if build not in self._known and patched is not None:
                self._known.add(build)
                self._board.know(patched)
            number = self._preload.copies_count
            if number < lib.PP_COPIES_MAX:
                copy = self._preload.copies[number]
                copy.device, copy.inode, copy.size, copy.modified, copy.changed = key
                if patched is not None:
                    self._files.append(ffi.new("char[]", os.fsencode(path)))
                    copy.file = self._files[-1]
                self._preload.copies_count = number + 1

    def add_later(self, descriptor: int, complain: Callable[[Exception], None]) -> None:
        """The same in a thread of its own; the descriptor is closed in the end."""

        def work() -> None:
            try:
                self.add(descriptor)
            except (OSError, ValueError) as error:
                complain(error)
            finally:
                os.close(descriptor)

        threading.Thread(target=work, name="patch", daemon=True).start()

    def _digest(self, descriptor: int) -> str:
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return hashlib.sha1(file.read()).hexdigest()

    def _make(self, descriptor: int, name: str) -> tuple[Patched | None, str]:
        from pyparrot.shim.patched import make_patched

        def make() -> tuple[Patched | None, str]:
            output = self._store.temporary_file()
            try:
                patched = make_patched(f"/proc/self/fd/{descriptor}", output)
                if patched is None:
                    return None, ""
                with open(output, "ab") as file:
                    file.write(_TRAILER.pack(_MAGIC, *patched))
                    file.flush()
                    # Whoever loads it is not to find half of it after a crash.
                    os.fsync(file.fileno())
                return patched, self._store.add(name, output)
            finally:
                if os.path.exists(output):
                    os.unlink(output)

        return self._store.with_space(make)


def _read_trailer(path: str) -> Patched | None:
    from pyparrot.shim.patched import Patched

    try:
        with open(path, "rb") as file:
            file.seek(-_TRAILER.size, os.SEEK_END)
            magic, *fields = _TRAILER.unpack(file.read())
    except (OSError, struct.error):
        return None
    return Patched(*fields) if magic == _MAGIC else None
