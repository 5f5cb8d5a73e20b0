"""The copies of C libraries that a session serves; they lie in the cache, one for each build."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.cache.names import (
    CHECKSUM,
    HEXADECIMAL,
    Kind,
    ObjectName,
    checksum,
    register,
)
from pyparrot.core import ffi, lib
from pyparrot.libc.elf import build_id

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.core import Array, PpSubstitution

_COPY = register(
    Kind("copies of C libraries", "S", (HEXADECIMAL, HEXADECIMAL, CHECKSUM), hash=HEXADECIMAL)
)
"""Its hash is the build id, its fields the library's size, and which shim is in the copy."""

_HEAD = 65536  # bytes of a library in which its build id is looked for


class LibcCopies:
    """The copies that a session serves, with the shim of the file *shim* in them.

    What is ready is entered into *substitution*, where the engine finds it. Any thread may add.
    """

    def __init__(self, store: ObjectStore, shim: str, substitution: PpSubstitution) -> None:
        self._store = store
        self._shim = shim
        self._substitution = substitution
        self._lock = threading.Lock()
        with open(shim, "rb") as file:
            content = file.read()
            self._version = f"{zlib.crc32(content):08x}{len(content):x}"
        self._seen: set[tuple[int, ...]] = set()
        self._files: list[Array[bytes]] = []  # C refers to these

    def add(self, descriptor: int) -> None:
        """Serve a copy of the library that is open there; it is made if the cache has none.

        A library is tried once. `OSError` and `ValueError` if it can't be done.
        """
        status = os.fstat(descriptor)
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            if key in self._seen:
                return
            self._seen.add(key)
        build = build_id(os.pread(descriptor, _HEAD, 0)) or self._digest(descriptor)
        which = (build, f"{status.st_size:x}", self._version)
        # It does not count: or every run that does nothing else would have to open the ledger.
        path = self._store.find_first(_COPY.beginning(*which), counts=False)
        path = path or self._make(descriptor, *which)
        with self._lock:
            self._enter(key, path)

    def _enter(self, key: tuple[int, ...], path: str | None) -> None:
        """Tell the engine; without *path* that there is nothing to be replaced in the library."""
        number = self._substitution.copies_count
        if number >= lib.PP_COPIES_MAX:
            return
        copy = self._substitution.copies[number]
        copy.device, copy.inode, copy.size, copy.modified, copy.changed = key
        if path is not None:
            self._files.append(ffi.new("char[]", os.fsencode(path)))
            copy.file = self._files[-1]
        self._substitution.copies_count = number + 1  # last: the engine reads meanwhile

    def add_later(self, descriptor: int, complain: Callable[[Exception], None]) -> None:
        """The same in a thread of its own, which closes the descriptor.

        *complain* is called there if it can't be done.
        """

        def work() -> None:
            try:
                self.add(descriptor)
            except Exception as error:  # nothing depends on it but speed
                complain(error)
            finally:
                os.close(descriptor)

        threading.Thread(target=work, name="libc-copy", daemon=True).start()

    def _digest(self, descriptor: int) -> str:
        import hashlib  # it takes long to load, and nearly every library has a build id

        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            return hashlib.sha1(file.read()).hexdigest()

    def _make(self, descriptor: int, *which: str) -> str | None:
        from pyparrot.libc.copy import make_copy

        def make(output: str) -> ObjectName | None:
            if not make_copy(f"/proc/self/fd/{descriptor}", self._shim, output):
                return None
            with open(output, "rb") as file:
                # After a crash no program may find half of it.
                os.fsync(file.fileno())
                return _COPY.name(*which, checksum(zlib.crc32(file.read())))

        return self._store.make(make)
