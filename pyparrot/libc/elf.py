"""Reads ELF files: the one place that unpacks their header and program headers and checks bounds.

A file may be any that a program names, so whatever is wrong with it is a `ValueError`. This is no
job for pyelftools: importing it would take 50 ms, for which a program waits, and hostile files make
it raise exceptions of many kinds.

Source of the format: the System V ABI, elf(5).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""The header of a file (``Elf64_Ehdr``)."""

SEGMENT = struct.Struct("<IIQQQQQQ")
"""A program header (``Elf64_Phdr``)."""

LOAD, DYNAMIC, INTERPRETER, NOTE, PROGRAM_HEADERS, EH_FRAME = 1, 2, 3, 4, 6, 0x6474E550  # PT_…
EXECUTE, WRITE, READ = 1, 2, 4  # PF_…
SHARED_OBJECT = 3  # ET_DYN

MOST_SEGMENTS = 128
"""More program headers than any file has that is looked at."""

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_NOTE = struct.Struct("<III")
_BUILD_ID = 3  # NT_GNU_BUILD_ID
_LARGEST_OFFSET = (1 << 63) - 1

Reader = Callable[[int, int], bytes]
"""Reads a file: (offset, size) gives the bytes there, fewer if it ends before."""


class Header(NamedTuple):
    """The header of a file: the fields of ``Elf64_Ehdr`` in their order, named as in elf(5)."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class Segment(NamedTuple):
    """A program header: the fields of ``Elf64_Phdr`` in their order."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


def reader_of(data: bytes) -> Reader:
    """Reads *data*, the content of a file or its beginning."""
    return lambda offset, size: data[offset : offset + size]


def file_reader(descriptor: int) -> Reader:
    """Reads the file that is open there, and leaves its offset alone."""

    def read(offset: int, size: int) -> bytes:
        return os.pread(descriptor, size, offset) if offset + size <= _LARGEST_OFFSET else b""

    return read


def read_headers(read: Reader) -> tuple[Header, list[Segment]]:
    """The header and the program headers of a file.

    `ValueError` if it is no ELF file of 64 bits and little-endian, or its headers are cut off, or
    are of another size than they should be, or too many.
    """
    content = read(0, HEADER.size)
    if len(content) < HEADER.size or not content.startswith(_MAGIC):
        raise ValueError("no ELF file for a CPU of 64 bits")
    header = Header._make(HEADER.unpack(content))
    if header.phentsize != SEGMENT.size or header.phnum > MOST_SEGMENTS:
        raise ValueError("unsupported program headers")
    table = read(header.phoff, header.phnum * SEGMENT.size)
    if len(table) < header.phnum * SEGMENT.size:
        raise ValueError("the file ends before its program headers")
    return header, [Segment._make(fields) for fields in SEGMENT.iter_unpack(table)]


def build_id(head: bytes) -> str | None:
    """The build id (hexadecimal) of the file that begins with *head*; None if none is found there.

    Format: NT_GNU_BUILD_ID as GNU ld writes it.
    """
    try:
        _, segments = read_headers(reader_of(head))
    except ValueError:
        return None
    for segment in segments:
        end = segment.offset + segment.file_size
        if segment.type == NOTE and end <= len(head):
            found = _build_id_in(head[segment.offset : end])
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
