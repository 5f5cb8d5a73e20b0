"""What the unwinder has to know of the stubs and of the shim.

A thread that is cancelled in a stub, or whose signal handler takes a backtrace there, has to be
unwound. A stub has no frame of its own: it is made to look as if the site had called it, with a
return address that is computed from the program counter. Source of the format: the DWARF standard,
"Call Frame Information", and the Linux Standard Base, "Exception Frames".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyparrot.libc.arch.base import Arch
from pyparrot.libc.image import TABLE, TABLE_ENTRY, TABLE_FORMAT, Image


class Stub(NamedTuple):
    """The *address* of a stub, and the address to which the program returns from it."""

    address: int
    back: int


def frames(
    arch: Arch, library: Image, address: int, stubs: list[Stub], shim: Image, base: int
) -> tuple[bytes, int]:
    """Descriptions of *stubs*, then a table of all functions: bytes that are to stand at *address*.

    The functions of *library* and those of *shim*, which is loaded at *base*, are in the table. The
    number is its address: it takes the place of the one that *library* has. How many bytes there
    are does not depend on the addresses.
    """
    content = bytearray(_record(0, arch.FRAME_RULES))
    entries = list(library.frames.entries)
    entries += [(base + start, base + description) for start, description in shim.frames.entries]
    for stub in stubs:
        description = address + len(content)
        entries.append((stub.address, description))
        place = struct.pack("<iIB", stub.address - (description + 8), arch.STUB_SIZE, 0)
        content += _record(len(content) + 4, place + arch.return_rule(stub.back - stub.address))
    content += bytes(4)  # the end
    table = address + len(content)
    content += TABLE.pack(*TABLE_FORMAT, library.frames.first - (table + 4), len(entries))
    for start, description in sorted(entries):
        content += TABLE_ENTRY.pack(start - table, description - table)
    return bytes(content), table


def _record(common: int, content: bytes) -> bytes:
    """One entry: its length, how far before it its common part is (0: it is one), its content."""
    content += bytes(-len(content) % 4)
    return struct.pack("<II", 4 + len(content), common) + content
