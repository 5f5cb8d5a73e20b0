"""How the unwinder gets out of a stub.

Source: the DWARF standard, "Call Frame Information"; the x86-64 supplement of the System V ABI,
"DWARF Register Number Mapping", where 7 is %rsp and 16 the return address.
"""

from __future__ import annotations

import struct

from pyparrot.libc.arch.x86_64.stubs import STUB_SIZE

# Version 1, augmentation "zR", units of 1 and -8 bytes, return address in column 16; addresses are
# signed 32 bits from where they stand. At first the canonical frame address is %rsp + 0.
FRAME_RULES = b"\x01zR\0\x01\x78\x10\x01\x1b" + b"\x0c\x07\x00"
"""What is common to the descriptions of all stubs."""


def return_rule(distance: int) -> bytes:
    """The rule that the return address is *distance* from the beginning of the stub."""
    expression = b"\x80\x00"  # DW_OP_breg16: the program counter
    expression += struct.pack("<BbB", 0x09, -STUB_SIZE, 0x1A)  # DW_OP_const1s, DW_OP_and
    expression += struct.pack("<BiB", 0x0D, distance, 0x22)  # DW_OP_const4s, DW_OP_plus
    return b"\x16\x10" + bytes([len(expression)]) + expression  # DW_CFA_val_expression of 16
