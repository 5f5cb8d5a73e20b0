"""What a supervisor tells the one that takes over from it: what is mounted, at which revision.

It lies in memory that the processes of a run have shared since their fork, and which no task has.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyparrot.core import ffi

_HALF = 1 << 20
_HEAD = 8
_NUMBERS = struct.Struct("=IIQI")
_LENGTH = struct.Struct("=I")

RESERVED, NAMES, AUTOMATIC, CHOSEN = range(4)
"""What an `Entry` is: a reservation, a directory of mount points, a tree that was mounted because a
program named it, and one that the user has asked for."""


class Entry(NamedTuple):
    """A mount.

    All but *kind*, *source* and *pin* are as in `pyparrot.run.mount_memory.MountFields`. *source*
    is what the tree is opened by: the text that names it, or the names in the directory, with
    slashes between them. *pin* is its revision, as `pyparrot.sources.capabilities.Pinned` has it.
    """

    kind: int
    number: int
    path: bytes
    blocks: int = 0
    flags: int = 0
    view: bytes = b""
    source: bytes = b""
    pin: bytes = b""


class Journal:
    """All mounts of a run, in the order of their numbers.

    One process at a time writes, any of those that share it may read.
    There are two halves, and one word says which of them is valid, and how much of it is used: so
    a reader finds what was written last, wherever its writer was killed.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD + 2 * _HALF)
        self._buffer = ffi.from_buffer(self._memory, require_writable=True)
        self._word = ffi.cast("uint64_t *", self._buffer)

    @property
    def is_complete(self) -> bool:
        """Whether all mounts are in it. If there are too many of them nobody can take over."""
        return bool(self._word[0] >> 63 == 0)

    def write(self, entries: Iterable[Entry]) -> None:
        """Replace what is in it."""
        content = b"".join(map(_packed, entries))
        half = (self._word[0] >> 62 & 1) ^ 1
        if len(content) > _HALF:
            self._word[0] = 1 << 63
            return
        start = _HEAD + half * _HALF
        self._memory[start : start + len(content)] = content
        self._word[0] = half << 62 | len(content)  # last, and by one store

    def read(self) -> list[Entry]:
        """What was written last; nothing if nothing was, or if it did not fit."""
        word = self._word[0]
        if word >> 63:
            return []
        start = _HEAD + (word >> 62 & 1) * _HALF
        content = self._memory[start : start + (word & ~(1 << 62))]
        return list(_unpacked(content))


def _packed(entry: Entry) -> bytes:
    texts = (entry.path, entry.view, entry.source, entry.pin)
    numbers = _NUMBERS.pack(entry.kind, entry.number, entry.blocks, entry.flags)
    return numbers + b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _unpacked(content: bytes) -> Iterator[Entry]:
    position = 0
    while position < len(content):
        kind, number, blocks, flags = _NUMBERS.unpack_from(content, position)
        position += _NUMBERS.size
        texts = []
        for _ in range(4):
            (length,) = _LENGTH.unpack_from(content, position)
            position += _LENGTH.size
            texts.append(content[position : position + length])
            position += length
        path, view, source, pin = texts
        yield Entry(kind, number, path, blocks, flags, view, source, pin)
