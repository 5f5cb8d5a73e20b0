"""The machine code on the way from a site to the shim. Source: Intel's manual, volume 2."""

from __future__ import annotations

import struct

from pyparrot.libc.arch.base import CallSite

STUB_SIZE = 64
"""Bytes from one stub to the next; each begins at a multiple of it."""

LINKER_STUB_SIZE = 32
"""The same for the stubs of a dynamic linker."""

_JUMP = struct.Struct("<Bi")
_TRAP = b"\xcc"  # int3


def jump(site: CallSite, stub: int) -> bytes:
    """What takes the place of *site*: a jump to the address *stub*."""
    return jump_from(site.address, stub).ljust(site.length, _TRAP)


def stub(site: CallSite, address: int, entry: int) -> bytes:
    """The code at *address* that *site* jumps to: on to the shim's *entry* for its comparison.

    It may use %r11, which a system call overwrites. The shim finds in it where to return to, after
    the same comparison.
    """
    back = site.address + site.length
    code = b"\x4c\x8d\x1d" + struct.pack("<i", back - (address + 7))  # lea back(%rip),%r11
    code += jump_from(address + len(code), entry)
    return code.ljust(STUB_SIZE, _TRAP)


def jump_from(source: int, target: int) -> bytes:
    """A jump at *source* to *target*."""
    return _JUMP.pack(0xE9, target - (source + _JUMP.size))  # jmp
