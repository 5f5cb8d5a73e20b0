"""The dynamic linkers that a session knows, and the images of the shim for them, in the cache."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from pyparrot.cache.names import CHECKSUM, HEXADECIMAL, Kind, ObjectName, checksum, register
from pyparrot.core import ffi, lib
from pyparrot.libc.image import LARGEST
from pyparrot.libc.shim_copies import ShimCopies

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.core import PpSubstitution

_IMAGE = register(
    Kind("images for dynamic linkers", "I", (HEXADECIMAL, CHECKSUM), hash=HEXADECIMAL)
)
"""Its hash is made of the linker's content and size, the field says which shim is in the image.

That need not tell linkers apart for certain: the image says what code it is for, and nothing else
is patched.
"""


class Linkers(ShimCopies):
    """The dynamic linkers of a session."""

    what = "linker-image"

    def __init__(self, store: ObjectStore, shim: str, substitution: PpSubstitution) -> None:
        super().__init__(store, shim, substitution)
        self._seen: set[str] = set()
        self._kept: list[object] = []  # C refers to these

    def add(self, descriptor: int) -> None:
        """See `ShimCopies.add`."""
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            content = file.read(LARGEST + 1)
        linker = f"{zlib.crc32(content):08x}{zlib.adler32(content):08x}{len(content):x}"
        with self._lock:
            if linker in self._seen:
                return
            self._seen.add(linker)
        # It does not count: or every run that does nothing else would have to open the ledger.
        path = self._store.find_first(_IMAGE.beginning(linker, self._version), counts=False)
        if path is None or not self._enter(path):
            path = self._make(descriptor, linker, self._version)
            if path is not None:
                self._enter(path)

    def _make(self, descriptor: int, *which: str) -> str | None:
        from pyparrot.libc.linker import make_image

        def make(output: str) -> ObjectName | None:
            if not make_image(f"/proc/self/fd/{descriptor}", self._shim, output):
                return None
            with open(output, "rb") as file:
                # After a crash no program may find half of it.
                os.fsync(file.fileno())
                return _IMAGE.name(*which, checksum(zlib.crc32(file.read())))

        return self._store.make(make)

    def _enter(self, path: str) -> bool:
        """Tell the engine; False, and the file is gone, if it is damaged."""
        from pyparrot.libc.linker_image import open_image

        with open(path, "rb") as file:
            content = file.read()
        if not path.endswith(f".{checksum(zlib.crc32(content))}"):
            self._store.discard(self._store.name(path))
            return False
        image = open_image(content)
        with self._lock:
            number = self._substitution.linkers_count
            if number >= lib.PP_LINKERS_MAX:
                return True
            file_name = ffi.new("char[]", os.fsencode(path))
            self._kept += [content, image, file_name]
            self._substitution.linkers[number].image = image
            self._substitution.linkers[number].file = file_name
            self._substitution.linkers_count = number + 1  # last: the engine reads meanwhile
        return True
