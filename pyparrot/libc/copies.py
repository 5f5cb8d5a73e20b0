"""The copies of C libraries that a session serves; they lie in the cache, one for each content.

Builds say by an id of their own what they are, but a library that was edited in place has kept it.
So a copy is named by the library's content. That a run need not read libraries when it starts, a
small record in the cache says which content a file has, for as long as its identity is the same.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, BinaryIO

from pyparrot.cache.identity import Identity
from pyparrot.cache.names import (
    CHECKSUM,
    HEXADECIMAL,
    Kind,
    ObjectName,
    checksum,
    register,
)
from pyparrot.core import ffi, lib
from pyparrot.libc.shim_copies import ShimCopies

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.core import Array, PpSubstitution

_COPY = register(
    Kind("copies of C libraries", "S", (HEXADECIMAL, HEXADECIMAL, CHECKSUM), hash=HEXADECIMAL)
)
"""Its hash is that of the library's content, its fields the library's size, and which shim is in
the copy."""

_RECORD = register(
    Kind(
        "records of C libraries",
        "S",
        (HEXADECIMAL, HEXADECIMAL, HEXADECIMAL, HEXADECIMAL, HEXADECIMAL, CHECKSUM),
        hash=CHECKSUM,
    )
)
"""Its fields are the identity of a library's file, its hash a checksum of that; it holds the hash
of the library's content."""

_DIGEST_SIZE = 64  # letters of SHA-256


class LibcCopies(ShimCopies):
    """The copies that a session serves."""

    what = "libc-copy"

    def __init__(self, store: ObjectStore, shim: str, substitution: PpSubstitution) -> None:
        super().__init__(store, shim, substitution)
        self._seen: set[Identity] = set()
        self._files: list[Array[bytes]] = []  # C refers to these

    def add(self, descriptor: int) -> None:
        """See `ShimCopies.add`."""
        key = Identity.of(os.fstat(descriptor))
        with self._lock:
            if key in self._seen:
                return
            self._seen.add(key)
        digest = self._recorded(key) or self._read(descriptor, key)
        which = (digest, f"{key.size:x}", self._version)
        # It does not count: or every run that does nothing else would have to open the ledger.
        path = self._store.find_first(_COPY.beginning(*which), counts=False)
        path = path or self._make(descriptor, key, *which)
        with self._lock:
            self._enter(key, path)

    def _enter(self, key: Identity, path: str | None) -> None:
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

    def _recorded(self, key: Identity) -> str | None:
        """The hash of the content that the file *key* is known to have."""
        path = self._store.find_first(_RECORD.beginning(*_fields(key)), counts=False)
        if path is None:
            return None
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                digest = file.read(_DIGEST_SIZE + 1)
        except OSError:
            return None
        return digest if len(digest) == _DIGEST_SIZE and digest.isalnum() else None

    def _read(self, descriptor: int, key: Identity) -> str:
        """The hash of the content; it is recorded."""
        import hashlib  # these take long to load

        from pyparrot.libc.image import LARGEST

        if key.size > LARGEST:
            raise ValueError("too large")
        key.settle(descriptor)
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            digest = hashlib.sha256(file.read(LARGEST)).hexdigest()
        _check(descriptor, key)
        content = digest.encode()
        name = _RECORD.name(*_fields(key), checksum(zlib.crc32(content)))

        def fill(file: BinaryIO) -> ObjectName:
            file.write(content)
            return name

        self._store.write(fill)
        return digest

    def _make(self, descriptor: int, key: Identity, *which: str) -> str | None:
        from pyparrot.libc.copy import make_copy

        def make(output: str) -> ObjectName | None:
            count = make_copy(f"/proc/self/fd/{descriptor}", self._shim, output)
            _check(descriptor, key)
            if not count:
                return None
            with open(output, "rb") as file:
                # After a crash no program may find half of it.
                os.fsync(file.fileno())
                return _COPY.name(*which, checksum(zlib.crc32(file.read())))

        return self._store.make(make)


def _fields(key: Identity) -> tuple[str, ...]:
    """The name of a record, without the checksum of its content."""
    numbers = [f"{number & (1 << 64) - 1:x}" for number in key]
    return (checksum(zlib.crc32(".".join(numbers).encode())), *numbers)


def _check(descriptor: int, key: Identity) -> None:
    if Identity.of(os.fstat(descriptor)) != key:
        raise ValueError("it was changed while it was read")
