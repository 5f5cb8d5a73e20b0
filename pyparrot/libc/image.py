"""What a shared library holds, read with every offset checked.

The file may be any that a program asks for: whatever is wrong with it is a `ValueError`.
Source of the format: the System V ABI, elf(5); for the table of functions the Linux Standard Base,
"Exception Frames".
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from pyparrot.libc.elf import EH_FRAME, LOAD, SHARED_OBJECT, WRITE, read_headers, reader_of

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DESCRIPTION = struct.Struct("<IIiI")

_RELOCATIONS, _COMPACT, _DYNAMIC_SYMBOLS, _SYMBOLS = 4, 19, 11, 2  # SHT_…

# .eh_frame_hdr: version 1; signed 32 bit offsets, the frames' from the field, the table's from its
# beginning; the number of entries is 32 bits.
TABLE = struct.Struct("<BBBBiI")
TABLE_FORMAT = (1, 0x1B, 0x03, 0x3B)
TABLE_ENTRY = struct.Struct("<ii")

LARGEST = 64 << 20
"""Bytes of the largest library that is looked at, in its file and in memory."""

_MOST_SEGMENTS = 64
_VERSION = 1  # EV_CURRENT


class Function(NamedTuple):
    """The addresses of a function's first byte and of the one behind its last."""

    start: int
    end: int


class Frames(NamedTuple):
    """How the unwinder finds functions.

    *first* is the address of the first description, *entries* has each function's address and that
    of its description.
    """

    first: int
    entries: list[tuple[int, int]]


class Image:
    """The shared library whose file holds *data*; addresses are those that the file names.

    `ValueError` if it is no shared library, or one that cannot be looked into. For which CPU it is
    the header says.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        if len(data) > LARGEST:
            raise ValueError("too large")
        self.header, self.segments = read_headers(reader_of(data))
        if self.header.ident[6] != _VERSION or self.header.type != SHARED_OBJECT:
            raise ValueError("no shared library")
        if not 0 < len(self.segments) <= _MOST_SEGMENTS:
            raise ValueError("unsupported program headers")
        # They tell of symbols and relocations.
        if not self.header.shnum or self.header.shentsize != _SECTION.size:
            raise ValueError("unsupported section headers")
        self.loads = [segment for segment in self.segments if segment.type == LOAD]
        self._check_loads()

    def _check_loads(self) -> None:
        """Loaded segments lie in the file, ascend, and do not overlap."""
        end = 0
        for load in self.loads:
            if load.file_size > load.memory_size or load.memory_size > LARGEST:
                raise ValueError("unsupported segment size")
            if load.address < end or load.address + load.memory_size > LARGEST:
                raise ValueError("unsupported segment address")
            if load.offset + load.file_size > len(self.data):
                raise ValueError("a segment behind the end of the file")
            end = load.address + load.memory_size

    def _unpack(self, what: struct.Struct, offset: int) -> tuple[Any, ...]:
        if offset + what.size > len(self.data):
            raise ValueError("the file ends early")
        return what.unpack_from(self.data, offset)

    def read(self, address: int, size: int) -> bytes:
        """The *size* bytes that the file puts at *address*."""
        for load in self.loads:
            if load.address <= address and address + size <= load.address + load.file_size:
                offset = address - load.address + load.offset
                return self.data[offset : offset + size]
        raise ValueError("an address outside of the file")

    def offset(self, address: int) -> int:
        """Where in the file stands what is at *address*."""
        for load in self.loads:
            if load.address <= address < load.address + load.file_size:
                return address - load.address + load.offset
        raise ValueError("an address outside of the file")

    @cached_property
    def frames(self) -> Frames:
        """The table that the unwinder searches (.eh_frame_hdr); empty if there is none."""
        table = next((each for each in self.segments if each.type == EH_FRAME), None)
        if table is None:
            return Frames(0, [])
        *form, first, count = TABLE.unpack(self.read(table.address, TABLE.size))
        if tuple(form) != TABLE_FORMAT:
            return Frames(0, [])
        data = self.read(table.address + TABLE.size, count * TABLE_ENTRY.size)
        entries = [
            (table.address + start, table.address + description)
            for start, description in TABLE_ENTRY.iter_unpack(data)
        ]
        first += table.address + 4
        if not all(0 <= each < LARGEST for each in chain((first,), *entries)):
            raise ValueError("an address outside of the library")
        return Frames(first, entries)

    @cached_property
    def functions(self) -> list[Function]:
        """The functions, in ascending order, that the unwinder knows."""
        found = []
        follower = LARGEST
        for start, description in sorted(self.frames.entries, reverse=True):
            # No function reaches into the next one.
            end = min(start + self._size(start, description), follower)
            if start < end:
                found.append(Function(start, end))
                follower = start
        return found[::-1]

    def _size(self, start: int, description: int) -> int:
        """Bytes of the function at *start* by its *description*'s address; 0 if unclear."""
        length, _, begin, size = _DESCRIPTION.unpack(self.read(description, _DESCRIPTION.size))
        # The encoding, which the common entry names, is the one that gives the known start.
        return size if length < 0xFFFFFFF0 and description + 8 + begin == start else 0

    @cached_property
    def _starts(self) -> list[int]:
        return [function.start for function in self.functions]

    def function(self, address: int) -> Function | None:
        """The function to which the byte at *address* belongs."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self.functions[index].end:
            return self.functions[index]
        return None

    @cached_property
    def _sections(self) -> list[tuple[int, ...]]:
        return [
            self._unpack(_SECTION, self.header.shoff + number * _SECTION.size)
            for number in range(self.header.shnum)
        ]

    def _contents(self, section: tuple[int, ...], unit: int) -> memoryview:
        offset, size = section[4:6]
        if offset + size > len(self.data):
            raise ValueError("a section behind the end of the file")
        return memoryview(self.data)[offset : offset + size - size % unit]

    def address_of(self, name: bytes) -> int | None:
        """Where the dynamic symbol *name* is; None if the library has none of that name."""
        for section in self._sections:
            link = section[6]
            if section[1] != _DYNAMIC_SYMBOLS or link >= len(self._sections):
                continue
            names = self._contents(self._sections[link], 1).tobytes()
            for symbol in _SYMBOL.iter_unpack(self._contents(section, _SYMBOL.size)):
                if names.startswith(name + b"\0", symbol[0]):
                    value: int = symbol[4]
                    return value
        return None

    @cached_property
    def has_relocations(self) -> bool:
        """Whether a loader would have anything to relocate."""
        return any(section[1] in {_RELOCATIONS, _COMPACT} for section in self._sections)

    @cached_property
    def pointers(self) -> list[int]:
        """Every value, sorted, that may be the address of something.

        These are entry point, symbols, functions, addends of relocations, and all words of
        writable memory, where compact relocations (SHT_RELR) have their addends.
        """
        found = {self.header.entry, *self._starts}
        for section in self._sections:
            if section[1] in {_SYMBOLS, _DYNAMIC_SYMBOLS}:
                symbols = self._contents(section, _SYMBOL.size)
                found.update(symbol[4] for symbol in _SYMBOL.iter_unpack(symbols))
            elif section[1] == _RELOCATIONS:
                relocations = self._contents(section, _RELOCATION.size)
                found.update(each[2] for each in _RELOCATION.iter_unpack(relocations))
        for load in self.loads:
            if load.flags & WRITE:
                skip = -load.address % 8
                words = self.read(load.address, load.file_size)[skip:]
                words = words[: len(words) - len(words) % 8]
                found.update(word for (word,) in struct.iter_unpack("<Q", words))
        return sorted(found)
