"""Memory that only grows at its end, so that C code can read it while Python writes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pyparrot.core import ffi

if TYPE_CHECKING:
    from pyparrot.core import Pointer

_ALIGNMENT = 8


class OutOfRoom(Exception):
    """There is no room for what was to be appended."""


class AppendOnlyMemory:
    """The *size* bytes from *start* on (``char *``), filled with zeros behind what is used.

    *used* is a ``uint32_t *``: how much of it is used. What is at offset 0 has to be used, since 0
    stands for nothing. Any thread may append. What was appended never changes once its offset has
    been published.
    """

    def __init__(self, start: Pointer[bytes], size: int, used: Pointer[int]) -> None:
        self.size = size
        self._start = start
        self._used = used
        self._lock = threading.Lock()
        self._known: dict[bytes, int] = {}

    @classmethod
    def private(cls, size: int) -> AppendOnlyMemory:
        """Memory of this process."""
        return cls(ffi.new("char[]", size), size, ffi.new("uint32_t *", _ALIGNMENT))

    def reserve(self, size: int) -> int:
        """The offset of so many bytes, which the caller fills; `OutOfRoom` if there are not."""
        with self._lock:
            offset: int = self._used[0]
            end = offset + size + -size % _ALIGNMENT
            if end > self.size:
                raise OutOfRoom
            self._used[0] = end
            return offset

    def append(self, content: bytes) -> int:
        """The offset of *content*; `OutOfRoom` if it does not fit."""
        offset = self.reserve(len(content))
        ffi.memmove(self._start + offset, content, len(content))
        return offset

    def append_once(self, content: bytes) -> int:
        """The same, but equal content is appended once."""
        if content not in self._known:
            self._known[content] = self.append(content)
        return self._known[content]

    def append_text(self, text: bytes) -> int:
        """The offset of a text, with a NUL behind it; equal texts are appended once."""
        return self.append_once(text + b"\0")

    def text(self, offset: int) -> bytes:
        """The text at *offset*, which ends before a NUL; nothing at offset 0."""
        if not offset:
            return b""
        text: bytes = ffi.string(self._start + offset, self.size - offset)
        return text

    def at(self, kind: str, offset: int) -> Any:
        """A pointer of that *kind* to what is at *offset*."""
        return ffi.cast(kind, self._start + offset)
