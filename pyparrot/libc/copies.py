"""Copies of C libraries with the shim in them, in the cache: one for each build of a library."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyparrot.cache.names import (
    CHECKSUM,
    HEXADECIMAL,
    Kind,
    ObjectName,
    checksum,
    register,
)
from pyparrot.core import ffi, lib
from pyparrot.libc.elf import HEADER, SEGMENT

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore

_COPY = register(
    Kind("copies of C libraries", "S", (HEXADECIMAL, HEXADECIMAL, CHECKSUM), hash=HEXADECIMAL)
)
"""Its hash is the build id, its fields the library's size, and which shim is in the copy."""

_HEAD = 65536
_NOTE = struct.Struct("<III")
_NOTE_SEGMENT, _BUILD_ID = 4, 3


def build_id(head: bytes) -> str | None:
    """The build id (hexadecimal) of the ELF file that begins with *head*; None if it has none.

    Format: the System V ABI; NT_GNU_BUILD_ID as GNU ld writes it.
    """
    if len(head) < HEADER.size or not head.startswith(b"\x7fELF\x02\x01"):
        return None
    fields = HEADER.unpack_from(head)
    table, size, count = fields[5], fields[9], fields[10]
    if size != SEGMENT.size or table + size * count > len(head):
        return None
    for number in range(count):
        segment = SEGMENT.unpack_from(head, table + number * size)
        end = segment[2] + segment[5]
        if segment[0] == _NOTE_SEGMENT and end <= len(head):
            found = _build_id_in(head[segment[2] : end])
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


class LibcCopies:
    """The patched copies that a session serves, with the *shim* of that file in them.

    *linker* is the session's ``struct pp_substitution *``.
    """

    def __init__(self, store: ObjectStore, shim: str, linker: Any) -> None:
        self._store = store
        self._shim = shim
        self._linker = linker
        self._lock = threading.Lock()
        with open(shim, "rb") as file:
            content = file.read()
            self._version = f"{zlib.crc32(content):08x}{len(content):x}"
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
        which = (build, f"{status.st_size:x}", self._version)
        # It does not count: or every run that does nothing else would have to open the ledger.
        path = self._store.find_first(_COPY.beginning(*which), counts=False)
        path = path or self._make(descriptor, *which)
        with self._lock:
            number = self._linker.copies_count
            if number < lib.PP_COPIES_MAX:
                copy = self._linker.copies[number]
                copy.device, copy.inode, copy.size, copy.modified, copy.changed = key
                if path is not None:
                    self._files.append(ffi.new("char[]", os.fsencode(path)))
                    copy.file = self._files[-1]
                self._linker.copies_count = number + 1

    def add_later(self, descriptor: int, complain: Callable[[Exception], None]) -> None:
        """The same in a thread of its own; the descriptor is closed in the end."""

        def work() -> None:
            try:
                self.add(descriptor)
            except Exception as error:  # nothing depends on it but speed
                complain(error)
            finally:
                os.close(descriptor)

        threading.Thread(target=work, name="patch", daemon=True).start()

    def _digest(self, descriptor: int) -> str:
        import hashlib  # it takes long to load, and nearly every library has a build id

        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return hashlib.sha1(file.read()).hexdigest()

    def _make(self, descriptor: int, *which: str) -> str | None:
        from pyparrot.libc.copy import make_patched

        def make(output: str) -> ObjectName | None:
            if not make_patched(f"/proc/self/fd/{descriptor}", self._shim, output):
                return None
            with open(output, "rb") as file:
                # A program that loads it must not find half of it after a crash.
                os.fsync(file.fileno())
                return _COPY.name(*which, checksum(zlib.crc32(file.read())))

        return self._store.make(make)
