"""What the unwinder has to know of the stubs.

A thread that is cancelled in a stub, or whose signal handler takes a backtrace there, has to be
unwound. A stub has no frame of its own: it is made to look as if the site had called it, with a
return address that is computed from the program counter. Source of the format: the DWARF standard,
"Call Frame Information", and the Linux Standard Base, "Exception Frames".
"""

from __future__ import annotations

import struct

from pyparrot.libc.image import TABLE, TABLE_ENTRY, TABLE_FORMAT, Image

STUB = 64
"""Bytes from one stub to the next; each begins at a multiple of it."""

# Version 1, augmentation "zR", units of 1 and -8 bytes, return address in column 16; offsets are
# signed 32 bits from the field. At first the canonical frame address is %rsp + 0.
_COMMON = b"\x01zR\0\x01\x78\x10\x01\x1b" + b"\x0c\x07\x00"


def frames(
    library: Image, address: int, stubs: list[tuple[int, int]], shim: Image, base: int
) -> tuple[bytes, int]:
    """Descriptions of *stubs* (address, where it returns to), then a table of all functions.

    Those of *shim*, which is loaded at *base*, are among them. The bytes are to stand at *address*;
    the number is the address of the table, which takes the place of the one that *library* has.
    """
    content = bytearray(_record(0, _COMMON))
    entries = list(library.frames.entries)
    entries += [(base + start, base + description) for start, description in shim.frames.entries]
    for stub, back in stubs:
        description = address + len(content)
        entries.append((stub, description))
        place = struct.pack("<iIB", stub - (description + 8), STUB, 0)
        content += _record(len(content) + 4, place + _return_to(back - stub))
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


def _return_to(distance: int) -> bytes:
    """The rule that the return address is *distance* from the beginning of the stub."""
    expression = b"\x80\x00"  # DW_OP_breg16: the program counter
    expression += struct.pack("<BbB", 0x09, -STUB, 0x1A)  # DW_OP_const1s, DW_OP_and
    expression += struct.pack("<BiB", 0x0D, distance, 0x22)  # DW_OP_const4s, DW_OP_plus
    return b"\x16\x10" + bytes([len(expression)]) + expression  # DW_CFA_val_expression of column 16
